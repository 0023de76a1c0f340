/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "core/revoke.h"
#include "util/text.h"

/* Which rung comes next, and who may be killed. */

#define ALICE  1000
#define SCOPE  "/user.slice/user-1000.slice/user@1000.service/app.slice/vm.scope"
#define US     "/system.slice/iommud.service"
#define WE     50
#define BUS    60
#define CLIENT 4711

static RevokeRule rule;

static void begin(const char *cgroup) {
        rule = (RevokeRule) {
                .uid = ALICE,
                .pid = CLIENT,
                .process = 9,
                .cgroup_id = 77,
                .own_cgroup = US,
                .spared = { WE, BUS },
        };
        (void) text_copy(rule.cgroup, sizeof(rule.cgroup), cgroup);
}

static ProcessFacts process(int pid, uid_t uid, uint64_t id, const char *cgroup) {
        ProcessFacts p = { .pid = pid, .uid = uid, .id = id };

        (void) text_copy(p.cgroup, sizeof(p.cgroup), cgroup);
        return p;
}

static bool may(int pid, uid_t uid, uint64_t id, const char *cgroup) {
        ProcessFacts p = process(pid, uid, id, cgroup);

        return revoke_may_kill(&rule, &p);
}

/* --- the rungs --- */

TEST(the_ladder_ends_where_the_policy_says) {
        ASSERT_EQ(revoke_next(REVOKE_RUNG_ASK, AT_DEADLINE_REPORT), REVOKE_RUNG_GIVE_UP);
        ASSERT_EQ(revoke_next(REVOKE_RUNG_ASK, AT_DEADLINE_KILL), REVOKE_RUNG_KILL);
        ASSERT_EQ(revoke_next(REVOKE_RUNG_KILL, AT_DEADLINE_KILL), REVOKE_RUNG_GIVE_UP);
        ASSERT_EQ(revoke_next(REVOKE_RUNG_ASK, AT_DEADLINE_KILL_CGROUP), REVOKE_RUNG_KILL);
        ASSERT_EQ(revoke_next(REVOKE_RUNG_KILL, AT_DEADLINE_KILL_CGROUP), REVOKE_RUNG_KILL_CGROUP);
        ASSERT_EQ(revoke_next(REVOKE_RUNG_KILL_CGROUP, AT_DEADLINE_KILL_CGROUP), REVOKE_RUNG_GIVE_UP);
        /* A policy that was softened meanwhile counts. */
        ASSERT_EQ(revoke_next(REVOKE_RUNG_KILL, AT_DEADLINE_REPORT), REVOKE_RUNG_GIVE_UP);
        for (AtDeadline p = AT_DEADLINE_UNSAID; p <= AT_DEADLINE_KILL_CGROUP; p++)
                ASSERT_EQ(revoke_next(REVOKE_RUNG_GIVE_UP, p), REVOKE_RUNG_GIVE_UP);
}

TEST(the_reservation_decides_else_the_configuration) {
        Reservation r[] = { { .name = "soft", .at_deadline = AT_DEADLINE_REPORT },
                            { .name = "hard", .at_deadline = AT_DEADLINE_KILL_CGROUP },
                            { .name = "silent" } };
        Config c = { .reservations = r, .n_reservations = ARRAY_SIZE(r) };
        static Lease l;

        static const struct {
                const char *reservation;
                AtDeadline unsaid, kill;
        } cases[] = {
                { "", AT_DEADLINE_REPORT, AT_DEADLINE_KILL },
                { "soft", AT_DEADLINE_REPORT, AT_DEADLINE_REPORT },
                { "hard", AT_DEADLINE_KILL_CGROUP, AT_DEADLINE_KILL_CGROUP },
                { "silent", AT_DEADLINE_REPORT, AT_DEADLINE_KILL },
                { "removed", AT_DEADLINE_REPORT, AT_DEADLINE_KILL },
        };
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                (void) text_copy(l.reservation, sizeof(l.reservation), cases[i].reservation);
                c.limits.at_deadline = AT_DEADLINE_UNSAID;
                ASSERT_EQ(revoke_policy(&c, &l), cases[i].unsaid);
                c.limits.at_deadline = AT_DEADLINE_KILL;
                ASSERT_EQ(revoke_policy(&c, &l), cases[i].kill);
        }
}

/* --- processes --- */

TEST(who_acquired_and_his_own_in_his_cgroup) {
        begin(SCOPE);
        ASSERT_TRUE(may(CLIENT, ALICE, 9, SCOPE));
        ASSERT_TRUE(may(12, ALICE, 10, SCOPE));
        ASSERT_TRUE(may(12, ALICE, 10, SCOPE "/worker"));
        /* It may have gone elsewhere since. */
        ASSERT_TRUE(may(CLIENT, ALICE, 9, "/user.slice/elsewhere"));
}

TEST(a_number_that_was_given_out_again_is_somebody_else) {
        begin(SCOPE);
        ASSERT_TRUE(!may(CLIENT, ALICE, 10, "/user.slice/elsewhere"));
        /* Where the kernel tells no processes apart only the cgroup counts. */
        rule.process = 0;
        ASSERT_TRUE(!may(CLIENT, ALICE, 0, "/user.slice/elsewhere"));
        ASSERT_TRUE(may(CLIENT, ALICE, 0, SCOPE));
}

