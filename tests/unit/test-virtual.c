/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/virtual.h"
#include "machine.h"

/* How many virtual functions a device may have, and who may have one. */

static Lease theirs = { .id = "0123456789abcdef0123456789abcdef", .uid = 1007, .state = LEASE_ACTIVE };

static void change(uint32_t n, bool force) {
        _cleanup_free_ char *before = NULL, *after = NULL;
        size_t size = snapshot(&before);

        findings_clear(&m.findings);
        virtual_judge_change(&m.inventory, device(PF), n, force, &m.caller, &m.findings);
        if (snapshot(&after) != size || memcmp(before, after, size) != 0)
                TEST_FAIL("virtual_judge_change() changed what it only had to look at");
}

/* The machine's physical function has one virtual function and room for seven; root asks. */
static void begin_with_one(void) {
        begin();
        theirs.state = LEASE_ACTIVE;
        m.caller.uid = 0;
        device(PF)->facts.virtual_functions = 1;
        device(PF)->facts.virtual_functions_max = 7;
}

static void begin_without(void) {
        begin_with_one();
        ASSERT_TRUE(inventory_remove_device(&m.inventory, at(VF)));
        device(PF)->facts.virtual_functions = 0;
}

/* --- how many --- */

TEST(as_many_as_there_is_room_for) {
        begin_without();
        change(1, false);
        expect_possible(NULL);
        change(7, false);
        expect_possible(NULL);
        change(8, false);
        expect(FINDING_INVALID, SEVERITY_BLOCK, PF, WORDS("7", "8"));
        device(PF)->facts.virtual_functions_max = 1024;
        change(VIRTUAL_FUNCTIONS_MAX, false);
        expect_possible(NULL);
        change(VIRTUAL_FUNCTIONS_MAX + 1, false);
        expect(FINDING_INVALID, SEVERITY_BLOCK, PF, WORDS("255"));
        device(PF)->facts.virtual_functions = 300;
        change(0, false);
        expect(FINDING_UNSUPPORTED, SEVERITY_BLOCK, PF, WORDS("300", "255", "sriov_numvfs"));
}

TEST(from_one_number_to_another_by_way_of_none) {
        begin_with_one();
        change(2, false);
        expect(FINDING_BUSY, SEVERITY_BLOCK, PF, WORDS("1", "2", "set 0"));
        change(1, false);
        expect_possible(NULL);
        change(0, false);
        expect_possible(NULL);
}

TEST(only_physical_functions_have_any) {
        begin_with_one();
        device(PF)->facts.virtual_functions_max = 0;
        device(PF)->facts.virtual_functions = 0;
        change(1, false);
        expect(FINDING_UNSUPPORTED, SEVERITY_BLOCK, PF, WORDS("SR-IOV"));
        findings_clear(&m.findings);
        virtual_judge_change(&m.inventory, device(VF), 1, false, &m.caller, &m.findings);
        expect(FINDING_UNSUPPORTED, SEVERITY_BLOCK, VF, WORDS(PF));
        device(PF)->gone = true;
        change(1, false);
        expect(FINDING_NO_SUCH_DEVICE, SEVERITY_BLOCK, PF, NULL);
}

TEST(a_driver_makes_them) {
        begin_without();
        device(PF)->facts.driver_kind = DRIVER_NONE;
        change(1, false);
        expect(FINDING_DRIVER_MISMATCH, SEVERITY_BLOCK, PF, WORDS("no driver"));
        change(0, false);
        expect_possible(NULL);
}

/* --- whose --- */

TEST(it_takes_a_right_of_its_own) {
        begin_with_one();
        m.caller.uid = ALICE;
        change(0, false);
        expect_possible(ACTION_MANAGE_VIRTUAL_FUNCTIONS);
        /* Nothing to do is not for everybody either. */
        change(1, false);
        expect_possible(ACTION_MANAGE_VIRTUAL_FUNCTIONS);
        reserve("pf", PF);
        change(0, false);
        expect_possible(ACTION_MANAGE_VIRTUAL_FUNCTIONS);
}

TEST(a_leased_function_stays) {
        begin_with_one();
        lend(VF, &theirs);
        change(0, true);
        expect(FINDING_LEASED, SEVERITY_BLOCK, VF, WORDS(VF, theirs.id, "1007"));
        change(1, false);
        expect_possible(NULL);
        /* Neither does its physical function leave its driver, whoever asks. */
        m.caller.uid = 1007;
        ask(PF, "");
        expect(FINDING_LEASED, SEVERITY_BLOCK, PF, WORDS(VF, theirs.id));
}

