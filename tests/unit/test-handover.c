/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/handover.h"
#include "machine.h"

/* Which form a request gets that names none, and what the legacy forms ask for. */

static HandOver choose(const char *device) {
        World world = { &m.inventory, &m.config, &m.variants, .enforcement = m.enforcement };

        name_devices(&m.request.devices, device);
        m.request.hand_over_named = false;
        handover_choose(&world, &m.caller, &m.request);
        return m.request.hand_over;
}

static void no_iommufd(void) {
        m.inventory.platform.iommufd = m.inventory.platform.cdev = false;
        m.inventory.platform.container = true;
}

static void ask_for(HandOver h, const char *devices, const char *members) {
        m.request.hand_over = h;
        m.request.hand_over_named = true;
        m.inventory.platform.container = true;
        ask(devices, members);
}

TEST(with_iommufd_it_is_unbound) {
        begin();
        m.inventory.platform.container = true;
        reserve("disk", NVME)->hand_overs = 1u << HAND_OVER_NODE;
        ASSERT_EQ(choose(NVME), HAND_OVER_UNBOUND);
}

static void can_have_pasids(const char *name) {
        device(name)->pasid_bits = 20;
}

TEST(what_could_have_pasids_without_limit_goes_by_the_group) {
        begin();
        m.inventory.platform.container = true;
        reserve("disk", NVME);
        can_have_pasids(NVME);
        ASSERT_EQ(choose(NVME), HAND_OVER_GROUP);
        ask_for(HAND_OVER_UNBOUND, NVME, "");
        expect(FINDING_PASIDS_UNBOUNDED, SEVERITY_BLOCK, NVME, WORDS("hand-over group", "BPF"));
        ask_for(HAND_OVER_NONE, NVME, "");
        ASSERT_TRUE(!find(FINDING_PASIDS_UNBOUNDED, NULL));
        m.enforcement = ENFORCEMENT_KERNEL;
        ASSERT_EQ(choose(NVME), HAND_OVER_UNBOUND);
        judge();
        ASSERT_TRUE(!find(FINDING_PASIDS_UNBOUNDED, NULL));
}

TEST(what_could_have_pasids_is_refused_in_each_form_if_it_is_to_be) {
        begin();
        reserve("disk", NVME);
        can_have_pasids(NVME);
        m.config.limits.refuse_ungated = true;
        for (HandOver h = 0; h < _HAND_OVER_MAX; h++) {
                ask_for(h, NVME, "");
                ASSERT_EQ(find(FINDING_PASIDS_UNBOUNDED, NULL) != NULL, h != HAND_OVER_NONE);
        }
        ask_for(HAND_OVER_GROUP, NVME, "");
        expect(FINDING_PASIDS_UNBOUNDED, SEVERITY_BLOCK, NVME, WORDS("WithoutGate=group", "BPF"));
        m.enforcement = ENFORCEMENT_KERNEL;
        judge();
        ASSERT_TRUE(!find(FINDING_PASIDS_UNBOUNDED, NULL));
}

TEST(without_iommufd_it_is_group) {
        begin();
        no_iommufd();
        ASSERT_EQ(choose(NVME), HAND_OVER_GROUP);
        reserve("disk", NVME);
        ASSERT_EQ(choose(NVME), HAND_OVER_GROUP);
        judge();
        expect_possible(ACTION_ACQUIRE_RESERVED);
        expect(FINDING_HAND_OVER, SEVERITY_INFO, "", WORDS("group", "no iommufd"));
}

TEST(without_iommufd_a_reservation_may_make_it_node) {
        begin();
        no_iommufd();
        reserve("disk", NVME)->hand_overs = 1u << HAND_OVER_NODE | 1u << HAND_OVER_NONE;
        ASSERT_EQ(choose(NVME), HAND_OVER_NODE);
        judge();
        expect_possible(ACTION_ACQUIRE_RESERVED);
        m.config.reservations[0].hand_overs |= 1u << HAND_OVER_GROUP;
        ASSERT_EQ(choose(NVME), HAND_OVER_GROUP);
        ASSERT_EQ(choose("0000:77:00.0"), HAND_OVER_GROUP);
}

