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
        uint32_t pt;
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
        ASSERT_OK(k->ops->alloc_ioas(k, iommufd, &pt));
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
        ASSERT_ERROR(sim_hot_reset(sim, b), EINVAL);
        sim->devices[0].dirty = true;
        ASSERT_OK(sim_reset_open(sim, a));
        ASSERT_TRUE(!sim->devices[0].dirty);
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
                const char *parking = hand_over_is_legacy(h) ? STUB_DRIVER : "vfio-pci";

                plan();
                ASSERT_EQ(prepare(h), SIM_DONE);
                ASSERT_EQ(job.result, 0);
                ASSERT_EQ(job.devices[0].fd >= 0, hand_over_has_iommufd(h) || h == HAND_OVER_GROUP);
                ASSERT_EQ(sim->devices[0].bound_file >= 0, h == HAND_OVER_ATTACHED);
                ASSERT_STREQ(sim_driver_name(sim, &sim->devices[0]), "vfio-pci");
                for (size_t i = 1; i < n_saved; i++) {
                        ASSERT_EQ(job.devices[i].fd, -EBADF);
                        ASSERT_STREQ(sim_driver_name(sim, &sim->devices[i]), i == 1 ? parking : "");
                        ASSERT_STREQ(sim->devices[i].override, i == 1 ? parking : LEASE_HELD_OVERRIDE);
                }
                if (job.devices[0].fd >= 0) {
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

/* --- what a client has left --- */

static void leave_traces(bool set_idle) {
        ASSERT_EQ(prepare(HAND_OVER_UNBOUND), SIM_DONE);
        close_daemon();
        for (size_t i = 0; i < sim->n_devices; i++) {
                sim->devices[i].facts.reset_methods[0] = '\0';
                sim->devices[i].dirty = true;
        }
        memset(&job, 0, offsetof(Job, devices));
        job.kind = JOB_RESTORE;
        job.restore = true;
        job.iommufd = -EBADF;
        for (size_t i = 0; i < n_saved; i++)
                job.devices[job.n_devices++] =
                        (JobDevice) { .lease = saved[i], .fd = -EBADF, .used = i == 0, .set_idle = set_idle && i == 0 };
        ASSERT_EQ(sim_run(sim, &job), SIM_DONE);
        ASSERT_EQ(job.result, 0);
}

TEST(without_a_reset_the_whole_set_is_reset_while_it_is_idle) {
        trio();
        plan();
        leave_traces(true);
        ASSERT_TRUE(job.devices[0].clean);
        /* Before the first device went back: a reset of the bus under a host driver would be told of. */
        ASSERT_EQ(sim->n_breaches[SIM_BREACH_RESET_ON_HOST], 0);
        assert_as_before();
}

TEST(what_cannot_be_reset_is_not_called_clean) {
        trio();
        plan();
        leave_traces(false);
        ASSERT_TRUE(!job.devices[0].clean);
        assert_as_before();
        /* Neither is it if somebody has bound a host driver to a sibling meanwhile. */
        ASSERT_EQ(sim->n_breaches[SIM_BREACH_RESET_ON_HOST], 0);
}

/* --- a reset at the holder's wish --- */

static SimOutcome reset_job(int fd) {
        memset(&job, 0, offsetof(Job, devices));
        job.kind = JOB_RESET;
        job.iommufd = job.inotify_fd = -EBADF;
        job.device_fd = fd;
        job.n_devices = 1;
        job.devices[0] = (JobDevice) { .lease = saved[0], .fd = -EBADF };
        return sim_run(sim, &job);
}

TEST(reset_by_the_least_that_works) {
        int fd, group;

        /* All on VFIO drivers: the kernel resets no set with a driverless device in it. */
        begin();
        group = sim_add_group(sim);
        add("0000:01:00.0", group, "nvme");
        add("0000:01:00.1", group, "e1000e");
        plan();
        ASSERT_EQ(prepare(HAND_OVER_ATTACHED), SIM_DONE);
        fd = job.devices[0].fd;
        sim->devices[0].dirty = true;
        ASSERT_EQ(reset_job(fd), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(job.reset_method, RESET_FUNCTION);
        ASSERT_TRUE(!sim->devices[0].dirty);
        /* One that has no reset of its own is reset with its set, which is the lease's. */
        sim->devices[0].facts.reset_methods[0] = '\0';
        for (size_t i = 0; i < sim->n_devices; i++)
                sim->devices[i].dirty = true;
        ASSERT_EQ(reset_job(fd), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(job.reset_method, RESET_HOT);
        for (size_t i = 0; i < sim->n_devices; i++)
                ASSERT_TRUE(!sim->devices[i].dirty);
        /* A failure is told and not made good by something stronger. */
        sim->devices[0].facts.reset_methods[0] = 'f';
        sim_plan_fault(sim, 1, SIM_FAULT_ERRNO, EIO);
        ASSERT_EQ(reset_job(fd), SIM_DONE);
        ASSERT_EQ(job.result, -EIO);
        ASSERT_EQ(job.reset_method, RESET_FUNCTION);
        sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
        close_daemon();
}

TEST(hot_reset_needs_the_whole_set) {
        int fd;

        begin();
        add("0000:01:00.0", sim_add_group(sim), "nvme");
        add("0000:01:00.1", sim_add_group(sim), "nvme");
        sim->devices[0].facts.reset_methods[0] = '\0';
        plan();
        n_saved = 1;
        ASSERT_EQ(prepare(HAND_OVER_ATTACHED), SIM_DONE);
        fd = job.devices[0].fd;
        ASSERT_EQ(reset_job(fd), SIM_DONE);
        ASSERT_EQ(job.result, -EINVAL);
        ASSERT_EQ(job.reset_method, RESET_HOT);
        close_daemon();
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
        if (job.result >= 0 && hand_over_is_legacy(hand_over)) {
                assert_as_before(); /* it was a close, which cannot fail */
                return true;
        }
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

TEST(legacy_rules) {
        int group, container, other, a;
        BoundFacts facts;
        SimGroup *g;
        Kernel *k;

        trio();
        k = &sim->kernel;
        g = &sim->groups[sim->devices[0].group];
        ASSERT_ERROR(k->ops->open_group(k, g->id), ENOENT);
        (void) text_copy(sim->devices[0].override, NAME_MAX_LEN, "vfio-pci");
        ASSERT_OK(k->ops->unbind(k, sim->devices[0].facts.address));
        ASSERT_OK(k->ops->bind(k, sim->devices[0].facts.address, "vfio-pci"));
        group = sim_open_group(sim, g, SIM_PID_CLIENT);
        container = sim_open_container(sim, SIM_PID_CLIENT);
        ASSERT_ERROR(sim_open_group(sim, g, SIM_PID_CLIENT), EBUSY);
        ASSERT_ERROR(sim_set_container(sim, group, container), EPERM);
        ASSERT_OK(k->ops->unbind(k, sim->devices[1].facts.address));
        ASSERT_ERROR(sim_open_by_group(sim, group, container, &sim->devices[0], SIM_PID_CLIENT), EINVAL);
        ASSERT_OK(sim_set_container(sim, group, container));
        ASSERT_ERROR(k->ops->bind(k, sim->devices[1].facts.address, "e1000e"), EBUSY);
        ASSERT_ERROR(sim_open_by_group(sim, group, container, &sim->devices[1], SIM_PID_CLIENT), ENODEV);
        /* A device pins its group, and the character device cannot be bound beside it. */
        a = sim_open_by_group(sim, group, container, &sim->devices[0], SIM_PID_CLIENT);
        ASSERT_TRUE(a >= 0);
        (void) sim_close(sim, group);
        ASSERT_ERROR(sim_open_group(sim, g, SIM_PID_CLIENT), EBUSY);
        other = sim_open_device(sim, &sim->devices[0], SIM_PID_CLIENT);
        ASSERT_ERROR(sim_bind(sim, other, sim_open_iommufd(sim, SIM_PID_CLIENT), &facts), EBUSY);
        (void) sim_close(sim, a);
        (void) sim_close(sim, other);
        /* With its last device the group dies in the hands of who has it. */
        group = sim_open_group(sim, g, SIM_PID_CLIENT);
        ASSERT_OK(sim_set_container(sim, group, container));
        ASSERT_OK(k->ops->unbind(k, sim->devices[0].facts.address));
        ASSERT_OK(k->ops->bind(k, sim->devices[1].facts.address, "e1000e"));
        ASSERT_OK(k->ops->unbind(k, sim->devices[1].facts.address));
        ASSERT_OK(k->ops->bind(k, sim->devices[0].facts.address, "vfio-pci"));
        ASSERT_ERROR(sim_open_by_group(sim, group, container, &sim->devices[0], SIM_PID_CLIENT), ENODEV);
        ASSERT_ERROR(sim_set_container(sim, group, container), ENODEV);
}

/* What /proc does not show the kernel tells, and nobody waits in an unbind. */
TEST(unseen_holder_of_a_group_changes_nothing) {
        int group, container, device;

        trio();
        plan();
        ASSERT_EQ(prepare(HAND_OVER_NODE), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        container = sim_open_container(sim, SIM_PID_FLIGHT);
        group = sim_open_group(sim, &sim->groups[sim->devices[0].group], SIM_PID_FLIGHT);
        ASSERT_OK(sim_set_container(sim, group, container));
        device = sim_open_by_group(sim, group, container, &sim->devices[0], SIM_PID_FLIGHT);
        (void) sim_close(sim, group);
        ASSERT_EQ(restore(), SIM_DONE);
        ASSERT_EQ(job.result, -EBUSY);
        ASSERT_EQ(job.devices[0].holders.n, 0);
        ASSERT_STREQ(sim_driver_name(sim, &sim->devices[0]), "vfio-pci");
        ASSERT_STREQ(sim_driver_name(sim, &sim->devices[1]), STUB_DRIVER);
        (void) sim_close(sim, device);
        assert_restored();
}

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
