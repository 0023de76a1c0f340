/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/fdname.h"
#include "test.h"

#define ID "0123456789abcdef0123456789abcdef"

TEST(what_is_written_is_read) {
        static const struct {
                FdName name;
                const char *text;
        } cases[] = {
                { { .lease = ID, .kind = FD_IOMMUFD, .ioas = UINT32_MAX }, ID "/iommufd/4294967295" },
                { { .lease = ID, .kind = FD_IOMMUFD }, ID "/iommufd/0" },
                { { .lease = ID, .kind = FD_CONTAINER }, ID "/container/" },
                { { .lease = ID, .kind = FD_DEVICE, .address = { 0, 1, 0 } }, ID "/device/0000-01-00.0" },
                { { .lease = ID, .kind = FD_GROUP, .address = { UINT32_MAX, 0xff, 0xff } },
                  ID "/group/ffffffff-ff-1f.7" },
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                char text[FDNAME_MAX];
                FdName n;

                fdname_encode(&cases[i].name, text);
                ASSERT_STREQ(text, cases[i].text);
                ASSERT_OK(fdname_decode(text, &n));
                ASSERT_STREQ(n.lease, ID);
                ASSERT_EQ(n.kind, cases[i].name.kind);
                ASSERT_EQ(n.ioas, cases[i].name.ioas);
                ASSERT_TRUE(address_equal(n.address, cases[i].name.address));
        }
}

TEST(the_longest_name_fits) {
        FdName n = { .lease = ID, .kind = FD_DEVICE, .address = { UINT32_MAX, 0xff, 0xff } };
        char text[FDNAME_MAX];

        fdname_encode(&n, text);
        ASSERT_EQ(strlen(text), FDNAME_MAX - 1);
}

TEST(what_nobody_of_us_wrote) {
        static const char *const texts[] = {
                "",
                "watch",
                "stored",
                ID,
                ID "/device",
                ID "/device/",
                ID "/device/0000:01:00.0",
                ID "/device/0000-01-00.0 ",
                ID "/device/0000-01-00.8",
                ID "/device/0000-01:00.0",
                ID "/iommufd/",
                ID "/iommufd/01",
                ID "/iommufd/4294967296",
                ID "/container",
                ID "/container/1",
                ID "/lifeline/",
                ID "//0000-01-00.0",
                ID "0/container/",
                "0123456789abcdef/device/0000-01-00.0",
        };

        for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
                FdName n;

                ASSERT_ERROR(fdname_decode(texts[i], &n), EINVAL);
        }
}
