/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "core/quota.h"
#include "util/text.h"

/* Limits of PASIDs: which one counts where, and what is booked in all levels or in none. */

#define TOP  "/machine.slice"
#define MID  TOP "/machine-vm.slice"
#define UNIT MID "/vm@web.service"
#define PEER MID "/vm@mail.service"

static Quota quota;
static QuotaRules rules;
static Findings findings;
static uint64_t shared[PASID_LEVELS_MAX];
static Lease *leases[4];
static size_t n_leases;

static void begin(void) {
        for (size_t i = 0; i < n_leases; i++)
                lease_free(leases[i]);
        n_leases = 0;
        quota_clear(&quota);
        quota_rules_clear(&rules);
        findings_clear(&findings);
        memset(shared, 0, sizeof(shared));
}

static void set(const char *path, uint64_t limit) {
        ASSERT_OK(quota_settings_put(&quota.runtime, path, limit));
}

/* A rule whose one pattern is this. */
static QuotaRule *rule(const char *name, uint64_t limit) {
        QuotaRule *grown = reallocarray(rules.items, rules.n + 1, sizeof(*grown));

        ASSERT_TRUE(grown);
        rules.items = grown;
        grown[rules.n] = (QuotaRule) { .source = strdup(name), .limit = limit };
        ASSERT_TRUE(grown[rules.n].source);
        return &grown[rules.n++];
}

static void rule_cgroup(const char *name, const char *words, uint64_t limit) {
        rule(name, limit)->match_cgroup = strdup(words);
}

static Lease *lease(const char *path, uint32_t n) {
        Lease *l = calloc(1, sizeof(*l));

        ASSERT_TRUE(l && n_leases < ARRAY_SIZE(leases));
        leases[n_leases++] = l;
        l->charged = strdup(path);
        l->pasids = n;
        l->chain = (PasidChain) { { 40, 30, 20, 1 }, 4 };
        ASSERT_TRUE(l->charged);
        return l;
}

static Lease *book(const char *path, uint32_t n) {
        Lease *l = lease(path, n);

        ASSERT_OK(quota_book(&quota, l));
        ASSERT_TRUE(!quota_check(&quota, leases, n_leases));
        return l;
}

static uint64_t booked(const char *path) {
        const QuotaLevel *level = quota_level(&quota, path);

        return level ? level->booked : 0;
}

/* May this cgroup have so many more? */
static bool may(const char *path, uint32_t n) {
        findings_clear(&findings);
        (void) quota_judge(&quota, &rules, path, shared, n, &findings);
        return !findings_first_block(&findings);
}

static void assert_refused(const char *path, uint32_t n, FindingCode code, const char *level, const char *words) {
        ASSERT_TRUE(!may(path, n));
        ASSERT_EQ(findings.items[0].code, code);
        ASSERT_STREQ(findings.items[0].subject, level);
        if (!strstr(findings.items[0].text, words))
                TEST_FAIL("\"%s\" does not say \"%s\"", findings.items[0].text, words);
        ASSERT_TRUE(strstr(findings.items[0].remedy, level));
}

TEST(paths_are_written_as_the_kernel_does) {
        static const char *const good[] = { "/", "/a", "/a/b.slice", "/...", "/.a/..b", "/a b/c\\x2d" };
        static const char *const bad[] = { "",   "a",   "a/b",   "//",   "/a/",  "/a//b",
                                           "/.", "/..", "/a/..", "/./a", "/a\n", "/\xc3\xa4" };
        char longest[QUOTA_PATH_MAX + 1];

        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                if (!quota_path_is_valid(good[i]))
                        TEST_FAIL("%s is refused", good[i]);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (quota_path_is_valid(bad[i]))
                        TEST_FAIL("%s is taken", bad[i]);
        memset(longest, 'x', sizeof(longest));
        longest[0] = '/';
        longest[QUOTA_PATH_MAX] = '\0';
        ASSERT_TRUE(!quota_path_is_valid(longest));
        longest[QUOTA_PATH_MAX - 1] = '\0';
        ASSERT_TRUE(quota_path_is_valid(longest));
}

TEST(the_way_up_ends_at_the_root) {
        char path[] = "/a/b/c";

        ASSERT_TRUE(quota_ascend(path));
        ASSERT_STREQ(path, "/a/b");
        ASSERT_TRUE(quota_ascend(path) && quota_ascend(path));
        ASSERT_STREQ(path, "/");
        ASSERT_TRUE(!quota_ascend(path));
        ASSERT_STREQ(path, "/");
}

TEST(below_goes_by_whole_names) {
        ASSERT_TRUE(quota_path_is_within("/a/b", "/a") && quota_path_is_within("/a", "/a"));
        ASSERT_TRUE(quota_path_is_within("/a", "/") && quota_path_is_within("/", "/"));
        ASSERT_TRUE(!quota_path_is_within("/ab", "/a") && !quota_path_is_within("/", "/a"));
        ASSERT_TRUE(!quota_path_is_within("", "/a"));
        ASSERT_EQ(quota_path_depth("/"), 0);
        ASSERT_EQ(quota_path_depth("/a/b"), 2);
}

