/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/resetset.h"
#include "machine.h"

/* Limits, quotas and what this kernel can do; and what all findings have in common. */

/* --- what a lease has left in a device --- */

TEST(an_unclean_device_goes_to_its_user_only) {
        Reservation *res;

        begin();
        res = reserve("nvme", NVME);
        device(NVME)->unclean = true;
        device(NVME)->unclean_of = 1001;
        ask(NVME, "");
        expect(FINDING_UNCLEAN, SEVERITY_BLOCK, NVME, WORDS("1001", "no reset", "Unclean="));
        m.caller.uid = 0;
        ask(NVME, "");
        expect(FINDING_UNCLEAN, SEVERITY_BLOCK, NVME, WORDS("1001"));
        m.caller.uid = 1001;
        ask(NVME, "");
        expect(FINDING_UNCLEAN, SEVERITY_WARN, NVME, WORDS("1001"));
        m.caller.uid = 1000;
        res->unclean = true;
        ask(NVME, "");
        expect(FINDING_UNCLEAN, SEVERITY_WARN, NVME, WORDS("1001"));
}

TEST(a_set_is_idle_when_all_of_it_goes) {
        AddressList going = {};

        begin();
        ASSERT_OK(address_list_add(&going, at(NIC0)));
        ASSERT_TRUE(!resetset_is_idle(&m.inventory, device(NIC0), &going));
        /* A driver could come to it any time. */
        device(NIC1)->facts.driver[0] = '\0';
        device(NIC1)->facts.driver_kind = DRIVER_NONE;
        ASSERT_TRUE(!resetset_is_idle(&m.inventory, device(NIC0), &going));
        ASSERT_OK(address_list_add(&going, at(NIC1)));
        ASSERT_TRUE(resetset_is_idle(&m.inventory, device(NIC0), &going));
        device(NIC0)->facts.on_root_bus = true;
        ASSERT_TRUE(!resetset_is_idle(&m.inventory, device(NIC0), &going));
}

/* --- limits and resources --- */

TEST(limits_count_what_is_still_being_released) {
        begin();
        m.config.limits.leases_per_user = 2;
        m.usage = (Usage) { .leases = 1, .devices = 1, .all_leases = 1 };
        ask(NVME, "");
        ASSERT_TRUE(!find(FINDING_LIMIT, NULL));
        m.usage.leases = 2;
        ask(NVME, "");
        expect(FINDING_LIMIT, SEVERITY_BLOCK, "", WORDS("1000", "2 leases", "released", "LeasesPerUser"));
}

TEST(limit_of_devices_counts_members_too) {
        begin();
        m.caller.uid = 0;
        m.config.limits.devices_per_user = 3;
        m.usage.devices = 1;
        ask(NIC0, NIC1);
        ASSERT_TRUE(!find(FINDING_LIMIT, NULL));
        m.usage.devices = 2;
        ask(NIC0, NIC1);
        expect(FINDING_LIMIT, SEVERITY_BLOCK, "", WORDS("3 devices", "DevicesPerUser"));
}

TEST(limit_of_the_machine) {
        begin();
        m.config.limits.leases = 5;
        m.usage.all_leases = 5;
        ask(NVME, "");
        expect(FINDING_LIMIT, SEVERITY_BLOCK, "", WORDS("5 leases", "Leases in iommud.conf"));
}

TEST(more_devices_than_a_lease_can_hold) {
        begin();
        m.caller.uid = 0;
        m.config.limits.devices_per_user = 65536;
        for (unsigned i = 0; i < REQUEST_DEVICES_MAX; i++) {
                char address[32];

                (void) snprintf(address, sizeof(address), "0001:%02x:00.0", i);
                add(address, 1000 + (int) i, "", 0x088000, 0x0007);
                ASSERT_OK(address_list_add(&m.request.devices, at(address)));
        }
        judge();
        expect_possible(NULL);
        add("0002:00:00.0", 1000, "", 0x088000, 0x0007);
        judge();
        expect(FINDING_INVALID, SEVERITY_BLOCK, "", WORDS("256"));
        ASSERT_OK(address_list_add(&m.request.members, at("0002:00:00.0")));
        judge();
        expect(FINDING_INVALID, SEVERITY_BLOCK, "", WORDS("256"));
        ASSERT_ERROR(address_list_add(&m.request.devices, at("0002:00:00.0")), E2BIG);
        ASSERT_ERROR(address_list_add(&m.request.devices, at("0001:00:00.0")), EEXIST);
}

TEST(a_kernel_without_iommufd) {
        begin();
        m.caller.uid = 0;
        m.inventory.platform.iommufd = false;
        ask(NVME, "");
        expect(FINDING_NO_IOMMUFD, SEVERITY_BLOCK, "", WORDS("unbound", "CONFIG_IOMMUFD"));
        m.request.hand_over = HAND_OVER_NONE;
        ask(NVME, "");
        expect_possible(NULL);
}

static void grant_pasids(Reservation *r, uint32_t n) {
        r->has_pasids = true;
        r->pasids = n;
}

TEST(without_limits_there_are_as_many_pasids_as_the_reservation_grants) {
        Reservation *r;

        begin();
        m.request.pasids = 1;
        ask(NVME, "");
        expect(FINDING_QUOTA, SEVERITY_BLOCK, "/user.slice", WORDS("grants 0", "Pasids=", "iommuctl quota set"));
        r = reserve("disk", NVME);
        ask(NVME, "");
        expect(FINDING_QUOTA, SEVERITY_BLOCK, "/user.slice", WORDS("grants 0", "Pasids="));
        grant_pasids(r, 16);
        m.request.pasids = 16;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
        m.request.pasids = 17;
        ask(NVME, "");
        expect(FINDING_QUOTA, SEVERITY_BLOCK, "/user.slice", WORDS("17", "grants 16"));
        m.caller.uid = 0;
        ask(NVME, "");
        expect_possible(NULL);
}

