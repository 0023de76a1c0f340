/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/fixture.h"

/* The worker logic over the simulated machine, one case at a time: whatever goes wrong at whatever operation, the
 * devices come back. */

#define OPS_MAX 200 /* no job here has as many operations */

/* Calls test(machine, hand-over, n) for the n-th operation until there is none such any more. */
static void at_every_operation(bool (*test)(HandOver hand_over, unsigned n)) {
        static void (*const machines[])(void) = { single, trio };

        for (size_t m = 0; m < ARRAY_SIZE(machines); m++)
                for (HandOver h = 0; h < _HAND_OVER_MAX; h++)
                        for (unsigned n = 1;; n++) {
                                ASSERT_TRUE(n < OPS_MAX);
                                machines[m]();
                                plan();
                                if (!test(h, n))
                                        break;
                        }
}

/* --- the simulator keeps the kernel's rules --- */

TEST(rules) {
        int group, a, b, iommufd, other;
        uint32_t pt = 1;
        BoundFacts facts;
        Holders holders;
        Kernel *k;

        trio();
        k = &sim->kernel;
        group = sim->devices[0].group;
        ASSERT_ERROR(k->ops->bind(k, sim->devices[0].facts.address, "vfio-pci"), ENODEV);
        (void) text_copy(sim->devices[0].override, NAME_MAX_LEN, "vfio-pci");
        ASSERT_ERROR(k->ops->bind(k, sim->devices[0].facts.address, "vfio-pci"), EBUSY);
        ASSERT_OK(k->ops->unbind(k, sim->devices[0].facts.address));
        ASSERT_ERROR(k->ops->bind(k, sim->devices[0].facts.address, "nvme"), ENODEV);
        ASSERT_OK(k->ops->bind(k, sim->devices[0].facts.address, "vfio-pci"));
        a = sim_open_device(sim, &sim->devices[0], SIM_PID_CLIENT);
        b = sim_open_device(sim, &sim->devices[0], SIM_PID_CLIENT + 1);
        iommufd = sim_open_iommufd(sim, SIM_PID_CLIENT);
        other = sim_open_iommufd(sim, SIM_PID_CLIENT);
        ASSERT_ERROR(sim_attach(sim, a, &pt), EINVAL);
        ASSERT_ERROR(sim_bind(sim, a, iommufd, &facts), EPERM);
        ASSERT_OK(k->ops->unbind(k, sim->devices[1].facts.address));
        sim->groups[group].direct = true;
        ASSERT_ERROR(sim_bind(sim, a, iommufd, &facts), EINVAL);
        sim->groups[group].direct = false;
        sim->groups[group].no_isolation = true;
        ASSERT_ERROR(sim_bind(sim, a, iommufd, &facts), EPERM);
        sim->groups[group].no_isolation = false;
        ASSERT_ERROR(sim_bind(sim, a, a, &facts), EBADFD);
        ASSERT_OK(sim_bind(sim, a, iommufd, &facts));
        ASSERT_OK(sim_attach(sim, a, &pt));
        ASSERT_ERROR(sim_bind(sim, a, iommufd, &facts), EINVAL);
        ASSERT_ERROR(sim_bind(sim, b, other, &facts), EINVAL);
        ASSERT_ERROR(k->ops->bind(k, sim->devices[1].facts.address, "e1000e"), EBUSY);
        sim_find_holders(sim, &sim->devices[0], &holders);
        ASSERT_EQ(holders.n, 2);
        sim->fds[b].pid = SIM_PID_FLIGHT;
        sim_find_holders(sim, &sim->devices[0], &holders);
        ASSERT_EQ(holders.n, 1);
        sim_client_die(sim, SIM_PID_CLIENT);
        ASSERT_OK(k->ops->bind(k, sim->devices[1].facts.address, "e1000e"));
        sim->devices[0].facts.reset_methods[0] = '\0';
        ASSERT_ERROR(k->ops->reset(k, sim->devices[0].facts.address), ENOTTY);
        sim_vanish(sim, &sim->devices[0]);
        ASSERT_ERROR(sim_bind(sim, b, iommufd, &facts), EBADF);
        ASSERT_TRUE(!sim_appear(sim, &sim->devices[0], true));
        ASSERT_ERROR(k->ops->unbind(k, sim->devices[0].facts.address), ENODEV);
        (void) sim_close(sim, b);
        ASSERT_TRUE(sim_appear(sim, &sim->devices[0], true));
}

