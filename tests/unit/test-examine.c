/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/viability.h"
#include "machine.h"

/* Who may have what, and what it is told if not. The machine of these tests is drawn in machine.h. */

/* --- the plain case --- */

TEST(a_free_device_alone_in_its_group) {
        const LeaseDevice *ld;

        begin();
        reserve("disk", NVME);
        (void) snprintf(device(NVME)->facts.driver_override, NAME_MAX_LEN, "mine");
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
        expect(FINDING_WILL_DETACH, SEVERITY_INFO, NVME, WORDS("nvme"));
        ASSERT_EQ(m.plan.n_devices, 1);
        ASSERT_STREQ(m.plan.reservation->name, "disk");
        ld = planned(NVME);
        ASSERT_EQ(ld->role, ROLE_LEASED);
        ASSERT_EQ(ld->group, 1);
        ASSERT_EQ(ld->watch, -1);
        ASSERT_STREQ(ld->driver, "vfio-pci");
        ASSERT_STREQ(ld->module, "vfio_pci");
        ASSERT_STREQ(ld->original_driver, "nvme");
        ASSERT_STREQ(ld->original_override, "mine");
}

TEST(plan_is_in_the_order_of_the_request) {
        begin();
        m.caller.uid = 0;
        ask(VIRTIO " " NVME " " GPU, "");
        expect_possible(NULL);
        ASSERT_EQ(m.plan.n_devices, 4);
        ASSERT_STREQ(ADDRESS(m.plan.devices[0].address), VIRTIO);
        ASSERT_STREQ(ADDRESS(m.plan.devices[1].address), NVME);
        ASSERT_STREQ(ADDRESS(m.plan.devices[2].address), GPU);
        ASSERT_STREQ(ADDRESS(m.plan.devices[3].address), SOUND);
}

/* --- may the caller? --- */

TEST(without_reservation_the_administrator_is_asked) {
        const Finding *f;

        begin();
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE);
        f = expect(FINDING_NOT_AUTHORIZED, SEVERITY_ASK, NVME, WORDS(ACTION_ACQUIRE, "reservation"));
        ASSERT_STREQ(f->action, ACTION_ACQUIRE);
        ASSERT_TRUE(!m.plan.reservation);
}

TEST(whoever_asks_in_the_name_of_root_is_not_root) {
        Caller asker = { .uid = ALICE, .unit = "" };

        begin();
        m.caller.uid = 0;
        m.caller.asker = &asker;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE);
        asker.uid = 0;
        m.caller.uid = ALICE;
        ask(NVME, "");
        expect_possible(NULL);
}

TEST(root_needs_no_reservation) {
        begin();
        m.caller.uid = 0;
        ask(NVME, "");
        expect_possible(NULL);
}

TEST(a_named_reservation_that_does_not_match_refuses) {
        begin();
        reserve("disk", NVME);
        (void) snprintf(m.request.reservation, NAME_MAX_LEN, "disk");
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
        ask(GPU, "");
        expect(FINDING_NOT_AUTHORIZED, SEVERITY_BLOCK, GPU, WORDS("\"disk\"", "1000", GPU));
        /* Even root is taken at its word. */
        m.caller.uid = 0;
        ask(NVME, "");
        expect(FINDING_NOT_AUTHORIZED, SEVERITY_BLOCK, NVME, NULL);
}

TEST(a_reservation_holds_for_its_hand_overs_only) {
        begin();
        reserve("disk", NVME)->hand_overs = 1u << HAND_OVER_ATTACHED;
        m.request.hand_over = HAND_OVER_ATTACHED;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
        m.request.hand_over = HAND_OVER_UNBOUND;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE);
}

TEST(a_reservation_is_for_whom_it_names) {
        static const gid_t gids[] = { 100, 36 };
        Reservation *r;

        begin();
        r = reserve("disk", NVME);
        m.caller.uid = 1001;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE);
        m.caller.uid = ALICE;
        r->match_unit = strdup("qemu@*.service");
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE);
        m.caller.unit = "qemu@web.service";
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
        r->gids = malloc(sizeof(gid_t));
        r->gids[0] = 36;
        r->n_gids = 1;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE);
        m.caller.gids = gids;
        m.caller.n_gids = 2;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
        /* A rule that names nobody is for nobody. */
        r->n_uids = r->n_gids = 0;
        r->match_unit[0] = '\0';
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE);
}

