/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "util/text.h"

TEST(a_name_is_copied_whole_or_not_at_all) {
        char buf[4] = "old";

        ASSERT_TRUE(text_copy(buf, sizeof(buf), "abc"));
        ASSERT_STREQ(buf, "abc");
        ASSERT_TRUE(!text_copy(buf, sizeof(buf), "abcd"));
        ASSERT_STREQ(buf, "");
        ASSERT_TRUE(text_copy(buf, sizeof(buf), ""));
        ASSERT_STREQ(buf, "");
}

TEST(a_message_that_is_cut_says_so) {
        char buf[16] = "";

        text_append(buf, sizeof(buf), "%s", "0123456789");
        text_append(buf, sizeof(buf), "%s", "abcde");
        ASSERT_STREQ(buf, "0123456789abcde");
        text_append(buf, sizeof(buf), "%s", "f");
        ASSERT_STREQ(buf, "0123456789ab...");
        text_append(buf, sizeof(buf), "%s", "");
        ASSERT_STREQ(buf, "0123456789ab...");
}

TEST(decimal_numbers) {
        static const char *const bad[] = { "", " 1", "1 ", "+1", "-1", "0x10", "ff", "1.0", "1e3", "a" };
        uint64_t v = 0;

        ASSERT_OK(text_to_u64("0", UINT64_MAX, &v));
        ASSERT_EQ(v, 0);
        ASSERT_OK(text_to_u64("18446744073709551615", UINT64_MAX, &v));
        ASSERT_TRUE(v == UINT64_MAX);
        ASSERT_ERROR(text_to_u64("18446744073709551616", UINT64_MAX, &v), ERANGE);
        ASSERT_OK(text_to_u64("100", 100, &v));
        ASSERT_ERROR(text_to_u64("101", 100, &v), ERANGE);
        ASSERT_EQ(v, 100);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (text_to_u64(bad[i], UINT64_MAX, &v) != -EINVAL)
                        TEST_FAIL("\"%s\" was taken for a decimal number", bad[i]);
}

TEST(hexadecimal_numbers) {
        static const char *const bad[] = { "", "0x", "x1", "0x0x1", "0x 1", "-1", "0x-1", "0xg", "10 " };
        uint64_t v = 0;

        ASSERT_OK(text_to_hex("0x8086", 0xffff, &v));
        ASSERT_EQ(v, 0x8086);
        ASSERT_OK(text_to_hex("0XfF", 0xffff, &v));
        ASSERT_EQ(v, 0xff);
        ASSERT_OK(text_to_hex("10", 0xffff, &v));
        ASSERT_EQ(v, 0x10);
        ASSERT_ERROR(text_to_hex("0x10000", 0xffff, &v), ERANGE);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (text_to_hex(bad[i], UINT64_MAX, &v) != -EINVAL)
                        TEST_FAIL("\"%s\" was taken for a hexadecimal number", bad[i]);
}

TEST(sizes_as_administrators_write_them) {
        static const char *const bad[] = { "", "K", "8 G", "8GiB", "8GG", "-8G", "G8", "8.5G", "0x8G", "Infinity" };
        uint64_t v;

        ASSERT_OK(text_to_size("65536", &v));
        ASSERT_EQ(v, 65536);
        ASSERT_OK(text_to_size("512K", &v));
        ASSERT_EQ(v, 512 << 10);
        ASSERT_OK(text_to_size("64m", &v));
        ASSERT_EQ(v, 64 << 20);
        ASSERT_OK(text_to_size("8G", &v));
        ASSERT_EQ(v, 8LL << 30);
        ASSERT_OK(text_to_size("1T", &v));
        ASSERT_EQ(v, 1LL << 40);
        ASSERT_OK(text_to_size("infinity", &v));
        ASSERT_TRUE(v == UINT64_MAX);
        ASSERT_OK(text_to_size("16777215T", &v));
        ASSERT_TRUE(v == UINT64_C(16777215) << 40);
        ASSERT_ERROR(text_to_size("16777216T", &v), ERANGE);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                if (text_to_size(bad[i], &v) != -EINVAL)
                        TEST_FAIL("\"%s\" was taken for a size", bad[i]);
}

TEST(booleans) {
        static const char *const yes[] = { "yes", "true", "on", "1", "Yes", "TRUE" };
        static const char *const no[] = { "no", "false", "off", "0", "No" };
        bool b;

        for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
                b = false;
                ASSERT_OK(text_to_bool(yes[i], &b));
                ASSERT_TRUE(b);
        }
        for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
                b = true;
                ASSERT_OK(text_to_bool(no[i], &b));
                ASSERT_TRUE(!b);
        }
        ASSERT_ERROR(text_to_bool("", &b), EINVAL);
        ASSERT_ERROR(text_to_bool("y", &b), EINVAL);
        ASSERT_ERROR(text_to_bool("2", &b), EINVAL);
        ASSERT_ERROR(text_to_bool("yes ", &b), EINVAL);
}

TEST(words) {
        const char *s = "  one\ttwo  three ", *word;
        size_t length;

        ASSERT_TRUE(text_next_word(&s, &word, &length));
        ASSERT_EQ(length, 3);
        ASSERT_TRUE(strncmp(word, "one", 3) == 0);
        ASSERT_TRUE(text_next_word(&s, &word, &length));
        ASSERT_TRUE(strncmp(word, "two", length) == 0);
        ASSERT_TRUE(text_next_word(&s, &word, &length));
        ASSERT_EQ(length, 5);
        ASSERT_TRUE(!text_next_word(&s, &word, &length));
        ASSERT_TRUE(!text_next_word(&s, &word, &length));

        ASSERT_TRUE(text_has_word("flr bus", "bus"));
        ASSERT_TRUE(text_has_word("flr bus", "flr"));
        ASSERT_TRUE(!text_has_word("flr bus", "fl"));
        ASSERT_TRUE(!text_has_word("flr bus", "flr bus"));
        ASSERT_TRUE(!text_has_word("", "bus"));
        ASSERT_TRUE(!text_has_word(" ", ""));
}

TEST(printable) {
        ASSERT_TRUE(text_is_printable(""));
        ASSERT_TRUE(text_is_printable("a b~!"));
        ASSERT_TRUE(!text_is_printable("a\nb"));
        ASSERT_TRUE(!text_is_printable("a\tb"));
        ASSERT_TRUE(!text_is_printable("\x1b[31m"));
        ASSERT_TRUE(!text_is_printable("\x7f"));
        ASSERT_TRUE(!text_is_printable("caf\xc3\xa9"));
}

TEST(a_suffix_is_not_the_whole) {
        ASSERT_TRUE(text_has_suffix("a.slice", ".slice"));
        ASSERT_TRUE(!text_has_suffix(".slice", ".slice"));
        ASSERT_TRUE(!text_has_suffix("a.slices", ".slice"));
        ASSERT_TRUE(!text_has_suffix("", ".slice"));
}
