/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/fixture.h"

/* Virtual functions over the simulated machine: whatever goes wrong at whatever operation, nothing waits with hotplug locked out, and
 * there are either all of them, as they were, or none. */

#define OPS_MAX   200
#define FUNCTIONS 3
#define PF        (&sim->devices[0])
#define TOKEN     "01234567-89ab-4def-8123-456789abcdef"

static SimDevice *vf(unsigned i) {
        return sim_virtual_function(sim, PF, i);
}

/* A physical function on its driver; the virtual ones are not there yet. */
static void card(void) {
        static const char *const addresses[FUNCTIONS] = { "0000:01:10.0", "0000:01:10.2", "0000:01:10.4" };

        begin();
        add("0000:01:00.0", sim_add_group(sim), "nvme");
        PF->facts.virtual_functions_max = FUNCTIONS;
        for (unsigned i = 0; i < FUNCTIONS; i++) {
                SimDevice *d = sim_add_device(sim, addresses[i], sim_add_group(sim), "e1000e");

                d->facts.virtual_function = true;
                d->facts.physical_function = PF->facts.address;
                sim_vanish(sim, d);
        }
        sim->n_hotplugs = 0;
}

static unsigned count(void) {
        unsigned n = 0;

        for (unsigned i = 0; i < FUNCTIONS; i++)
                n += vf(i)->present;
        return n;
}

static SimOutcome set(uint32_t n) {
        job = (Job) { .kind = JOB_VIRTUAL_FUNCTIONS, .virtual_functions = n, .iommufd = -EBADF, .restore = true };
        for (unsigned i = 0; i <= FUNCTIONS; i++) {
                const SimDevice *d = &sim->devices[i];
                JobDevice *jd = &job.devices[job.n_devices];

                if (!d->present)
                        continue;
                *jd = (JobDevice) { .lease.address = d->facts.address, .fd = -EBADF };
                (void) text_copy(jd->lease.original_driver, NAME_MAX_LEN, sim_driver_name(sim, d));
                (void) text_copy(jd->lease.original_override, NAME_MAX_LEN, d->override);
                job.n_devices++;
        }
        return sim_run(sim, &job);
}

static void put_on_vfio(SimDevice *d) {
        (void) text_copy(d->override, NAME_MAX_LEN, "vfio-pci");
        sim_unbind(sim, d);
        sim_probe(sim, d);
        ASSERT_STREQ(sim_driver_name(sim, d), "vfio-pci");
}

