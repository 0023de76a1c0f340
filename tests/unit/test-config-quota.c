/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../test.h"
#include "system/config.h"

/* The rules of quota.d. */

static QuotaRule rule;
static Config config;
static char *why;
static char root[64];

static int parse_as(const char *name, const char *text) {
        quota_rule_clear(&rule);
        free(TAKE_PTR(why));
        return config_quota_parse(name, text, strlen(text), &rule, &why);
}

static void assert_says(const char *words) {
        if (!why || !strstr(why, words))
                TEST_FAIL("the message is \"%s\", not \"... %s ...\"", why ? why : "NULL", words);
}

static void assert_refused(const char *text, const char *place, const char *words) {
        if (parse_as("test", text) != -EBADMSG)
                TEST_FAIL("taken: %s", text);
        ASSERT_TRUE(why && strncmp(why, place, strlen(place)) == 0);
        assert_says(words);
}

TEST(three_ways_to_name_cgroups) {
        ASSERT_OK(parse_as("10-vms", "# machines\n[Quota]\nCGroup=/machine.slice /machine.slice/*.scope\nCGroup=/\n"
                                     "Pasids=64\n"));
        ASSERT_STREQ(rule.name, "10-vms");
        ASSERT_STREQ(rule.match_cgroup, "/machine.slice /machine.slice/*.scope /");
        ASSERT_TRUE(!rule.match_unit && !rule.match_slice);
        ASSERT_EQ(rule.limit, 64);
        ASSERT_OK(parse_as("a", "[Quota]\nUnit=qemu@*.service machine-vm\\x2d?.scope vm*\nPasids=0\n"));
        ASSERT_STREQ(rule.match_unit, "qemu@*.service machine-vm\\x2d?.scope vm*");
        ASSERT_EQ(rule.limit, 0);
        ASSERT_OK(parse_as("a", "[Quota]\nPasids=4294967295\nSlice=user-*.slice vm*\n"));
        ASSERT_STREQ(rule.match_slice, "user-*.slice vm*");
        ASSERT_EQ(rule.limit, QUOTA_LIMIT_MAX);
}

TEST(one_way_and_a_limit_are_needed) {
        assert_refused("", "test.conf:1: ", "needs one of CGroup=, Unit= and Slice=");
        assert_refused("[Quota]\nPasids=5\n", "test.conf:2: ", "needs one of");
        assert_refused("[Quota]\nPasids=5\nUnit=*\nSlice=*\n", "test.conf:4: ", "not two");
        assert_refused("[Quota]\nUnit=*\n", "test.conf:2: ", "needs Pasids=");
        assert_refused("[Quota]\nPasids=5\nPasids=6\nUnit=*\n", "test.conf:3: ", "given twice");
        assert_refused("[Quota]\nUnit=\nPasids=5\n", "test.conf:2: ", "empty");
}

TEST(what_could_never_match_is_a_mistake) {
        assert_refused("[Quota]\nCGroup=machine.slice\n", "test.conf:2: ", "paths of cgroups");
        assert_refused("[Quota]\nCGroup=/machine.slice/\n", "test.conf:2: ", "paths of cgroups");
        assert_refused("[Quota]\nCGroup=/a/../b\n", "test.conf:2: ", "paths of cgroups");
        assert_refused("[Quota]\nCGroup=/a/[b\n", "test.conf:2: ", "paths of cgroups");
        assert_refused("[Quota]\nUnit=vm.slice\n", "test.conf:2: ", "services and scopes");
        assert_refused("[Quota]\nUnit=/vm.service\n", "test.conf:2: ", "services and scopes");
        assert_refused("[Quota]\nSlice=vm.service\n", "test.conf:2: ", "slices like");
}

TEST(a_limit_is_a_number) {
        assert_refused("[Quota]\nUnit=*\nPasids=many\n", "test.conf:3: ", "no number of PASIDs");
        assert_refused("[Quota]\nUnit=*\nPasids=-1\n", "test.conf:3: ", "no number of PASIDs");
        assert_refused("[Quota]\nUnit=*\nPasids=4294967296\n", "test.conf:3: ", "0 to 4294967295");
        assert_refused("[Quota]\nUnit=*\nPasids=infinity\n", "test.conf:3: ", "no number of PASIDs");
        ASSERT_ERROR(parse_as("a b", "[Quota]\nUnit=*\nPasids=5\n"), EBADMSG);
        assert_says("a quota is named by letters");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f) {
        (void) st;
        (void) type;
        (void) f;
        return remove(path);
}

static const char *below(const char *path) {
        static char full[256];

        (void) snprintf(full, sizeof(full), "%s%s", root, path);
        return full;
}

static void put(const char *path, const char *text) {
        FILE *f = fopen(below(path), "we");

        ASSERT_TRUE(f);
        (void) fputs(text, f);
        ASSERT_EQ(fclose(f), 0);
}

static void make_root(void) {
        static const char *const directories[] = { "/etc",     "/etc/iommud",     "/etc/iommud/quota.d",    "/usr",
                                                   "/usr/lib", "/usr/lib/iommud", "/usr/lib/iommud/quota.d" };

        (void) snprintf(root, sizeof(root), "/tmp/config-quota-XXXXXX");
        ASSERT_TRUE(mkdtemp(root));
        (void) umask(022);
        for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
                ASSERT_OK(mkdir(below(directories[i]), 0755));
}

TEST(both_directories_count_and_a_mistake_is_told_with_its_file) {
        make_root();
        put("/etc/iommud/quota.d/20-b.conf", "[Quota]\nSlice=vm.slice\nPasids=2\n");
        put("/usr/lib/iommud/quota.d/10-a.conf", "[Quota]\nSlice=vm.slice\nPasids=1\n");
        put("/usr/lib/iommud/quota.d/20-b.conf", "what is hidden is not even read");
        ASSERT_OK(config_load(root, &config, &why));
        ASSERT_EQ(config.quotas.n, 2);
        ASSERT_STREQ(config.quotas.items[0].name, "10-a");
        ASSERT_STREQ(config.quotas.items[1].source, below("/etc/iommud/quota.d/20-b.conf"));
        ASSERT_EQ(config.quotas.items[1].limit, 2);
        config_clear(&config);
        ASSERT_EQ(config.quotas.n, 0);
        put("/etc/iommud/quota.d/30-c.conf", "[Quota]\nSlices=vm.slice\n");
        free(TAKE_PTR(why));
        ASSERT_ERROR(config_load(root, &config, &why), EBADMSG);
        assert_says(below("/etc/iommud/quota.d/30-c.conf:2: "));
        ASSERT_OK(chmod(below("/etc/iommud/quota.d/30-c.conf"), 0666));
        free(TAKE_PTR(why));
        ASSERT_ERROR(config_load(root, &config, &why), EBADMSG);
        assert_says("chmod go-w");
        ASSERT_OK(nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS));
        quota_rule_clear(&rule);
        free(TAKE_PTR(why));
}