TEST(others_are_spared_whatever_was_planted_in_them) {
        begin(SCOPE);
        ASSERT_TRUE(!may(12, 1001, 10, SCOPE));
        ASSERT_TRUE(!may(12, 0, 10, SCOPE));
        /* Who acquired and is somebody else now. */
        ASSERT_TRUE(!may(CLIENT, 0, 9, SCOPE));
        ASSERT_TRUE(!may(12, ALICE, 10, "/user.slice/user-1000.slice/session-2.scope"));
        ASSERT_TRUE(!may(12, ALICE, 10, SCOPE "2"));
        ASSERT_TRUE(!may(12, ALICE, 10, "/user.slice"));
        ASSERT_TRUE(!may(12, ALICE, 10, ""));
}

TEST(init_the_bus_and_we_are_spared_even_of_root) {
        begin("/system.slice");
        rule.uid = 0;
        ASSERT_TRUE(may(12, 0, 10, "/system.slice/other.service"));
        ASSERT_TRUE(!may(1, 0, 9, "/system.slice"));
        ASSERT_TRUE(!may(BUS, 0, 9, "/system.slice/dbus.service"));
        ASSERT_TRUE(!may(WE, 0, 9, US));
        ASSERT_TRUE(!may(51, 0, 10, US));
}

TEST(the_root_is_nobodys_cgroup) {
        begin("/");
        ASSERT_TRUE(!may(12, ALICE, 10, "/"));
        ASSERT_TRUE(!may(12, ALICE, 10, SCOPE));
        ASSERT_TRUE(may(CLIENT, ALICE, 9, "/"));
        begin("");
        ASSERT_TRUE(!may(12, ALICE, 10, ""));
        ASSERT_TRUE(!may(12, ALICE, 10, SCOPE));
        /* And ours, if we are in it, protects nobody. */
        begin("/");
        (void) text_copy(rule.own_cgroup, sizeof(rule.own_cgroup), "/");
        ASSERT_TRUE(may(CLIENT, ALICE, 9, "/"));
        ASSERT_TRUE(!may(WE, ALICE, 9, "/"));
}

/* --- cgroups --- */

static RevokeCgroup may_cgroup(const char *cgroup) {
        begin(cgroup);
        return revoke_may_kill_cgroup(&rule, NULL, 0);
}

TEST(a_service_or_scope_of_its_own) {
        ASSERT_EQ(may_cgroup(SCOPE), REVOKE_CGROUP_MAY);
        ASSERT_EQ(may_cgroup("/system.slice/qemu@1.service"), REVOKE_CGROUP_MAY);
        ASSERT_EQ(may_cgroup("/machine.slice/vm.scope/init.scope"), REVOKE_CGROUP_MAY);
        ASSERT_EQ(may_cgroup("/user.slice/user-1000.slice/session-2.scope/vm"), REVOKE_CGROUP_MAY);
        ASSERT_EQ(may_cgroup("/system.slice/iommud.service2"), REVOKE_CGROUP_MAY);
}

TEST(neither_session_nor_manager_nor_what_has_us) {
        ASSERT_EQ(may_cgroup("/user.slice/user-1000.slice/session-2.scope"), REVOKE_CGROUP_SESSION);
        ASSERT_EQ(may_cgroup("/user.slice/user-1000.slice/user@1000.service"), REVOKE_CGROUP_MANAGER);
        ASSERT_EQ(may_cgroup("/user.slice/user-1000.slice/user@1000.service/init.scope"), REVOKE_CGROUP_MANAGER);
        ASSERT_EQ(may_cgroup("/user.slice/user-1000.slice"), REVOKE_CGROUP_SLICE);
        ASSERT_EQ(may_cgroup("/system.slice"), REVOKE_CGROUP_SLICE);
        ASSERT_EQ(may_cgroup(US), REVOKE_CGROUP_ANCESTOR);
        begin("/containers/host");
        (void) text_copy(rule.own_cgroup, sizeof(rule.own_cgroup), "/containers/host/iommud");
        ASSERT_EQ(revoke_may_kill_cgroup(&rule, NULL, 0), REVOKE_CGROUP_ANCESTOR);
        ASSERT_EQ(may_cgroup("/"), REVOKE_CGROUP_UNKNOWN);
        ASSERT_EQ(may_cgroup(""), REVOKE_CGROUP_UNKNOWN);
        begin(SCOPE);
        rule.cgroup_id = 0;
        ASSERT_EQ(revoke_may_kill_cgroup(&rule, NULL, 0), REVOKE_CGROUP_UNKNOWN);
}

TEST(nor_one_with_another_users_holder) {
        ProcessFacts holders[] = {
                process(12, ALICE, 10, SCOPE),
                process(13, 1001, 11, "/user.slice/user-1001.slice/session-4.scope"),
                process(14, 1001, 12, SCOPE "/inner"),
        };

        begin(SCOPE);
        ASSERT_EQ(revoke_may_kill_cgroup(&rule, holders, 2), REVOKE_CGROUP_MAY);
        ASSERT_EQ(revoke_may_kill_cgroup(&rule, holders, 3), REVOKE_CGROUP_OTHERS);
        holders[2] = process(BUS, ALICE, 12, SCOPE);
        ASSERT_EQ(revoke_may_kill_cgroup(&rule, holders, 3), REVOKE_CGROUP_OTHERS);
        holders[2] = process(1, ALICE, 12, SCOPE);
        ASSERT_EQ(revoke_may_kill_cgroup(&rule, holders, 3), REVOKE_CGROUP_OTHERS);
}