TEST(a_limit_counts_for_everybody_and_is_a_grant_where_the_reservation_is_silent) {
        Reservation *r;

        begin();
        r = reserve("disk", NVME);
        ASSERT_OK(quota_settings_put(&m.quota.runtime, "/", 8));
        m.request.pasids = 8;
        ask(NVME, "");
        expect_possible(ACTION_ACQUIRE_RESERVED);
        m.request.pasids = 9;
        ask(NVME, "");
        expect(FINDING_QUOTA, SEVERITY_BLOCK, "/", WORDS("limit of 8", "8 are left", "iommuctl quota set /"));
        grant_pasids(r, 9);
        ask(NVME, "");
        expect(FINDING_QUOTA, SEVERITY_BLOCK, "/", WORDS("limit of 8"));
        m.caller.uid = 0;
        ask(NVME, "");
        expect(FINDING_QUOTA, SEVERITY_BLOCK, "/", WORDS("limit of 8"));
        /* What the reservation says explicitly is a cap of its own. */
        m.caller.uid = ALICE;
        m.request.pasids = 1;
        grant_pasids(&m.config.reservations[0], 0);
        ask(NVME, "");
        expect(FINDING_QUOTA, SEVERITY_BLOCK, "/user.slice", WORDS("grants 0"));
}

TEST(without_a_cgroup_there_are_no_pasids) {
        begin();
        m.caller.uid = 0;
        m.caller.charged = NULL;
        ask(NVME, "");
        expect_possible(NULL);
        m.request.pasids = 1;
        ask(NVME, "");
        expect(FINDING_QUOTA, SEVERITY_BLOCK, "", WORDS("cgroup is not known", "/sys/fs/cgroup"));
}

TEST(a_caller_that_may_not_lock_memory_is_warned) {
        begin();
        m.caller.memlock = 8 << 20;
        ask(NVME, "");
        expect(FINDING_MEMLOCK, SEVERITY_WARN, "", WORDS("8192 KiB", "MemoryLock="));
        reserve("disk", NVME)->memlock = UINT64_C(8) << 30;
        ask(NVME, "");
        ASSERT_TRUE(!find(FINDING_MEMLOCK, NULL));
        m.config.reservations[0].memlock = 0;
        m.request.hand_over = HAND_OVER_NONE;
        ask(NVME, "");
        ASSERT_TRUE(!find(FINDING_MEMLOCK, NULL));
}

TEST(a_device_that_cannot_be_cleaned_is_warned_of) {
        begin();
        ask(NVME, "");
        ASSERT_TRUE(!find(FINDING_NO_RESET, NULL));
        device(NVME)->facts.reset_methods[0] = '\0';
        ask(NVME, "");
        expect(FINDING_NO_RESET, SEVERITY_WARN, NVME, WORDS("no reset"));
}

TEST(scope_is_all_members_of_the_groups) {
        AddressList scope;

        begin();
        name_devices(&m.request.devices, NIC1 " " BARE " 0000:77:00.0");
        ASSERT_OK(examine_scope(&m.inventory, &m.request, &scope));
        ASSERT_EQ(scope.n, 3);
        ASSERT_TRUE(address_list_has(&scope, at(NIC0)));
        ASSERT_TRUE(address_list_has(&scope, at(NIC1)));
        ASSERT_TRUE(address_list_has(&scope, at(BARE)));
}

/* --- findings --- */

TEST(every_code_has_a_name_of_its_own_and_an_error) {
        for (FindingCode c = 0; c < _FINDING_CODE_MAX; c++) {
                ASSERT_TRUE(finding_code_to_string(c));
                ASSERT_TRUE(strncmp(finding_error_name(c), ERROR_PREFIX, strlen(ERROR_PREFIX)) == 0);
                for (FindingCode other = 0; other < c; other++)
                        ASSERT_TRUE(!streq(finding_code_to_string(c), finding_code_to_string(other)));
        }
        ASSERT_STREQ(finding_error_name(_FINDING_CODE_MAX), ERROR_FAILED);
        ASSERT_STREQ(finding_error_name(FINDING_SHARED_RESET), ERROR_FAILED); /* it never blocks */
        ASSERT_STREQ(finding_error_name(FINDING_UNSUPPORTED), ERROR_NOT_SUPPORTED);
        ASSERT_STREQ(finding_error_name(FINDING_LEASED), ERROR_DEVICE_BUSY);
        ASSERT_STREQ(severity_to_string(SEVERITY_ASK), "ask");
}

TEST(every_refusal_names_a_remedy) {
        begin();
        use(NVME, "nvme0n1 is mounted");
        m.request.pasids = 3;
        m.inventory.platform.iommufd = false;
        m.config.limits = (Limits) {};
        ask(NVME " " NIC0 " " PORT " " BARE " 0000:77:00.0 0000:07:00.0 0000:08:00.0 0000:09:00.0",
            GPU " 0000:77:00.1");
        for (size_t i = 0; i < m.findings.n; i++) {
                const Finding *f = &m.findings.items[i];

                if ((f->severity == SEVERITY_BLOCK || f->severity == SEVERITY_ASK) && isempty(f->remedy))
                        TEST_FAIL("\"%s\" leaves its reader alone", f->text);
                ASSERT_TRUE(text_is_printable(f->text));
        }
        ASSERT_TRUE(m.findings.n > 15);
        end();
}