TEST(what_was_asked_for_stays) {
        World world = { &m.inventory, &m.config, &m.variants };

        begin();
        no_iommufd();
        ask_for(HAND_OVER_UNBOUND, NVME, "");
        handover_choose(&world, &m.caller, &m.request);
        ASSERT_EQ(m.request.hand_over, HAND_OVER_UNBOUND);
        ASSERT_TRUE(!find(FINDING_HAND_OVER, NULL));
        expect(FINDING_NO_IOMMUFD, SEVERITY_BLOCK, "", WORDS("unbound", "group or node", "CONFIG_IOMMUFD"));
}

TEST(a_kernel_without_groups) {
        begin();
        m.request.hand_over_named = true;
        m.request.hand_over = HAND_OVER_NODE;
        ask(NVME, "");
        expect(FINDING_NO_LEGACY, SEVERITY_BLOCK, "", WORDS("node", "CONFIG_VFIO_GROUP", "ask for unbound"));
        /* Neither the one nor the other. */
        m.inventory.platform.iommufd = false;
        ASSERT_EQ(choose(NVME), HAND_OVER_UNBOUND);
        judge();
        expect(FINDING_NO_IOMMUFD, SEVERITY_BLOCK, "", WORDS("CONFIG_IOMMUFD"));
}

TEST(members_are_parked_on_pci_stub) {
        begin();
        m.caller.uid = 0;
        ask_for(HAND_OVER_GROUP, NIC0, NIC1);
        expect_possible(NULL);
        ASSERT_STREQ(planned(NIC0)->driver, "vfio-pci");
        ASSERT_STREQ(planned(NIC1)->driver, STUB_DRIVER);
        ASSERT_STREQ(planned(NIC1)->module, STUB_MODULE);
        ask_for(HAND_OVER_NONE, NIC0, NIC1);
        ASSERT_STREQ(planned(NIC1)->driver, "vfio-pci");
}

TEST(a_member_on_a_vfio_driver_could_be_opened) {
        static const HandOver legacy[] = { HAND_OVER_GROUP, HAND_OVER_NODE };

        for (size_t i = 0; i < ARRAY_SIZE(legacy); i++) {
                begin();
                m.caller.uid = 0;
                ask_for(legacy[i], BEHIND, "");
                expect(FINDING_MEMBER_ON_VFIO_DRIVER, SEVERITY_BLOCK, ONVFIO,
                       WORDS(hand_over_to_string(legacy[i]), "vfio-pci", "\"members\""));
                ask_for(legacy[i], BEHIND, ONVFIO);
                expect_possible(NULL);
                ASSERT_STREQ(planned(ONVFIO)->driver, STUB_DRIVER);
                ASSERT_STREQ(planned(ONVFIO)->original_driver, "vfio-pci");
        }
        ask_for(HAND_OVER_UNBOUND, BEHIND, "");
        expect_possible(NULL);
}

TEST(hot_reset_needs_the_whole_set_on_vfio_drivers) {
        begin();
        m.caller.uid = 0;
        m.request.reset_set = true;
        ask_for(HAND_OVER_GROUP, NIC0, NIC1);
        expect(FINDING_NO_HOT_RESET, SEVERITY_BLOCK, NIC0, WORDS(NIC1, STUB_DRIVER));
        ask_for(HAND_OVER_GROUP, NIC0 " " NIC1, "");
        expect_possible(NULL);
}

TEST(no_pasids_and_no_newcomers) {
        Lease lease = { .hand_over = HAND_OVER_GROUP };

        begin();
        m.caller.uid = 0;
        m.request.pasids = 1;
        ask_for(HAND_OVER_GROUP, NVME, "");
        expect(FINDING_UNSUPPORTED, SEVERITY_BLOCK, "", WORDS("PASIDs", "group"));
        m.request.pasids = 0;
        m.request.joins = &lease;
        ask_for(HAND_OVER_GROUP, NVME, "");
        expect(FINDING_UNSUPPORTED, SEVERITY_BLOCK, "", WORDS("join", "a lease of their own"));
        end();
}