TEST(not_restoring_the_driver_is_a_right_of_its_own) {
        begin();
        reserve("disk", NVME);
        m.request.restore = false;
        ask(NVME, "");
        ASSERT_TRUE(!findings_first_block(&m.findings));
        ASSERT_STREQ(m.findings.items[0].action, ACTION_ACQUIRE_RESERVED);
        ASSERT_EQ(m.findings.items[1].severity, SEVERITY_ASK);
        ASSERT_STREQ(m.findings.items[1].action, ACTION_ACQUIRE_KEEP_DRIVER);
        m.config.reservations[0].keep_driver = true;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
}

/* --- one owner --- */

TEST(a_second_client_is_refused_and_told_who_has_it) {
        static Lease lease = { .id = "0123456789abcdef0123456789abcdef", .uid = 1007, .state = LEASE_ACTIVE };

        begin();
        lease.unit = (char *) "vm-web.service";
        lend(NVME, &lease);
        ask(NVME, "");
        expect(FINDING_LEASED, SEVERITY_BLOCK, NVME, WORDS(lease.id, "1007", "vm-web.service", "01234567"));
        ASSERT_EQ(findings_first_block(&m.findings)->code, FINDING_LEASED);
        /* Root and the very same user as well: two leases would be two owners. */
        m.caller.uid = 0;
        ask(NVME, "");
        expect(FINDING_LEASED, SEVERITY_BLOCK, NVME, NULL);
        m.caller.uid = 1007;
        ask(NVME, "");
        expect(FINDING_LEASED, SEVERITY_BLOCK, NVME, NULL);
}

TEST(another_device_of_a_leased_group_is_refused) {
        static Lease lease = { .id = "0123456789abcdef0123456789abcdef", .uid = 1007, .state = LEASE_ACTIVE };

        begin();
        lend(GPU, &lease);
        ask(SOUND, "");
        expect(FINDING_LEASED, SEVERITY_BLOCK, SOUND, WORDS(lease.id, "1007", "whole group 3"));
        lease.state = LEASE_BROKEN;
        ask(SOUND, "");
        expect(FINDING_LEASED, SEVERITY_BLOCK, SOUND, NULL);
}

TEST(a_device_on_its_way_back) {
        static Lease lease = { .id = "0123456789abcdef0123456789abcdef", .uid = 1007, .state = LEASE_RELEASING };

        begin();
        lend(NVME, &lease);
        device(NVME)->state = DEVICE_RELEASING;
        ask(NVME, "");
        expect(FINDING_RELEASING, SEVERITY_BLOCK, NVME, WORDS(lease.id, "1007", "wait"));
        (void) snprintf(device(NVME)->reason, sizeof(device(NVME)->reason), "pid 99 still has it open");
        ask(NVME, "");
        expect(FINDING_RELEASING, SEVERITY_BLOCK, NVME, WORDS("pid 99 still has it open"));
}

TEST(a_busy_device) {
        begin();
        device(NVME)->state = DEVICE_RELEASING;
        ask(NVME, "");
        expect(FINDING_BUSY, SEVERITY_BLOCK, NVME, WORDS("worker", "wait"));
}

TEST(a_broken_device_says_why) {
        begin();
        m.caller.uid = 0;
        device(NVME)->state = DEVICE_BROKEN;
        (void) snprintf(device(NVME)->reason, sizeof(device(NVME)->reason), "the reset failed");
        ask(NVME, "");
        expect(FINDING_BROKEN, SEVERITY_BLOCK, NVME, WORDS("the reset failed", "mend the cause"));
}

