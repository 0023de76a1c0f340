/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/fixture.h"

/* PASIDs and the gate over the simulated machine. */

#define LEASE "00000000000000000000000000000001"
#define LIMIT 2

TEST(every_operation_has_a_twin) {
        void (*ops[sizeof(KernelOps) / sizeof(void (*)(void))])(void);

        begin();
        memcpy(ops, sim->kernel.ops, sizeof(ops));
        for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
                ASSERT_TRUE(ops[i]);
}

/* An attached lease of a device that can have PASIDs, of which the gate lets it have LIMIT. */
static void lend(void) {
        Kernel *k;
        GateLease rule = {
                .id = LEASE,
                .limit = LIMIT,
                .chain = { .levels = { 7, 1 }, .n_levels = 2 },
                .n_devices = 1,
        };

        single();
        k = &sim->kernel;
        sim->devices[0].pasid_bits = 20;
        rule.devices[0].cdev = sim_cdev_number(sim, &sim->devices[0]);
        ASSERT_ERROR(k->ops->gate_open(k), ENOENT);
        ASSERT_OK(k->ops->gate_load(k));
        ASSERT_ERROR(k->ops->gate_set_lease(k, &rule), ENOENT);
        ASSERT_OK(k->ops->gate_open(k));
        ASSERT_OK(k->ops->gate_set_lease(k, &rule));
        plan();
        with_pasids = true;
        ASSERT_EQ(prepare(HAND_OVER_ATTACHED), SIM_DONE);
        with_pasids = false;
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(job.devices[0].lease.bound.pasid_bits, 20);
}

static int change(bool detach, uint32_t pasid) {
        Job order = {
                .kind = JOB_PASID,
                .device_fd = job.devices[0].fd,
                .pasid = { .detach = detach, .pasid = pasid, .pt = job.devices[0].lease.pt },
        };

        ASSERT_EQ(sim_run(sim, &order), SIM_DONE);
        return order.result;
}

static PasidCounts counts_of(bool of_level) {
        Kernel *k = &sim->kernel;
        PasidCounts counts;

        ASSERT_OK(of_level ? k->ops->gate_read_level(k, 1, &counts) : k->ops->gate_read_lease(k, LEASE, &counts));
        return counts;
}

TEST(no_more_than_the_gate_lets) {
        lend();
        ASSERT_OK(change(false, 1));
        ASSERT_OK(change(false, 1));
        ASSERT_OK(change(false, 2));
        ASSERT_ERROR(change(false, 3), EDQUOT);
        ASSERT_ERROR(change(false, 1 << 20), EDQUOT);
        for (int level = 0; level < 2; level++) {
                ASSERT_EQ(counts_of(level).in_use, LIMIT);
                ASSERT_EQ(counts_of(level).refused, 2);
        }
        ASSERT_OK(change(true, 2));
        ASSERT_OK(change(true, 2));
        ASSERT_OK(change(false, 3));
        ASSERT_EQ(counts_of(false).peak, LIMIT);
}

TEST(a_closed_device_has_none) {
        lend();
        ASSERT_OK(change(false, 1));
        close_daemon();
        ASSERT_EQ(counts_of(false).in_use, 0);
        ASSERT_EQ(counts_of(true).in_use, 0);
        ASSERT_EQ(counts_of(true).peak, 1);
        assert_restored();
}

TEST(levels_count_what_a_dropped_lease_has_left) {
        Kernel *k;
        PasidCounts counts;

        lend();
        k = &sim->kernel;
        ASSERT_OK(change(false, 1));
        ASSERT_OK(k->ops->gate_drop_lease(k, LEASE));
        ASSERT_ERROR(k->ops->gate_read_lease(k, LEASE, &counts), ENOENT);
        ASSERT_EQ(counts_of(true).in_use, 1);
        close_daemon();
        ASSERT_EQ(counts_of(true).in_use, 0);
        ASSERT_EQ(sim->n_gate_leases, 0);
}

TEST(iommu_without_pasids) {
        single();
        sim->no_pasid_tables = true;
        sim->devices[0].pasid_bits = 20;
        plan();
        with_pasids = true;
        ASSERT_EQ(prepare(HAND_OVER_ATTACHED), SIM_DONE);
        with_pasids = false;
        ASSERT_EQ(job.result, 0);
        ASSERT_ERROR(change(false, 1), EINVAL);
        close_daemon();
        assert_restored();
}

/* Although only one of them can have PASIDs, and not the one that is attached first. */
TEST(members_of_a_group_are_handed_over_with_one_table) {
        trio();
        sim->devices[1].pasid_bits = 20;
        plan();
        saved[1].role = ROLE_LEASED;
        with_pasids = true;
        ASSERT_EQ(prepare(HAND_OVER_ATTACHED), SIM_DONE);
        with_pasids = false;
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(job.devices[0].lease.pt, job.devices[1].lease.pt);
        ASSERT_OK(sim->kernel.ops->attach_pasid(&sim->kernel, job.devices[1].fd, job.devices[1].lease.pt, 1));
        close_daemon();
        assert_restored();
}

TEST(members_of_a_group_have_one_table) {
        uint32_t space, own, other;
        BoundFacts facts;
        int fds[2], iommufd;
        Kernel *k;

        trio();
        k = &sim->kernel;
        iommufd = sim_open_iommufd(sim, SIM_PID_CLIENT);
        for (int i = 0; i < 3; i++) {
                ASSERT_OK(k->ops->set_override(k, sim->devices[i].facts.address, "vfio-pci"));
                ASSERT_OK(k->ops->unbind(k, sim->devices[i].facts.address));
                ASSERT_OK(k->ops->bind(k, sim->devices[i].facts.address, "vfio-pci"));
        }
        for (int i = 0; i < 2; i++) {
                sim->devices[i].pasid_bits = 20;
                fds[i] = sim_open_device(sim, &sim->devices[i], SIM_PID_CLIENT);
                ASSERT_OK(sim_bind(sim, fds[i], iommufd, &facts));
        }
        ASSERT_OK(k->ops->alloc_ioas(k, iommufd, &space));
        ASSERT_OK(k->ops->alloc_pasid_table(k, iommufd, facts.devid, space, &own));
        ASSERT_OK(k->ops->alloc_pasid_table(k, iommufd, facts.devid, space, &other));
        ASSERT_OK(k->ops->attach(k, fds[0], &own));
        ASSERT_ERROR(k->ops->attach(k, fds[1], &other), EINVAL);
        ASSERT_OK(k->ops->attach(k, fds[1], &own));
        ASSERT_OK(k->ops->attach_pasid(k, fds[0], other, 1));
        ASSERT_ERROR(k->ops->attach_pasid(k, fds[1], own, 1), EINVAL);
        ASSERT_ERROR(k->ops->attach(k, fds[0], &space), EINVAL);
        /* Whoever has it attached moves all of them. */
        ASSERT_OK(k->ops->attach_pasid(k, fds[0], own, 1));
        ASSERT_OK(k->ops->attach_pasid(k, fds[1], own, 1));
        ASSERT_OK(k->ops->detach_pasid(k, fds[0], 1));
        ASSERT_ERROR(k->ops->attach(k, fds[1], &space), EINVAL);
        ASSERT_OK(k->ops->detach_pasid(k, fds[1], 1));
        ASSERT_OK(k->ops->attach(k, fds[1], &space));
}
