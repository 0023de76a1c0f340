/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "core/variant.h"

#define VIRTIO_NET "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00"
#define NVME       "pci:v00008086d00005845sv00001AF4sd00001100bc01sc08i02"

static VariantTable make_table(void) {
        static const char *const aliases[][3] = {
                { "vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci", "vfio-pci" },
                { "vfio_pci:v00001AF4d00001041sv*sd*bc*sc*i*", "virtio_vfio_pci", "virtio_vfio_pci" },
                { "vfio_pci:v00001AF4d*sv*sd*bc02sc00i*", "zz_any_virtio", "zz_any_virtio" },
                { "vfio_pci:v00001AF4d*sv*sd*bc02sc00i*", "aa_any_virtio", "aa_any_virtio" },
        };
        VariantTable t = {};

        for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
                ASSERT_EQ(variant_table_add(&t, aliases[i][0], aliases[i][1], aliases[i][2]), 1);
        return t;
}

TEST(fewest_wildcards_win) {
        _cleanup_(variant_table_clear) VariantTable t = make_table();
        const VariantAlias *a = variant_choose(&t, VIRTIO_NET);

        /* v, d given: five wildcards. v, bc, sc given: four. */
        ASSERT_TRUE(a);
        ASSERT_STREQ(a->driver, "aa_any_virtio");
        a = variant_choose(&t, NVME);
        ASSERT_TRUE(a);
        ASSERT_STREQ(a->driver, "vfio-pci");
        ASSERT_STREQ(a->module, "vfio_pci");
}

TEST(equal_matches_are_told_apart_by_name_not_by_order) {
        _cleanup_(variant_table_clear) VariantTable t = make_table();

        ASSERT_STREQ(variant_choose(&t, VIRTIO_NET)->driver, "aa_any_virtio");
        ASSERT_EQ(variant_table_add(&t, "vfio_pci:v00001AF4d*sv*sd*bc02sc00i*", "a0", "a0"), 1);
        ASSERT_STREQ(variant_choose(&t, VIRTIO_NET)->driver, "a0");
}

TEST(candidates_are_all_that_match) {
        _cleanup_(variant_table_clear) VariantTable t = make_table();
        char list[100];

        ASSERT_STREQ(variant_candidate(&t, VIRTIO_NET, "virtio_vfio_pci")->driver, "virtio_vfio_pci");
        ASSERT_STREQ(variant_candidate(&t, VIRTIO_NET, "vfio-pci")->driver, "vfio-pci");
        ASSERT_TRUE(!variant_candidate(&t, NVME, "virtio_vfio_pci"));
        ASSERT_TRUE(!variant_candidate(&t, NVME, "nvme"));
        variant_list(&t, VIRTIO_NET, list, sizeof(list));
        ASSERT_STREQ(list, "aa_any_virtio vfio-pci virtio_vfio_pci zz_any_virtio");
        variant_list(&t, NVME, list, sizeof(list));
        ASSERT_STREQ(list, "vfio-pci");
        variant_list(&t, "usb:v1D6Bp0002", list, sizeof(list));
        ASSERT_STREQ(list, "");
}

TEST(only_vfio_aliases_of_pci_devices_count) {
        _cleanup_(variant_table_clear) VariantTable t = {};
        char longest[200];

        ASSERT_EQ(variant_table_add(&t, "pci:v00008086d*sv*sd*bc*sc*i*", "nvme", "nvme"), 0);
        ASSERT_TRUE(!variant_choose(&t, NVME));
        ASSERT_EQ(variant_table_add(&t, "vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci", "vfio-pci"), 1);
        ASSERT_TRUE(variant_choose(&t, NVME));
        ASSERT_TRUE(!variant_choose(&t, "usb:v1D6Bp0002"));
        ASSERT_TRUE(!variant_choose(&t, ""));
        (void) snprintf(longest, sizeof(longest), "vfio_pci:%0150d", 0);
        ASSERT_ERROR(variant_table_add(&t, longest, "m", "d"), EINVAL);
        ASSERT_EQ(t.n, 1);
}

TEST(driver_names_of_modules) {
        ASSERT_STREQ(variant_driver_of_module("vfio_pci"), "vfio-pci");
        ASSERT_STREQ(variant_driver_of_module("xe_vfio_pci"), "xe-vfio-pci");
        ASSERT_STREQ(variant_driver_of_module("mlx5_vfio_pci"), "mlx5_vfio_pci");
}