static void card_with_functions_on_vfio(void) {
        card();
        ASSERT_EQ(set(FUNCTIONS), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        for (unsigned i = 0; i < FUNCTIONS; i++)
                put_on_vfio(vf(i));
}

static void assert_all_on_vfio(void) {
        ASSERT_EQ(count(), FUNCTIONS);
        for (unsigned i = 0; i < FUNCTIONS; i++) {
                ASSERT_STREQ(sim_driver_name(sim, vf(i)), "vfio-pci");
                ASSERT_STREQ(vf(i)->override, "vfio-pci");
        }
}

TEST(made_without_drivers) {
        card();
        ASSERT_EQ(set(2), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(count(), 2);
        /* Not even a module that is loaded later takes them. */
        sim_unload(sim, sim_driver(sim, "e1000e"));
        ASSERT_TRUE(sim_load(sim, "e1000e") >= 0);
        for (unsigned i = 0; i < 2; i++)
                ASSERT_STREQ(sim_driver_name(sim, vf(i)), "");
        ASSERT_EQ(set(3), SIM_DONE);
        ASSERT_EQ(job.result, -EBUSY);
        ASSERT_EQ(count(), 2);
        ASSERT_EQ(set(0), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(count(), 0);
}

TEST(driver_that_makes_none) {
        card();
        put_on_vfio(PF);
        ASSERT_EQ(set(2), SIM_DONE);
        ASSERT_EQ(job.result, -ENOENT);
        ASSERT_EQ(job.devices[0].step, STEP_SET_VIRTUAL_FUNCTIONS);
        ASSERT_TRUE(!PF->no_autoprobe);
        sim->vfio_makes_functions = true;
        ASSERT_EQ(set(FUNCTIONS), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        assert_all_on_vfio();
}

TEST(every_failure_to_make_is_undone) {
        for (unsigned n = 1;; n++) {
                ASSERT_TRUE(n < OPS_MAX);
                card();
                sim_plan_fault(sim, n, SIM_FAULT_ERRNO, EIO);
                ASSERT_EQ(set(2), SIM_DONE);
                sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
                if (sim->n_faults[SIM_FAULT_ERRNO] == 0)
                        break;
                ASSERT_EQ(job.result, -EIO);
                ASSERT_EQ(count(), 0);
                ASSERT_TRUE(!PF->no_autoprobe);
        }
        ASSERT_EQ(count(), 2);
}

TEST(idle_on_vfio_is_taken_off) {
        card_with_functions_on_vfio();
        ASSERT_EQ(set(0), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(count(), 0);
}

TEST(holder_is_named_and_nothing_changed) {
        int fd;

        card_with_functions_on_vfio();
        fd = sim_open_device(sim, vf(1), SIM_PID_FOREIGN);
        ASSERT_EQ(set(0), SIM_DONE);
        ASSERT_EQ(job.result, -EBUSY);
        ASSERT_EQ(job.failed, 2);
        ASSERT_EQ(job.devices[2].step, STEP_FIND_HOLDERS);
        ASSERT_EQ(job.devices[2].holders.holders[0].pid, SIM_PID_FOREIGN);
        for (size_t i = 0; i < job.n_devices; i++)
                ASSERT_TRUE(!job.devices[i].touched);
        assert_all_on_vfio();
        (void) sim_close(sim, fd);
        ASSERT_EQ(set(0), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(sim->n_breaches[SIM_BREACH_RESCAN_LOCK], 0);
}

TEST(every_failure_to_remove_is_undone) {
        for (unsigned n = 1;; n++) {
                ASSERT_TRUE(n < OPS_MAX);
                card_with_functions_on_vfio();
                sim_plan_fault(sim, n, SIM_FAULT_ERRNO, EIO);
                ASSERT_EQ(set(0), SIM_DONE);
                sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
                if (sim->n_faults[SIM_FAULT_ERRNO] == 0)
                        break;
                ASSERT_EQ(job.result, -EIO);
                assert_all_on_vfio();
        }
        ASSERT_EQ(count(), 0);
}

static unsigned opens_at;
static int opened;

/* In the middle of the job somebody opens the last function, if it still has a node. */
static void open_last(_unused_ void *userdata) {
        if (sim->job_ops == opens_at && sim_driver_kind(sim, vf(2)) == DRIVER_VFIO)
                opened = sim_open_device(sim, vf(2), SIM_PID_FOREIGN);
}

TEST(whoever_opens_one_in_between_locks_nothing_but_that) {
        unsigned hung = 0;

        for (opens_at = 1;; opens_at++) {
                SimOutcome outcome;

                ASSERT_TRUE(opens_at < OPS_MAX);
                card_with_functions_on_vfio();
                opened = -1;
                sim->meanwhile = open_last;
                sim->meanwhile_rate = 1;
                outcome = set(0);
                sim->meanwhile = NULL;
                ASSERT_EQ(sim->n_breaches[SIM_BREACH_RESCAN_LOCK], 0);
                if (opened < 0)
                        break;
                if (outcome == SIM_DONE) {
                        ASSERT_EQ(job.result, -EBUSY);
                        assert_all_on_vfio();
                } else {
                        ASSERT_EQ(job.devices[3].step, STEP_UNBIND);
                        hung++;
                }
                (void) sim_close(sim, opened);
                ASSERT_EQ(set(0), SIM_DONE);
                ASSERT_EQ(job.result, 0);
        }
        ASSERT_TRUE(opens_at > 3);
        ASSERT_TRUE(hung <= 1); /* between the last look for holders and the unbind */
        ASSERT_EQ(count(), 0);
}

/* As an administrator's script would, behind the worker. */
static void put_back(_unused_ void *userdata) {
        if (vf(0)->present && vf(0)->driver < 0 && opened < 0) {
                sim_probe(sim, vf(0));
                opened = sim_open_device(sim, vf(0), SIM_PID_FOREIGN);
        }
}

TEST(one_that_comes_back_in_between_is_seen) {
        card_with_functions_on_vfio();
        opened = -1;
        sim->meanwhile = put_back;
        sim->meanwhile_rate = 1;
        ASSERT_EQ(set(0), SIM_DONE);
        sim->meanwhile = NULL;
        ASSERT_EQ(job.result, -ESTALE);
        ASSERT_EQ(sim->n_breaches[SIM_BREACH_RESCAN_LOCK], 0);
        ASSERT_EQ(count(), FUNCTIONS);
}

TEST(every_death_leaves_what_another_can_remove) {
        for (unsigned n = 1;; n++) {
                SimOutcome outcome;

                ASSERT_TRUE(n < OPS_MAX);
                card_with_functions_on_vfio();
                sim_plan_fault(sim, n, SIM_FAULT_DEATH, 0);
                outcome = set(0);
                sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
                if (outcome == SIM_DONE)
                        break;
                ASSERT_EQ(set(0), SIM_DONE);
                ASSERT_EQ(job.result, 0);
                ASSERT_EQ(count(), 0);
        }
}

/* --- when the physical function is taken from its driver --- */

static void take_physical(void) {
        card_with_functions_on_vfio();
        vf(1)->override[0] = '\0'; /* as many scripts do, once it is bound */
        plan();
        n_saved = 1;
}

TEST(functions_that_stay_have_their_drivers_again) {
        take_physical();
        ASSERT_EQ(prepare(HAND_OVER_NONE), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(count(), FUNCTIONS);
        for (unsigned i = 0; i < FUNCTIONS; i++) {
                ASSERT_STREQ(sim_driver_name(sim, vf(i)), "vfio-pci");
                ASSERT_STREQ(vf(i)->override, i == 1 ? "" : "vfio-pci");
        }
}

TEST(functions_go_with_a_driver_that_removes_them) {
        take_physical();
        sim->drivers[PF->driver].removes = true;
        ASSERT_EQ(prepare(HAND_OVER_NONE), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(count(), 0);
        ASSERT_EQ(sim->n_breaches[SIM_BREACH_RESCAN_LOCK], 0);
        assert_restored();
}

/* Its virtual functions are looked at once more when the device goes back, and are not who owns its group. */
TEST(whoever_owns_the_group_is_named_and_nobody_else) {
        SimDevice *other;
        BoundFacts facts;
        int iommufd;

        take_physical();
        other = sim_add_device(sim, "0000:01:11.0", PF->group, "e1000e");
        put_on_vfio(other);
        iommufd = sim_open_iommufd(sim, SIM_PID_FOREIGN);
        sim_unbind(sim, PF);
        ASSERT_OK(sim_bind(sim, sim_open_device(sim, other, SIM_PID_FOREIGN), iommufd, &facts));
        (void) text_copy(saved[0].original_driver, NAME_MAX_LEN, "");
        ASSERT_EQ(prepare(HAND_OVER_UNBOUND), SIM_DONE);
        ASSERT_EQ(job.devices[0].step, STEP_CLAIM);
        ASSERT_EQ(job.devices[0].error, -EPERM);
        ASSERT_EQ(job.devices[0].holders.n, 1);
        ASSERT_EQ(job.devices[0].holders.holders[0].pid, SIM_PID_FOREIGN);
}

/* --- of a leased physical function --- */

/* The physical function is a client's, and the functions are on VFIO. */
static void lend_with_functions(void) {
        card();
        sim->vfio_makes_functions = true;
        plan();
        n_saved = 1;
        (void) text_copy(saved[0].vf_token, VF_TOKEN_MAX, TOKEN);
        hand_to_client();
        ASSERT_EQ(set(FUNCTIONS), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        assert_all_on_vfio();
}

TEST(release_waits_for_the_functions) {
        int fd;

        lend_with_functions();
        fd = sim_open_device(sim, vf(1), SIM_PID_CLIENT + 1);
        sim_client_die(sim, SIM_PID_CLIENT);
        ASSERT_EQ(restore(), SIM_DONE);
        /* -EBUSY as the result would mean that somebody has the physical function itself. */
        ASSERT_EQ(job.result, -EIO);
        ASSERT_EQ(job.devices[0].error, -EBUSY);
        ASSERT_TRUE(!job.devices[0].lease.released);
        ASSERT_EQ(job.devices[0].holders.n, 1);
        ASSERT_EQ(job.devices[0].holders.holders[0].pid, SIM_PID_CLIENT + 1);
        assert_all_on_vfio();
        ASSERT_EQ(run(JOB_HOLDERS, HAND_OVER_UNBOUND, -EBADF), SIM_DONE);
        ASSERT_EQ(job.devices[0].holders.holders[0].pid, SIM_PID_CLIENT + 1);
        (void) sim_close(sim, fd);
        assert_restored();
        ASSERT_EQ(count(), 0);
        ASSERT_EQ(sim->n_breaches[SIM_BREACH_RESCAN_LOCK], 0);
}

TEST(whatever_vanishes_the_device_is_proven_free) {
        for (unsigned n = 1;; n++) {
                ASSERT_TRUE(n < OPS_MAX);
                lend_with_functions();
                sim_client_die(sim, SIM_PID_CLIENT);
                sim_plan_fault(sim, n, SIM_FAULT_VANISH, 0);
                ASSERT_EQ(restore(), SIM_DONE);
                sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
                ASSERT_TRUE(job.devices[0].lease.released);
                ASSERT_STREQ(sim_driver_name(sim, PF), PF->present ? "nvme" : "");
                if (sim->n_faults[SIM_FAULT_VANISH] == 0)
                        break;
        }
        ASSERT_EQ(count(), 0);
}

TEST(attached_function_shows_the_token) {
        static const char *const tokens[] = { "", "76543210-89ab-4def-8123-456789abcdef", TOKEN };

        for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
                bool right = streq(tokens[i], TOKEN);
                Address a;

                lend_with_functions();
                a = vf(0)->facts.address;
                saved[0] = (LeaseDevice) {
                        .address = a,
                        .group = sim->groups[vf(0)->group].id,
                        .set = a,
                        .watch = -1,
                        .driver = "vfio-pci",
                        .module = "vfio_pci",
                        .original_driver = "vfio-pci",
                        .original_override = "vfio-pci",
                };
                (void) text_copy(saved[0].vf_token, VF_TOKEN_MAX, tokens[i]);
                ASSERT_EQ(prepare(HAND_OVER_ATTACHED), SIM_DONE);
                ASSERT_EQ(job.result, right ? 0 : -EACCES);
                ASSERT_EQ(vf(0)->bound_file >= 0, right);
                ASSERT_STREQ(sim_driver_name(sim, vf(0)), "vfio-pci");
        }
}