TEST(every_level_has_to_have_room) {
        begin();
        set("/", 100);
        set(TOP, 20);
        set(UNIT, 8);
        ASSERT_TRUE(may(UNIT, 8));
        assert_refused(UNIT, 9, FINDING_QUOTA, UNIT, "limit of 8");
        book(UNIT, 5);
        ASSERT_EQ(booked(UNIT), 5);
        ASSERT_EQ(booked(MID), 5);
        ASSERT_EQ(booked(TOP), 5);
        ASSERT_EQ(booked("/"), 5);
        ASSERT_TRUE(may(UNIT, 3));
        assert_refused(UNIT, 4, FINDING_QUOTA_BOOKED, UNIT, "5 are booked and 3 are left");
        /* A sibling has no limit of its own, and competes for what is above. */
        ASSERT_TRUE(may(PEER, 15));
        assert_refused(PEER, 16, FINDING_QUOTA_BOOKED, TOP, "15 are left");
        book(PEER, 15);
        assert_refused(UNIT, 1, FINDING_QUOTA_BOOKED, TOP, "0 are left");
        ASSERT_TRUE(may("/user.slice", 80));
        assert_refused("/user.slice", 81, FINDING_QUOTA_BOOKED, "/", "80 are left");
}

TEST(each_level_without_room_is_named) {
        begin();
        set(TOP, 3);
        set(UNIT, 2);
        ASSERT_TRUE(!may(UNIT, 4));
        ASSERT_EQ(findings.n, 2);
        ASSERT_STREQ(findings.items[0].subject, UNIT);
        ASSERT_STREQ(findings.items[1].subject, TOP);
}

TEST(what_is_booked_comes_back) {
        Lease *a, *b;

        begin();
        a = book(UNIT, 5);
        b = book(PEER, 7);
        quota_unbook(&quota, a);
        ASSERT_EQ(booked(UNIT), 0);
        ASSERT_EQ(booked(MID), 7);
        ASSERT_EQ(booked("/"), 7);
        /* The leases still say otherwise, and that is noticed. */
        ASSERT_TRUE(quota_check(&quota, leases, n_leases));
        quota_unbook(&quota, b);
        ASSERT_EQ(booked("/"), 0);
        ASSERT_TRUE(!quota_check(&quota, leases, 0));
}

TEST(a_limit_that_is_lowered_below_what_is_booked_stops_new_ones) {
        Lease *l;

        begin();
        set(MID, 10);
        l = book(UNIT, 8);
        set(MID, 4);
        ASSERT_EQ(booked(MID), 8);
        assert_refused(PEER, 1, FINDING_QUOTA_BOOKED, MID, "0 are left");
        quota_unbook(&quota, l);
        ASSERT_TRUE(may(PEER, 4));
        assert_refused(PEER, 5, FINDING_QUOTA, MID, "limit of 4");
}

TEST(a_limit_of_zero_is_a_limit) {
        begin();
        set(TOP, 0);
        assert_refused(UNIT, 1, FINDING_QUOTA, TOP, "limit of 0");
        ASSERT_TRUE(may(UNIT, 0));
}

TEST(what_counts_among_settings_and_rules) {
        begin();
        ASSERT_TRUE(quota_limit(&quota, &rules, TOP).limit == QUOTA_UNLIMITED);
        ASSERT_STREQ(quota_limit(&quota, &rules, TOP).source, "");
        rule_cgroup("10-a.conf", "/x /machine*", 11);
        rule_cgroup("20-b.conf", TOP, 12);
        ASSERT_EQ(quota_limit(&quota, &rules, TOP).limit, 11);
        ASSERT_STREQ(quota_limit(&quota, &rules, TOP).source, "10-a.conf");
        ASSERT_OK(quota_settings_put(&quota.persistent, TOP, 13));
        ASSERT_EQ(quota_limit(&quota, &rules, TOP).limit, 13);
        ASSERT_STREQ(quota_limit(&quota, &rules, TOP).source, "persistent");
        ASSERT_OK(quota_settings_put(&quota.runtime, TOP, 14));
        ASSERT_EQ(quota_limit(&quota, &rules, TOP).limit, 14);
        ASSERT_STREQ(quota_limit(&quota, &rules, TOP).source, "runtime");
        ASSERT_OK(quota_settings_put(&quota.runtime, TOP, QUOTA_UNLIMITED));
        ASSERT_OK(quota_settings_put(&quota.persistent, TOP, QUOTA_UNLIMITED));
        ASSERT_OK(quota_settings_put(&quota.persistent, TOP, QUOTA_UNLIMITED));
        ASSERT_EQ(quota_limit(&quota, &rules, TOP).limit, 11);
        ASSERT_EQ(quota.persistent.n + quota.runtime.n, 0);
}

