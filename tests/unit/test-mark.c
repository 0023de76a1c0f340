/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/mark.h"
#include "test.h"
#include "util/text.h"

TEST(nothing_to_remember) {
        char text[MARK_MAX];
        Device d = {};

        ASSERT_EQ(mark_encode(&d, text), 0);
        ASSERT_OK(mark_decode("", &d));
        ASSERT_TRUE(d.state == DEVICE_FREE && !d.unclean);
}

TEST(what_is_written_is_read) {
        Device d = { .state = DEVICE_BROKEN, .unclean = true, .unclean_of = 1000, .taken_from = "vfio-pci" }, read = {};
        char text[MARK_MAX];

        (void) text_copy(d.reason, sizeof(d.reason), "after lease 12345678 the kernel refused to reset");
        ASSERT_TRUE(mark_encode(&d, text) > 0);
        ASSERT_OK(mark_decode(text, &read));
        ASSERT_EQ(read.state, DEVICE_BROKEN);
        ASSERT_STREQ(read.reason, d.reason);
        ASSERT_TRUE(read.unclean);
        ASSERT_EQ(read.unclean_of, 1000);
        ASSERT_STREQ(read.taken_from, "vfio-pci");
        ASSERT_STREQ(read.taken_override, "");

        (void) text_copy(d.taken_override, sizeof(d.taken_override), "vfio-pci");
        read = (Device) {};
        ASSERT_TRUE(mark_encode(&d, text) > 0);
        ASSERT_OK(mark_decode(text, &read));
        ASSERT_STREQ(read.taken_override, "vfio-pci");
}

TEST(the_longest_of_all_fits) {
        Device d = { .state = DEVICE_BROKEN, .unclean = true, .unclean_of = UINT32_MAX }, read = {};
        char text[MARK_MAX];

        (void) memset(d.reason, 'x', sizeof(d.reason) - 1);
        (void) memset(d.taken_from, 'y', sizeof(d.taken_from) - 1);
        (void) memset(d.taken_override, 'z', sizeof(d.taken_override) - 1);
        ASSERT_TRUE(mark_encode(&d, text) > 0);
        ASSERT_OK(mark_decode(text, &read));
        ASSERT_STREQ(read.reason, d.reason);
        ASSERT_EQ(read.unclean_of, UINT32_MAX);
        ASSERT_STREQ(read.taken_from, d.taken_from);
        ASSERT_STREQ(read.taken_override, d.taken_override);
}

TEST(what_nobody_of_us_wrote) {
        static const char *const texts[] = {
                "unclean 1000",
                "unclean\n",
                "unclean -1\n",
                "unclean 4294967296\n",
                "unclean 1\nunclean 2\n",
                "broken a\nbroken b\n",
                "broken \001\n",
                "dirty 1000\n",
                "taken\n",
                "taken vfio-pci\n",
                "taken  \n",
                "taken a b c\n",
                "taken a \ntaken b \n",
                "\n",
        };

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                Device d = {};

                ASSERT_ERROR(mark_decode(texts[i], &d), EBADMSG);
                ASSERT_TRUE(d.state == DEVICE_FREE && !d.unclean && isempty(d.taken_from));
        }
}