TEST(a_leased_device_has_them_made_while_it_is_in_use) {
        begin_without();
        lend(PF, &theirs);
        device(PF)->facts.driver_kind = DRIVER_VFIO;
        change(2, false);
        expect_possible(NULL);
        static const DeviceState others[] = { DEVICE_PREPARING, DEVICE_PARKED };
        for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
                device(PF)->state = others[i];
                change(2, false);
                expect(FINDING_LEASED, SEVERITY_BLOCK, PF, WORDS(theirs.id, "1007", device_state_to_string(others[i])));
        }
        theirs.state = LEASE_RELEASING;
        device(PF)->state = DEVICE_RELEASING;
        change(2, false);
        expect(FINDING_RELEASING, SEVERITY_BLOCK, PF, WORDS(theirs.id));
        /* A group that somebody owns is left alone, too. */
        device(PF)->lease = NULL;
        device(PF)->state = DEVICE_FREE;
        theirs.state = LEASE_ACTIVE;
        change(2, false);
        expect(FINDING_LEASED, SEVERITY_BLOCK, PF, WORDS("group", theirs.id));
        group(PF)->lease = NULL;
        device(PF)->state = DEVICE_BROKEN;
        change(2, false);
        expect(FINDING_BROKEN, SEVERITY_BLOCK, PF, NULL);
}

TEST(a_lease_with_its_reset_set_can_be_reset_as_long_as_it_lives) {
        begin_without();
        lend(PF, &theirs);
        device(PF)->facts.driver_kind = DRIVER_VFIO;
        theirs.reset_set = true;
        change(2, false);
        expect(FINDING_LEASED, SEVERITY_BLOCK, PF, WORDS(theirs.id, "1007", "hot-reset", "reset-set"));
        theirs.reset_set = false;
        change(2, false);
        expect_possible(NULL);
}

TEST(one_change_at_a_time) {
        begin_with_one();
        device(PF)->changing = true;
        for (uint32_t n = 0; n < 3; n++) {
                change(n, false);
                expect(FINDING_BUSY, SEVERITY_BLOCK, PF, NULL);
        }
        ask(VF, "");
        expect(FINDING_BUSY, SEVERITY_BLOCK, VF, WORDS(PF));
        ask(PF, "");
        expect(FINDING_BUSY, SEVERITY_BLOCK, PF, NULL);
        ask(NVME, "");
        expect_possible(NULL);
}

TEST(what_the_host_uses_stays) {
        begin_with_one();
        use(VF, "eth1 is up with an address");
        change(0, false);
        expect(FINDING_IN_USE, SEVERITY_BLOCK, VF, WORDS("eth1", "force-in-use"));
        change(0, true);
        expect_possible(NULL);
        expect(FINDING_IN_USE, SEVERITY_WARN, VF, WORDS("eth1"));
        m.caller.uid = ALICE;
        change(0, true);
        ASSERT_TRUE(streq(expect(FINDING_NOT_AUTHORIZED, SEVERITY_ASK, VF, NULL)->action, ACTION_ACQUIRE_IN_USE));
        ASSERT_TRUE(streq(expect(FINDING_NOT_AUTHORIZED, SEVERITY_ASK, PF, NULL)->action,
                          ACTION_MANAGE_VIRTUAL_FUNCTIONS));
        /* What it was used for under a driver that it has no longer is nobody's loss. */
        device(VF)->facts.driver_kind = DRIVER_NONE;
        m.caller.uid = 0;
        change(0, false);
        expect_possible(NULL);
}

TEST(who_binds_needs_the_token_of_a_device_on_vfio) {
        begin_with_one();
        ask(VF, "");
        ASSERT_TRUE(!find(FINDING_VF_TOKEN, NULL));
        device(PF)->facts.driver_kind = DRIVER_VFIO;
        (void) text_copy(device(PF)->facts.driver, NAME_MAX_LEN, "vfio-pci");
        ask(VF, "");
        expect_possible(NULL);
        expect(FINDING_VF_TOKEN, SEVERITY_WARN, VF, WORDS(PF, "vfio-pci", "attached"));
        m.request.hand_over = HAND_OVER_ATTACHED;
        ask(VF, "");
        ASSERT_TRUE(!find(FINDING_VF_TOKEN, NULL));
}