TEST(a_device_that_is_not_let_go_of_says_whom_to_end) {
        static Lease lease = { .id = "0123456789abcdef0123456789abcdef", .uid = 1007, .state = LEASE_BROKEN };

        begin();
        lend(NVME, &lease);
        device(NVME)->state = DEVICE_BROKEN;
        (void) snprintf(device(NVME)->reason, sizeof(device(NVME)->reason), "still open in pid 99");
        ask(NVME, "");
        expect(FINDING_BROKEN, SEVERITY_BLOCK, NVME, WORDS("still open in pid 99", "end whoever has it open"));
}

TEST(a_broken_member_keeps_its_group) {
        begin();
        m.caller.uid = 0;
        device(SOUND)->state = DEVICE_BROKEN;
        ask(GPU, "");
        expect(FINDING_BROKEN, SEVERITY_BLOCK, SOUND, NULL);
        ask(GPU, SOUND);
        expect(FINDING_BROKEN, SEVERITY_BLOCK, SOUND, NULL);
}

TEST(a_virtual_function_of_a_leased_device_is_for_its_owner) {
        static Lease lease = { .id = "0123456789abcdef0123456789abcdef", .uid = 1007, .state = LEASE_ACTIVE };

        begin();
        ask(VF, "");
        expect_possible(ACTION_ACQUIRE);
        lend(PF, &lease);
        ask(VF, "");
        expect(FINDING_LEASED, SEVERITY_BLOCK, VF, WORDS(PF, lease.id, "1007"));
        m.caller.uid = 1007;
        ask(VF, "");
        expect_possible(ACTION_ACQUIRE);
        m.caller.uid = ALICE;
        reserve("vf", VF);
        ask(VF, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
}

TEST(a_device_and_its_virtual_function_are_not_taken_at_once) {
        Device *pf;

        begin();
        m.caller.uid = 0;
        ask(PF " " VF, "");
        expect(FINDING_INVALID, SEVERITY_BLOCK, VF, WORDS(VF, PF, "AddDevices"));
        /* VFIO takes them along, too. */
        pf = device(PF);
        pf->facts.driver_kind = DRIVER_VFIO;
        pf->facts.group = device(VF)->facts.group;
        ask(PF " " VF, "");
        expect(FINDING_INVALID, SEVERITY_BLOCK, VF, WORDS(PF));
        /* Nothing that would leave its driver. */
        pf->facts.driver_kind = DRIVER_NONE;
        ask(PF " " VF, "");
        ASSERT_TRUE(!find(FINDING_INVALID, VF));
        /* Nobody has asked for its function. */
        pf->facts.driver_kind = DRIVER_HOST;
        device(VF)->facts.driver_kind = DRIVER_NONE;
        ask(PF, "");
        ASSERT_TRUE(!find(FINDING_INVALID, VF));
}

/* --- the group --- */

TEST(a_member_on_a_host_driver_blocks_and_is_named) {
        begin();
        m.caller.uid = 0;
        ask(NIC0, "");
        expect(FINDING_MEMBER_ON_HOST_DRIVER, SEVERITY_BLOCK, NIC1, WORDS(NIC1, "group 2", "e1000e", "\"members\""));
        ASSERT_TRUE(!find(FINDING_MEMBER_ON_HOST_DRIVER, NIC0));
}

TEST(a_named_member_is_parked) {
        begin();
        m.caller.uid = 0;
        ask(NIC0, NIC1);
        expect_possible(NULL);
        expect(FINDING_WILL_PARK, SEVERITY_INFO, NIC1, WORDS("e1000e"));
        ASSERT_EQ(m.plan.n_devices, 2);
        ASSERT_EQ(planned(NIC0)->role, ROLE_LEASED);
        ASSERT_EQ(planned(NIC1)->role, ROLE_PARKED);
        ASSERT_STREQ(planned(NIC1)->driver, "vfio-pci");
        ASSERT_STREQ(planned(NIC1)->original_driver, "e1000e");
}

TEST(both_devices_of_a_group_in_one_request) {
        begin();
        m.caller.uid = 0;
        ask(NIC1 " " NIC0, "");
        expect_possible(NULL);
        ASSERT_EQ(m.plan.n_devices, 2);
        ASSERT_EQ(planned(NIC1)->role, ROLE_LEASED);
}

TEST(naming_is_not_permission) {
        begin();
        reserve("nic", NIC0);
        ask(NIC0, NIC1);
        ASSERT_TRUE(!findings_first_block(&m.findings));
        ASSERT_STREQ(expect(FINDING_NOT_AUTHORIZED, SEVERITY_ASK, NIC0, NULL)->action, ACTION_ACQUIRE_RESERVED);
        ASSERT_STREQ(expect(FINDING_NOT_AUTHORIZED, SEVERITY_ASK, NIC1, NULL)->action, ACTION_ACQUIRE);

        /* Nor is the use that the host makes of a member anybody's to take. */
        use(NIC1, "eth1 has the default route");
        ask(NIC0, NIC1);
        expect(FINDING_IN_USE, SEVERITY_BLOCK, NIC1, WORDS("eth1 has the default route"));

        /* A named reservation has to grant the member, too. */
        device(NIC1)->uses.n = 0;
        (void) snprintf(m.request.reservation, NAME_MAX_LEN, "nic");
        ask(NIC0, NIC1);
        expect(FINDING_NOT_AUTHORIZED, SEVERITY_BLOCK, NIC1, NULL);
}

TEST(a_member_has_to_be_one) {
        begin();
        m.caller.uid = 0;
        ask(NVME, GPU);
        expect(FINDING_NOT_A_MEMBER, SEVERITY_BLOCK, GPU, WORDS(GPU, "group"));
        ask(NVME, NVME);
        expect(FINDING_NOT_A_MEMBER, SEVERITY_BLOCK, NVME, NULL);
        ask(NVME, "0000:77:00.0");
        expect(FINDING_NO_SUCH_DEVICE, SEVERITY_BLOCK, "0000:77:00.0", WORDS("members"));
}

TEST(ports_and_stubs_are_harmless_neighbours) {
        begin();
        m.caller.uid = 0;
        ask(BEHIND, "");
        expect_possible(NULL);
        /* A neighbour stays what it is; a member on VFIO may stay where it is. */
        ASSERT_EQ(m.plan.n_devices, 1);
        ask(ONVFIO, "");
        expect(FINDING_MEMBER_ON_HOST_DRIVER, SEVERITY_BLOCK, BEHIND, NULL);
        ASSERT_TRUE(!find(FINDING_MEMBER_ON_HOST_DRIVER, PORT));
        ASSERT_TRUE(!find(FINDING_MEMBER_ON_HOST_DRIVER, STUB));
}

TEST(a_driverless_member_is_held) {
        begin();
        m.caller.uid = 0;
        ask(GPU, "");
        expect_possible(NULL);
        ASSERT_EQ(planned(SOUND)->role, ROLE_HELD);
        ASSERT_STREQ(planned(SOUND)->driver, "");
        /* Named, it is parked like any other. */
        ask(GPU, SOUND);
        expect_possible(NULL);
        ASSERT_EQ(planned(SOUND)->role, ROLE_PARKED);
}

TEST(an_override_that_cannot_be_given_back_is_left_alone) {
        const Finding *f;

        begin();
        m.caller.uid = 0;
        device(NVME)->facts.odd_override = true;
        ask(NVME, "");
        f = expect(FINDING_ODD_OVERRIDE, SEVERITY_BLOCK, NVME, WORDS("driver_override", "/sys/bus/pci/devices/" NVME));
        ASSERT_STREQ(finding_error_name(f->code), ERROR_NOT_SUPPORTED);
        /* Of members alike, whether they are held or parked. */
        device(SOUND)->facts.odd_override = true;
        ask(GPU, "");
        expect(FINDING_ODD_OVERRIDE, SEVERITY_BLOCK, SOUND, NULL);
        ask(GPU, SOUND);
        expect(FINDING_ODD_OVERRIDE, SEVERITY_BLOCK, SOUND, NULL);
}

TEST(groups_that_nobody_can_own) {
        const Finding *f;

        begin();
        m.caller.uid = 0;
        ask("0000:07:00.0", "");
        f = expect(FINDING_DIRECT_REGION, SEVERITY_BLOCK, "group 7", WORDS("0xe0000-0xeffff"));
        ASSERT_STREQ(finding_error_name(f->code), ERROR_GROUP_NOT_VIABLE);
        ask("0000:08:00.0", "");
        expect(FINDING_NO_ISOLATION, SEVERITY_BLOCK, "group 8",
               WORDS("interrupt remapping", "allow_unsafe_interrupts"));
        ask("0000:09:00.0", "");
        expect(FINDING_NOIOMMU, SEVERITY_BLOCK, "group 9", WORDS("no-IOMMU"));
        (void) snprintf(group("0000:07:00.0")->facts.regions[0].type, 24, "direct-relaxable");
        ask("0000:07:00.0", "");
        expect_possible(NULL);
}

TEST(the_view_of_a_group_without_a_request) {
        Findings findings = {};

        begin();
        viability_judge(&m.inventory, group(NIC0), NULL, &findings);
        ASSERT_EQ(findings.n, 2);
        findings_clear(&findings);
        viability_judge(&m.inventory, group(GPU), NULL, &findings);
        ASSERT_EQ(findings.n, 0);
}

TEST(devices_that_cannot_be_lent) {
        begin();
        m.caller.uid = 0;
        ask("0000:77:00.0", "");
        expect(FINDING_NO_SUCH_DEVICE, SEVERITY_BLOCK, "0000:77:00.0", WORDS("iommuctl list"));
        device(NVME)->gone = true;
        ask(NVME, "");
        expect(FINDING_NO_SUCH_DEVICE, SEVERITY_BLOCK, NVME, NULL);
        ask(PORT, "");
        expect(FINDING_NOT_AN_ENDPOINT, SEVERITY_BLOCK, PORT, WORDS("bridge", "behind"));
        ask(BARE, "");
        expect(FINDING_NO_GROUP, SEVERITY_BLOCK, BARE, WORDS("IOMMU"));
}

/* --- no surprise to the host --- */

TEST(what_the_host_uses_is_not_taken) {
        begin();
        reserve("disk", NVME);
        use(NVME, "nvme0n1p1 is mounted on /srv");
        use(NVME, "nvme0n1p2 is swap");
        ask(NVME, "");
        expect(FINDING_IN_USE, SEVERITY_BLOCK, NVME, WORDS("mounted on /srv", "force-in-use"));
        ASSERT_STREQ(finding_error_name(findings_first_block(&m.findings)->code), ERROR_DEVICE_IN_USE);
        m.caller.uid = 0;
        ask(NVME, "");
        expect(FINDING_IN_USE, SEVERITY_BLOCK, NVME, NULL);
}

TEST(taking_it_by_force_is_a_right_of_its_own) {
        size_t asks = 0, losses = 0;

        begin();
        reserve("disk", NVME);
        use(NVME, "nvme0n1p1 is mounted on /srv");
        use(NVME, "nvme0n1p2 is swap");
        m.request.force_in_use = true;
        ask(NVME, "");
        ASSERT_TRUE(!findings_first_block(&m.findings));
        for (size_t i = 0; i < m.findings.n; i++) {
                asks += m.findings.items[i].severity == SEVERITY_ASK &&
                        streq(m.findings.items[i].action, ACTION_ACQUIRE_IN_USE);
                losses += m.findings.items[i].code == FINDING_IN_USE && m.findings.items[i].severity == SEVERITY_WARN;
        }
        ASSERT_EQ(asks, 1);
        ASSERT_EQ(losses, 2);
        m.config.reservations[0].force_in_use = true;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
        expect(FINDING_IN_USE, SEVERITY_WARN, NVME, WORDS("mounted on /srv"));
}

TEST(what_is_not_on_a_host_driver_is_in_nobodys_use) {
        begin();
        m.caller.uid = 0;
        use(GPU, "stale");
        ask(GPU, "");
        expect_possible(NULL);
}

/* --- drivers --- */

TEST(the_best_driver_is_chosen) {
        begin();
        m.caller.uid = 0;
        ask(VIRTIO " " NVME, "");
        expect_possible(NULL);
        ASSERT_STREQ(planned(VIRTIO)->driver, "virtio_vfio_pci");
        ASSERT_STREQ(planned(VIRTIO)->module, "virtio_vfio_pci");
        ASSERT_STREQ(planned(NVME)->driver, "vfio-pci");
}

TEST(a_driver_may_be_asked_for_if_it_fits) {
        begin();
        m.caller.uid = 0;
        (void) snprintf(m.request.driver, NAME_MAX_LEN, "vfio-pci");
        ask(VIRTIO, "");
        expect_possible(NULL);
        ASSERT_STREQ(planned(VIRTIO)->driver, "vfio-pci");
        (void) snprintf(m.request.driver, NAME_MAX_LEN, "virtio_vfio_pci");
        ask(NVME, "");
        expect(FINDING_DRIVER_MISMATCH, SEVERITY_BLOCK, NVME, WORDS("virtio_vfio_pci", "(vfio-pci)", "ChooseDriver"));
        /* Not any driver of the machine: only what can be lent. */
        (void) snprintf(m.request.driver, NAME_MAX_LEN, "nvme");
        ask(NVME, "");
        expect(FINDING_DRIVER_MISMATCH, SEVERITY_BLOCK, NVME, WORDS("nvme"));
}

TEST(the_driver_of_the_reservation) {
        begin();
        (void) snprintf(reserve("nic", VIRTIO)->driver, NAME_MAX_LEN, "vfio-pci");
        ask(VIRTIO, "");
        ASSERT_STREQ(planned(VIRTIO)->driver, "vfio-pci");
        (void) snprintf(m.request.driver, NAME_MAX_LEN, "virtio_vfio_pci");
        ask(VIRTIO, "");
        ASSERT_STREQ(planned(VIRTIO)->driver, "virtio_vfio_pci");
}

TEST(a_kernel_without_vfio) {
        begin();
        m.caller.uid = 0;
        variant_table_clear(&m.variants);
        ask(NVME, "");
        expect(FINDING_DRIVER_MISMATCH, SEVERITY_BLOCK, NVME, WORDS("vfio_pci"));
}

TEST(pasids_force_plain_vfio_pci) {
        const Lease joined = { .state = LEASE_ACTIVE, .pasids = 8 };

        Reservation *r;

        begin();
        r = reserve("nic", VIRTIO);
        r->has_pasids = true;
        r->pasids = 8;
        m.request.pasids = 8;
        ask(VIRTIO, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
        ASSERT_STREQ(planned(VIRTIO)->driver, "vfio-pci");
        expect(FINDING_PASIDS_UNENFORCED, SEVERITY_WARN, "", NULL);
        expect(FINDING_PLAIN_DRIVER, SEVERITY_INFO, VIRTIO, WORDS("virtio_vfio_pci", "only vfio-pci"));
        m.enforcement = ENFORCEMENT_KERNEL;
        ask(VIRTIO, "");
        expect(FINDING_PASIDS_ENFORCED, SEVERITY_INFO, "", WORDS("8 PASIDs"));
        ASSERT_TRUE(!find(FINDING_PASIDS_UNENFORCED, NULL));
        /* What joins a lease that has PASIDs can be asked to attach them. */
        m.request.pasids = 0;
        m.request.joins = &joined;
        ask(VIRTIO, "");
        ASSERT_STREQ(planned(VIRTIO)->driver, "vfio-pci");
        m.request.joins = NULL;
        m.request.pasids = 8;
        (void) snprintf(m.request.driver, NAME_MAX_LEN, "virtio_vfio_pci");
        ask(VIRTIO, "");
        expect(FINDING_DRIVER_MISMATCH, SEVERITY_BLOCK, VIRTIO, WORDS("the request", "virtio_vfio_pci", "PASIDs"));
}
