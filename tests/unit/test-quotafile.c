/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "core/quotafile.h"

static QuotaSettings settings, again;
static char *text;
static size_t size;
static char why[128];

static void encode(void) {
        quota_settings_clear(&settings);
        free(TAKE_PTR(text));
        ASSERT_OK(quota_settings_put(&settings, "/machine.slice", 64));
        ASSERT_OK(quota_settings_put(&settings, "/a b/c\\x2d", QUOTA_LIMIT_MAX));
        ASSERT_OK(quota_settings_put(&settings, "/", 0));
        ASSERT_OK(quotafile_encode(&settings, &text, &size));
        ASSERT_EQ(strlen(text), size);
}

static int decode(const char *s, size_t n) {
        quota_settings_clear(&again);
        return quotafile_decode(s, n, &again, why);
}

/* The text with its first "from" replaced must be refused. */
static void assert_refused(const char *from, const char *to, const char *reason) {
        const char *place = strstr(text, from);
        char changed[512];

        ASSERT_TRUE(place);
        (void) snprintf(changed, sizeof(changed), "%.*s%s%s", (int) (place - text), text, to, place + strlen(from));
        why[0] = '\0';
        ASSERT_ERROR(decode(changed, strlen(changed)), EBADMSG);
        if (!strstr(why, reason))
                TEST_FAIL("\"%s\" does not say \"%s\"", why, reason);
        ASSERT_EQ(again.n, 0);
}

TEST(what_is_written_is_read) {
        encode();
        ASSERT_OK(decode(text, size));
        ASSERT_EQ(again.n, 3);
        for (size_t i = 0; i < again.n; i++) {
                ASSERT_STREQ(again.items[i].path, settings.items[i].path);
                ASSERT_EQ(again.items[i].limit, settings.items[i].limit);
        }
        quota_settings_clear(&settings);
        free(TAKE_PTR(text));
        ASSERT_OK(quotafile_encode(&settings, &text, &size));
        ASSERT_OK(decode(text, size));
        ASSERT_EQ(again.n, 0);
}

TEST(a_file_that_is_cut_short_anywhere_is_refused) {
        encode();
        for (size_t n = 0; n < size; n++)
                ASSERT_ERROR(decode(text, n), EBADMSG);
}

TEST(what_nobody_of_us_wrote_is_refused) {
        encode();
        assert_refused("version 1", "version 2", "version");
        assert_refused("64 ", "-64 ", "-64 is no limit");
        assert_refused("64 ", "4294967296 ", "no limit");
        assert_refused("64 ", "64", "without a path");
        assert_refused("64 /", "64 ", "no path");
        assert_refused("/machine.slice", "/machine.slice/", "no path");
        assert_refused("64 ", "64\x1b ", "unprintable");
        assert_refused("64 /machine.slice\n", "64 /machine.slice\n64 /machine.slice\n", "twice");
        assert_refused("END\n", "END\nEND\n", "END");
        assert_refused("END\n", "END", "END");
        text[size - 1] = '\0';
        ASSERT_ERROR(decode(text, size), EBADMSG);
        quota_settings_clear(&settings);
        free(TAKE_PTR(text));
}