/* --- the plain course --- */

static void go_through(void) {
        for (HandOver h = 0; h < _HAND_OVER_MAX; h++) {
                plan();
                ASSERT_EQ(prepare(h), SIM_DONE);
                ASSERT_EQ(job.result, 0);
                ASSERT_EQ(job.devices[0].fd >= 0, h != HAND_OVER_NONE);
                ASSERT_EQ(sim->devices[0].bound_file >= 0, h == HAND_OVER_ATTACHED);
                ASSERT_STREQ(sim_driver_name(sim, &sim->devices[0]), "vfio-pci");
                for (size_t i = 1; i < n_saved; i++) {
                        ASSERT_EQ(job.devices[i].fd, -EBADF);
                        ASSERT_STREQ(sim_driver_name(sim, &sim->devices[i]), i == 1 ? "vfio-pci" : "");
                        ASSERT_STREQ(sim->devices[i].override, i == 1 ? "vfio-pci" : JOB_HELD_OVERRIDE);
                }
                if (h != HAND_OVER_NONE) {
                        ASSERT_EQ(restore(), SIM_DONE);
                        ASSERT_EQ(job.result, -EBUSY); /* the daemon has it itself */
                        ASSERT_STREQ(sim_driver_name(sim, &sim->devices[0]), "vfio-pci");
                }
                close_daemon();
                assert_restored();
                for (SimBreach b = 0; b < _SIM_BREACH_MAX; b++)
                        ASSERT_EQ(sim->n_breaches[b], 0);
        }
}

TEST(single_device) {
        single();
        go_through();
}

TEST(group_with_parked_and_held_members) {
        trio();
        go_through();
}

TEST(device_without_reset) {
        single();
        sim->devices[0].facts.reset_methods[0] = '\0';
        go_through();
}

/* --- whatever happens at whatever operation --- */

static bool fails(HandOver hand_over, unsigned n) {
        sim_plan_fault(sim, n, SIM_FAULT_ERRNO, EIO);
        ASSERT_EQ(prepare(hand_over), SIM_DONE);
        if (sim->n_faults[SIM_FAULT_ERRNO] == 0)
                return false;
        close_daemon();
        if (job.result >= 0)
                return true; /* it was a close, which cannot fail */
        for (size_t i = 0; i < job.n_devices; i++) {
                ASSERT_TRUE(!job.devices[i].touched);
                ASSERT_TRUE(job.devices[i].lease.released);
                ASSERT_EQ(job.devices[i].fd, -EBADF);
        }
        ASSERT_EQ(job.devices[job.failed].error, -EIO);
        ASSERT_TRUE(job.devices[job.failed].step < STEP_RESTORE_OVERRIDE);
        assert_as_before();
        return true;
}

TEST(every_failure_is_undone) {
        at_every_operation(fails);
}

static bool dies(HandOver hand_over, unsigned n) {
        SimOutcome outcome;

        sim_plan_fault(sim, n, SIM_FAULT_DEATH, 0);
        outcome = prepare(hand_over);
        sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
        close_daemon();
        assert_restored();
        return outcome == SIM_DIED;
}

TEST(every_death_is_rolled_back) {
        at_every_operation(dies);
}

static bool dies_restoring(HandOver hand_over, unsigned n) {
        SimOutcome outcome;

        ASSERT_EQ(prepare(hand_over), SIM_DONE);
        close_daemon();
        sim->devices[0].dirty = true;
        sim_plan_fault(sim, n, SIM_FAULT_DEATH, 0);
        outcome = restore();
        sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
        assert_restored();
        ASSERT_EQ(sim->n_breaches[SIM_BREACH_DIRTY], 0);
        return outcome == SIM_DIED;
}

TEST(every_death_of_a_restore_is_made_good) {
        at_every_operation(dies_restoring);
}

static bool hangs(HandOver hand_over, unsigned n) {
        SimOutcome outcome;

        sim_plan_fault(sim, n, SIM_FAULT_HANG, 0);
        outcome = prepare(hand_over);
        sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
        close_daemon();
        for (size_t i = 0; i < sim->n_devices; i++)
                sim_unlock(sim, &sim->devices[i]);
        assert_restored();
        return outcome == SIM_HUNG;
}

