/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/fixture.h"

/* What was wrong in worker and ledger once: each flaw that the random runs found, as a small case of its own. */

static void must(bool good, const char *what) {
        if (!good)
                TEST_FAIL("%s", what);
}

TEST(reset_under_the_host_driver) {
        single();
        plan();
        ASSERT_EQ(restore(), SIM_DONE); /* as after a worker that died before it touched anything */
        must(sim->n_breaches[SIM_BREACH_RESET_ON_HOST] == 0,
             "restore.c: a rollback resets a device that never left its host driver");
}

TEST(sibling_given_back_beside_an_open_descriptor) {
        trio();
        plan();
        hand_to_client();
        sim->fds[job.devices[0].fd].pid = SIM_PID_FLIGHT;
        sim_plan_fault(sim, 3, SIM_FAULT_ERRNO, ENOMEM); /* the first read_device, after two find_holders */
        ASSERT_EQ(restore(), SIM_DONE);
        ASSERT_TRUE(!job.devices[0].lease.released);
        must(sim_driver_kind(sim, &sim->devices[1]) != DRIVER_HOST,
             "restore.c: a parked member gets its host driver although the leased one is not proven free");
        must(!job.devices[1].lease.released && !isempty(sim->devices[2].override),
             "restore.c: members count as released although the leased one is not proven free");
}

static unsigned operation_of_last_bind(void) {
        for (unsigned long i = sim->n_trace; i-- > 0;)
                if (streq(sim->trace[i % SIM_TRACE].op, "bind") && sim->trace[i % SIM_TRACE].job == sim->n_jobs)
                        return sim->job_ops - (unsigned) (sim->n_trace - 1 - i);
        return 0;
}

/* Restores once to learn at which operation the host driver is bound, and again with a failure there. */
static void fail_last_bind(int error) {
        plan();
        ASSERT_EQ(prepare(HAND_OVER_NONE), SIM_DONE);
        assert_restored();
        sim_plan_fault(sim, operation_of_last_bind(), SIM_FAULT_ERRNO, error);
        ASSERT_TRUE(sim->planned_at > 0);
        unsigned at = sim->planned_at;
        sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
        ASSERT_EQ(prepare(HAND_OVER_NONE), SIM_DONE);
        sim_plan_fault(sim, at, SIM_FAULT_ERRNO, error);
        ASSERT_EQ(restore(), SIM_DONE);
        sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
}

TEST(driver_that_does_not_want_its_device) {
        single();
        fail_last_bind(ENODEV);
        must(job.devices[0].error < 0 || sim->devices[0].driver >= 0,
             "restore.c: a host driver's ENODEV passes for a device that is gone");
}

TEST(busy_after_all_is_done) {
        single();
        fail_last_bind(EBUSY);
        ASSERT_TRUE(job.devices[0].error < 0);
        must(job.result != -EBUSY,
             "restore.c: EBUSY from a host driver reads as \"there are holders, nothing was done\"");
}

TEST(busy_before_anything_is_done) {
        single();
        plan();
        hand_to_client();
        sim_client_die(sim, SIM_PID_CLIENT);
        sim_plan_fault(sim, 1, SIM_FAULT_ERRNO, EBUSY);
        ASSERT_EQ(restore(), SIM_DONE);
        sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
        must(job.result < 0 && job.result != -EBUSY, "restore.c: a look that fails with EBUSY reads as a holder");
}

TEST(failed_preparation_that_says_opened) {
        single();
        plan();
        job.iommufd = -EBADF;
        sim_plan_fault(sim, 1, SIM_FAULT_NONE, 0);
        ASSERT_EQ(run(JOB_PREPARE, HAND_OVER_ATTACHED, -EBADF), SIM_DONE); /* the bind to no iommufd fails */
        ASSERT_ERROR(job.result, EBADF);
        assert_as_before();
        must(!job.devices[0].lease.opened, "prepare.c: a failed preparation closes a descriptor and leaves \"opened\"");
}

TEST(override_that_changed_since_the_plan) {
        single();
        plan();
        (void) text_copy(sim->devices[0].override, NAME_MAX_LEN, "nvme");
        ASSERT_EQ(prepare(HAND_OVER_NONE), SIM_DONE);
        must(job.result == -ESTALE, "prepare.c: an override that changed since the plan is lost");
}

static const KernelOps *real;
static int late_driver;

/* The kernel had chosen a driver for the third device before, and has done with it now. */
static int set_override_too_late(Kernel *k, Address a, const char *driver) {
        int r = real->set_override(k, a, driver);

        if (address_equal(a, sim->devices[2].facts.address) && !isempty(driver))
                sim->devices[2].driver = late_driver;
        return r;
}

TEST(driver_that_was_chosen_before_the_override) {
        KernelOps late;

        trio();
        plan();
        real = sim->kernel.ops;
        late = *real;
        late.set_override = set_override_too_late;
        late_driver = sim->devices[1].driver;
        sim->kernel.ops = &late;
        ASSERT_EQ(prepare(HAND_OVER_NONE), SIM_DONE);
        sim->kernel.ops = real;
        must(job.result == -ESTALE, "prepare.c: a device that is to be driverless has a driver, and counts as held");
}