TEST(patterns_match_whole_levels) {
        begin();
        rule_cgroup("a", "/machine.slice/*.service", 1);
        rule("b", 2)->match_unit = strdup("vm@*");
        rule("c", 3)->match_slice = strdup("machine*.slice");
        /* A star does not reach over a slash. */
        ASSERT_EQ(quota_limit(&quota, &rules, UNIT).limit, 2);
        ASSERT_EQ(quota_limit(&quota, &rules, TOP "/x.service").limit, 1);
        ASSERT_EQ(quota_limit(&quota, &rules, MID).limit, 3);
        ASSERT_EQ(quota_limit(&quota, &rules, TOP).limit, 3);
        ASSERT_EQ(quota_limit(&quota, &rules, "/a/vm@1.scope").limit, 2);
        /* Neither a slice nor a unit. */
        ASSERT_TRUE(quota_limit(&quota, &rules, "/a/vm@1").limit == QUOTA_UNLIMITED);
        ASSERT_TRUE(quota_limit(&quota, &rules, "/a/vm@1.slice").limit == QUOTA_UNLIMITED);
        ASSERT_TRUE(quota_limit(&quota, &rules, "/").limit == QUOTA_UNLIMITED);
}

TEST(judging_tells_whether_there_is_any_limit) {
        begin();
        ASSERT_TRUE(!quota_judge(&quota, &rules, UNIT, shared, 1, &findings));
        set(PEER, 5);
        ASSERT_TRUE(!quota_judge(&quota, &rules, UNIT, shared, 1, &findings));
        set(TOP, 5);
        ASSERT_TRUE(quota_judge(&quota, &rules, UNIT, shared, 1, &findings));
        ASSERT_EQ(findings.n, 0);
}

TEST(named_are_the_root_what_was_set_and_what_a_rule_spells_out) {
        begin();
        ASSERT_TRUE(quota_is_named(&quota, &rules, "/"));
        ASSERT_TRUE(!quota_is_named(&quota, &rules, TOP));
        rule_cgroup("a", "/x " TOP " /y/*", 5);
        ASSERT_TRUE(quota_is_named(&quota, &rules, TOP));
        ASSERT_TRUE(!quota_is_named(&quota, &rules, "/y/z"));
        set("/y/z", 1);
        ASSERT_TRUE(quota_is_named(&quota, &rules, "/y/z"));
}

TEST(what_sva_has_taken_is_not_there_for_leases) {
        begin();
        set(TOP, 20);
        set(UNIT, 8);
        book(PEER, 4);
        /* From the root down: in UNIT three, and five more beside it. */
        shared[0] = 9;
        shared[1] = shared[2] = 8;
        shared[3] = 3;
        ASSERT_TRUE(may(UNIT, 5));
        assert_refused(UNIT, 6, FINDING_QUOTA_BOOKED, UNIT,
                       "0 are booked, 3 taken by SVA and 5 are left under the limit of 8");
        set(TOP, 16);
        assert_refused(UNIT, 5, FINDING_QUOTA_BOOKED, TOP,
                       "4 are booked, 8 taken by SVA and 4 are left under the limit of 16");
        begin();
}

TEST(levels_know_the_ids_of_their_cgroups) {
        begin();
        book(UNIT, 1);
        ASSERT_EQ(quota_level(&quota, UNIT)->id, 40);
        ASSERT_EQ(quota_level(&quota, MID)->id, 30);
        ASSERT_EQ(quota_level(&quota, TOP)->id, 20);
        ASSERT_EQ(quota_level(&quota, "/")->id, 1);
        /* The client may be further down than what is charged. */
        begin();
        book(MID, 1);
        ASSERT_EQ(quota_level(&quota, MID)->id, 30);
        ASSERT_EQ(quota_level(&quota, "/")->id, 1);
}

TEST(levels_are_in_order_and_one_each) {
        QuotaLevel *level, *again;

        begin();
        ASSERT_OK(quota_add_level(&quota, UNIT, &level));
        ASSERT_OK(quota_add_level(&quota, "/", &again));
        ASSERT_OK(quota_add_level(&quota, MID, &again));
        ASSERT_OK(quota_add_level(&quota, UNIT, &again));
        ASSERT_TRUE(level == again);
        ASSERT_EQ(quota.n_levels, 3);
        ASSERT_STREQ(quota.levels[0]->path, "/");
        ASSERT_STREQ(quota.levels[1]->path, MID);
        quota_remove_level(&quota, quota_level(&quota, MID));
        ASSERT_TRUE(!quota_level(&quota, MID) && quota_level(&quota, UNIT) == level);
        begin();
}

TEST(a_lease_without_pasids_books_nothing) {
        begin();
        book(UNIT, 0);
        ASSERT_EQ(quota.n_levels, 0);
        quota_unbook(&quota, leases[0]);
        begin();
}