TEST(every_hang_is_rolled_back) {
        at_every_operation(hangs);
}

static bool vanishes(HandOver hand_over, unsigned n) {
        sim_plan_fault(sim, n, SIM_FAULT_VANISH, 0);
        ASSERT_EQ(prepare(hand_over), SIM_DONE);
        sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
        close_daemon();
        if (job.result < 0)
                assert_as_before();
        assert_restored();
        return sim->n_faults[SIM_FAULT_VANISH] > 0;
}

TEST(every_pulled_device_lets_go_of_the_others) {
        at_every_operation(vanishes);
}

static bool vanishes_restoring(HandOver hand_over, unsigned n) {
        ASSERT_EQ(prepare(hand_over), SIM_DONE);
        close_daemon();
        sim_plan_fault(sim, n, SIM_FAULT_VANISH, 0);
        assert_restored();
        return sim->n_faults[SIM_FAULT_VANISH] > 0;
}

TEST(every_device_pulled_from_a_restore_is_free) {
        at_every_operation(vanishes_restoring);
}

static bool fails_restoring(HandOver hand_over, unsigned n) {
        bool all = true;

        ASSERT_EQ(prepare(hand_over), SIM_DONE);
        close_daemon();
        sim_plan_fault(sim, n, SIM_FAULT_ERRNO, EIO);
        ASSERT_EQ(restore(), SIM_DONE);
        sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
        if (sim->n_faults[SIM_FAULT_ERRNO] == 0)
                return false;
        ASSERT_EQ(job.result, -EIO);
        for (size_t i = 0; i < job.n_devices; i++)
                all = all && job.devices[i].lease.released && job.devices[i].error >= 0;
        ASSERT_TRUE(!all);
        assert_restored();
        return true;
}

TEST(every_failure_of_a_restore_is_told) {
        at_every_operation(fails_restoring);
}

/* --- descriptors that clients keep --- */

TEST(visible_holder_changes_nothing) {
        trio();
        plan();
        hand_to_client();
        ASSERT_EQ(restore(), SIM_DONE);
        ASSERT_EQ(job.result, -EBUSY);
        ASSERT_EQ(job.devices[0].holders.n, 1);
        ASSERT_EQ(job.devices[0].holders.holders[0].pid, SIM_PID_CLIENT);
        ASSERT_STREQ(sim_driver_name(sim, &sim->devices[1]), "vfio-pci");
        sim_client_die(sim, SIM_PID_CLIENT);
        assert_restored();
}

TEST(unbind_hangs_until_the_last_close) {
        int fd;

        trio();
        plan();
        hand_to_client();
        fd = job.devices[0].fd;
        sim->fds[fd].pid = SIM_PID_FLIGHT;
        ASSERT_EQ(restore(), SIM_HUNG);
        ASSERT_EQ(job.devices[0].step, STEP_UNBIND);
        ASSERT_TRUE(!job.devices[0].lease.released);
        ASSERT_STREQ(sim_driver_name(sim, &sim->devices[1]), "vfio-pci");
        ASSERT_EQ(sim->devices[0].lock, SIM_LOCKED_BY_FILES);
        (void) sim_close(sim, fd);
        ASSERT_EQ(sim->devices[0].lock, SIM_UNLOCKED);
        ASSERT_EQ(sim->devices[0].driver, -1);
        assert_restored();
}

TEST(vfio_device_that_somebody_uses_is_left_alone) {
        int fd;

        single();
        sim_unbind(sim, &sim->devices[0]);
        (void) text_copy(sim->devices[0].override, NAME_MAX_LEN, "vfio-pci");
        sim_probe(sim, &sim->devices[0]);
        fd = sim_open_device(sim, &sim->devices[0], SIM_PID_FOREIGN);
        plan();
        ASSERT_EQ(prepare(HAND_OVER_UNBOUND), SIM_DONE);
        ASSERT_EQ(job.result, -EBUSY);
        ASSERT_TRUE(!job.devices[0].touched);
        (void) sim_close(sim, fd);
        go_through();
}

TEST(unloaded_host_module_is_loaded_again) {
        single();
        plan();
        ASSERT_EQ(prepare(HAND_OVER_NONE), SIM_DONE);
        sim->drivers[sim_driver(sim, "nvme")].loaded = false;
        assert_restored();
}