TEST(vfio_driver_without_its_override) {
        single();
        sim_unbind(sim, &sim->devices[0]);
        (void) text_copy(sim->devices[0].override, NAME_MAX_LEN, "vfio-pci");
        sim_probe(sim, &sim->devices[0]);
        sim->devices[0].override[0] = '\0'; /* as many scripts do, once it is bound */
        plan();
        ASSERT_EQ(prepare(HAND_OVER_NONE), SIM_DONE);
        ASSERT_EQ(restore(), SIM_DONE);
        must(streq(sim_driver_name(sim, &sim->devices[0]), "vfio-pci"),
             "restore.c: a device that was bound by an override cleared since does not get its driver back");
        must(job.devices[0].error < 0 || sim->devices[0].driver >= 0, "restore.c: and nothing says so");
}

TEST(unbind_by_somebody_else) {
        int fd;

        begin();
        add("0000:01:00.0", sim_add_group(sim), "");
        sim->devices[0].facts.reset_methods[0] = '\0';
        plan();
        hand_to_client();
        saved[0].opened = true;
        fd = job.devices[0].fd;
        sim->fds[fd].pid = SIM_PID_FLIGHT;
        sim_unbind(sim, &sim->devices[0]); /* goes on for ever, with the driver's link gone */
        (void) restore();
        must(!job.devices[0].lease.released,
             "restore.c: no driver passes for proof while somebody else's unbind hangs");
        (void) sim_close(sim, fd);
}

static bool came;

static void note_driver(void *userdata _unused_, SimDevice *d _unused_) {
        came = true;
}

static void load_driver(void *userdata _unused_) {
        (void) sim_load(sim, "nvme");
}

TEST(driver_that_comes_after_the_look) {
        for (unsigned n = 1; n < 40; n++) {
                single();
                sim_unload(sim, sim_driver(sim, "nvme"));
                plan();
                came = false;
                sim->on_probed = note_driver;
                sim->delayed = load_driver;
                sim_plan_fault(sim, n, SIM_FAULT_DELAY, 0);
                ASSERT_EQ(prepare(HAND_OVER_NONE), SIM_DONE);
                sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
                if (job.result >= 0)
                        ASSERT_EQ(restore(), SIM_DONE);
                must(!came || streq(sim_driver_name(sim, &sim->devices[0]), "nvme"),
                     "prepare.c: a driver that came between the look and the override is not given back");
        }
}

/* --- the ledger, when devices come and go under a lease --- */

static Lease *make_lease(int group) {
        Lease *l = calloc(1, sizeof(*l));

        ASSERT_TRUE(l);
        l->unit = strdup("");
        l->cgroup = strdup("");
        l->charged = strdup("/");
        l->devices = calloc(1, sizeof(*l->devices));
        l->n_devices = 1;
        l->devices[0] = (LeaseDevice) { .address = { .bus = 1 }, .group = group };
        return l;
}

TEST(device_that_joins_what_has_no_descriptors) {
        _cleanup_(lease_freep) Lease *l = make_lease(7);
        LeaseDevice ld = { .role = ROLE_LEASED, .joining = true };

        l->hand_over = HAND_OVER_NONE;
        ledger_joined(l, &ld);
        must(ld.taken && !ld.joining,
             "ledger.c: a device that was added to a lease without descriptors is not reset at the end");
}

static void put(Ledger *ledger, int group) {
        DeviceFacts facts = { .address = { .bus = 1 }, .group = group };
        Device *d;
        Group *g;

        ASSERT_OK(inventory_put_group(&ledger->inventory, &(GroupFacts) { .id = group }, &g));
        ASSERT_OK(inventory_put_device(&ledger->inventory, &facts, &d));
}

TEST(device_back_in_another_group) {
        Ledger ledger = {};

        put(&ledger, 7);
        ASSERT_OK(ledger_open(&ledger, make_lease(7)));
        (void) inventory_remove_device(&ledger.inventory, (Address) { .bus = 1 });
        put(&ledger, 8);
        ASSERT_STREQ(ledger_check(&ledger) ?: "", "");
        ledger_clear(&ledger);
}

TEST(device_back_after_a_restart) {
        Ledger ledger = {};

        ASSERT_OK(ledger_open(&ledger, make_lease(7))); /* read from its file; the device was pulled meanwhile */
        ASSERT_TRUE(!ledger_check(&ledger));
        put(&ledger, 7);
        ASSERT_STREQ(ledger_check(&ledger) ?: "", "");
        ledger_clear(&ledger);
}

TEST(broken_device_of_a_lease_that_is_revoked_again) {
        Lease *l = make_lease(7);
        Ledger ledger = {};
        const Device *d;

        put(&ledger, 7);
        ASSERT_OK(ledger_open(&ledger, l));
        ledger_begin_release(&ledger, l, "its lifeline was closed");
        ledger_device_released(&ledger, l, &l->devices[0]);
        ledger_device_broken(&ledger, l, &l->devices[0], "its driver does not want it");
        ledger_begin_again(&ledger, l, "revoked");
        d = inventory_device(&ledger.inventory, l->devices[0].address);
        must(d->state == DEVICE_BROKEN, "ledger.c: a device whose driver did not come back counts as free in the end");
        ledger_clear(&ledger);
}
