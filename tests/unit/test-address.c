/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "core/address.h"

/* Addresses as the kernel prints them, and nothing else: they become parts of paths. */

TEST(prints_what_it_parsed) {
        static const char *const good[] = {
                "0000:00:00.0", "0000:01:00.0", "0000:ff:1f.7", "ffff:ab:1c.3", "10000:e1:00.0", "ffffffff:ff:1f.7",
        };

        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
                Address a;

                ASSERT_OK(address_parse(good[i], &a));
                ASSERT_STREQ(ADDRESS(a), good[i]);
        }
}

TEST(takes_it_apart) {
        Address a;

        ASSERT_OK(address_parse("10000:e1:1c.3", &a));
        ASSERT_EQ(a.domain, 0x10000);
        ASSERT_EQ(a.bus, 0xe1);
        ASSERT_EQ(a.devfn, 0x1c << 3 | 3);
}

TEST(refuses_everything_else) {
        static const char *const bad[] = {
                "",
                ":",
                "0000",
                "01:00.0",
                "000:01:00.0",
                "00000:01:00.0",     /* the kernel prints no leading zero beyond four digits */
                "100000000:01:00.0", /* beyond 32 bits */
                "0000:1:00.0",
                "0000:001:00.0",
                "0000:01:20.0", /* slots end at 1f */
                "0000:01:00.8", /* functions end at 7 */
                "0000:01:00.f",
                "0000:01:00",
                "0000:01:00.",
                "0000:01:00.00",
                "0000:01:00.0 ",
                " 0000:01:00.0",
                "0000:01:00.0\n",
                "0000:AB:00.0",
                "0000-01-00.0",
                "0000:01-00.0",
                "0000:01:00:0",
                "0x00:01:00.0",
                "+000:01:00.0",
                "../../etc:01:00.0",
        };

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                Address a = { .domain = 7 };

                if (address_parse(bad[i], &a) != -EINVAL)
                        TEST_FAIL("\"%s\" was taken for an address", bad[i]);
                ASSERT_EQ(a.domain, 7);
        }
}

TEST(order_is_domain_bus_slot_function) {
        static const char *const sorted[] = {
                "0000:00:00.0", "0000:00:00.1", "0000:00:01.0", "0000:01:00.0", "0001:00:00.0", "10000:00:00.0",
        };
        Address a, b;

        for (size_t i = 0; i < ARRAY_SIZE(sorted); i++)
                for (size_t j = 0; j < ARRAY_SIZE(sorted); j++) {
                        ASSERT_OK(address_parse(sorted[i], &a));
                        ASSERT_OK(address_parse(sorted[j], &b));
                        ASSERT_EQ(address_compare(a, b) < 0, i < j);
                        ASSERT_EQ(address_compare(a, b) > 0, i > j);
                        ASSERT_EQ(address_equal(a, b), i == j);
                }
}

TEST(several_in_one_call) {
        Address a, b;
        char text[64];

        ASSERT_OK(address_parse("0000:01:00.0", &a));
        ASSERT_OK(address_parse("0000:02:00.0", &b));
        (void) snprintf(text, sizeof(text), "%s %s", ADDRESS(a), ADDRESS(b));
        ASSERT_STREQ(text, "0000:01:00.0 0000:02:00.0");
}
