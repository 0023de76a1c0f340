/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "core/inventory.h"
#include "core/lease.h"

static DeviceFacts facts_of(const char *address, int group) {
        DeviceFacts f = { .group = group, .numa_node = -1, .vendor = 0x8086 };

        if (address_parse(address, &f.address) < 0)
                TEST_FAIL("bad address %s in the test", address);
        return f;
}

static Device *put(Inventory *inv, const char *address, int group) {
        DeviceFacts f = facts_of(address, group);
        GroupFacts gf = { .id = group, .type = "DMA" };
        Device *d = NULL;
        Group *g;

        ASSERT_OK(inventory_put_device(inv, &f, &d));
        if (group >= 0)
                ASSERT_OK(inventory_put_group(inv, &gf, &g));
        return d;
}

TEST(devices_and_groups_are_found_and_sorted) {
        _cleanup_(inventory_clear) Inventory inv = {};
        const Device *before = NULL, *d;
        int last = -1, n = 0;
        const Group *g;

        put(&inv, "0000:03:00.0", 3);
        put(&inv, "0000:01:00.0", 9);
        put(&inv, "10000:01:00.0", 1);
        put(&inv, "0000:02:00.0", 9);
        put(&inv, "0000:00:01.0", -1);
        INVENTORY_FOREACH_DEVICE (&inv, d) {
                if (before)
                        ASSERT_TRUE(address_compare(before->facts.address, d->facts.address) < 0);
                ASSERT_TRUE(inventory_device(&inv, d->facts.address) == d);
                before = d;
                n++;
        }
        ASSERT_EQ(n, 5);
        INVENTORY_FOREACH_GROUP (&inv, g) {
                ASSERT_TRUE(g->facts.id > last);
                ASSERT_TRUE(inventory_group(&inv, g->facts.id) == g);
                last = g->facts.id;
        }
        ASSERT_EQ(inv.n_groups, 3);
        ASSERT_TRUE(!inventory_group(&inv, 4));
        ASSERT_TRUE(!inventory_device(&inv, facts_of("0000:01:00.1", -1).address));
        ASSERT_TRUE(!inventory_group_of(&inv, inventory_device(&inv, facts_of("0000:00:01.0", -1).address)));
}

TEST(renewing_facts_keeps_what_is_ours) {
        _cleanup_(inventory_clear) Inventory inv = {};
        Device *d = put(&inv, "0000:01:00.0", 1), *again;
        DeviceFacts f = facts_of("0000:01:00.0", 1);

        d->state = DEVICE_BROKEN;
        d->model_name = "82574L";
        (void) snprintf(f.driver, sizeof(f.driver), "nvme");
        ASSERT_EQ(inventory_put_device(&inv, &f, &again), 0);
        ASSERT_TRUE(again == d);
        ASSERT_STREQ(d->facts.driver, "nvme");
        ASSERT_EQ(d->state, DEVICE_BROKEN);
        ASSERT_STREQ(d->model_name, "82574L");
        ASSERT_EQ(inv.n_devices, 1);
}

TEST(names_are_not_those_of_another_device) {
        _cleanup_(inventory_clear) Inventory inv = {};
        Device *d = put(&inv, "0000:01:00.0", 1);
        DeviceFacts f = d->facts;

        d->vendor_name = d->model_name = "";
        (void) snprintf(f.modalias, sizeof(f.modalias), "pci:v00008086d000010D3");
        ASSERT_EQ(inventory_put_device(&inv, &f, &d), 0);
        ASSERT_TRUE(!d->vendor_name && !d->model_name);
}

TEST(a_group_goes_with_its_last_member) {
        _cleanup_(inventory_clear) Inventory inv = {};
        Address a = put(&inv, "0000:01:00.0", 1)->facts.address, b = put(&inv, "0000:01:00.1", 1)->facts.address;

        put(&inv, "0000:02:00.0", 2);
        ASSERT_TRUE(inventory_remove_device(&inv, a));
        ASSERT_TRUE(inventory_group(&inv, 1));
        ASSERT_TRUE(inventory_remove_device(&inv, b));
        ASSERT_TRUE(!inventory_group(&inv, 1));
        ASSERT_TRUE(inventory_group(&inv, 2));
        ASSERT_TRUE(!inventory_remove_device(&inv, a));
        ASSERT_EQ(inv.n_devices, 1);
}

TEST(a_leased_device_that_is_pulled_is_only_marked) {
        _cleanup_(inventory_clear) Inventory inv = {};
        Device *d = put(&inv, "0000:01:00.0", 1);
        DeviceFacts f = d->facts;
        Lease lease = {};

        d->lease = &lease;
        inventory_group(&inv, 1)->lease = &lease;
        ASSERT_TRUE(!inventory_remove_device(&inv, f.address));
        ASSERT_TRUE(inventory_device(&inv, f.address) == d);
        ASSERT_TRUE(d->gone);
        d->surveyed = true;
        ASSERT_EQ(inventory_put_device(&inv, &f, &d), 0);
        ASSERT_TRUE(!d->gone && !d->surveyed);
}

TEST(reset_sets) {
        DeviceFacts a = facts_of("0000:03:00.0", 1), b = facts_of("0000:03:00.1", 2), c = facts_of("0000:04:00.0", 3);

        /* Two functions behind one bridge are reset together, whatever their groups are. */
        ASSERT_TRUE(address_equal(inventory_set_key(&a), inventory_set_key(&b)));
        ASSERT_TRUE(!address_equal(inventory_set_key(&a), inventory_set_key(&c)));
        b.virtual_function = true;
        ASSERT_STREQ(ADDRESS(inventory_set_key(&b)), "0000:03:00.1");
        c.on_root_bus = true;
        ASSERT_STREQ(ADDRESS(inventory_set_key(&c)), "0000:04:00.0");
}

TEST(states_have_names) {
        for (DeviceState s = 0; s < _DEVICE_STATE_MAX; s++)
                ASSERT_EQ(device_state_from_string(device_state_to_string(s)), s);
        ASSERT_EQ(device_state_from_string("nonsense"), _DEVICE_STATE_MAX);
        ASSERT_STREQ(device_state_to_string(_DEVICE_STATE_MAX), "invalid");
        for (HandOver h = 0; h < _HAND_OVER_MAX; h++)
                ASSERT_EQ(hand_over_from_string(hand_over_to_string(h)), h);
        ASSERT_EQ(hand_over_from_string(""), _HAND_OVER_MAX);
        for (LeaseState s = 0; s < _LEASE_STATE_MAX; s++)
                ASSERT_EQ(lease_state_from_string(lease_state_to_string(s)), s);
        for (Role r = 0; r < _ROLE_MAX; r++)
                ASSERT_EQ(role_from_string(role_to_string(r)), r);
}

TEST(kinds_of_drivers) {
        ASSERT_EQ(driver_kind_of("", false), DRIVER_NONE);
        ASSERT_EQ(driver_kind_of("pcieport", false), DRIVER_NEIGHBOUR);
        ASSERT_EQ(driver_kind_of("pci-stub", false), DRIVER_NEIGHBOUR);
        ASSERT_EQ(driver_kind_of("nvme", false), DRIVER_HOST);
        ASSERT_EQ(driver_kind_of("vfio-pci", true), DRIVER_VFIO);
        /* Names prove nothing: a driver is a VFIO driver by what it makes. */
        ASSERT_EQ(driver_kind_of("vfio-pci", false), DRIVER_HOST);
        ASSERT_EQ(driver_kind_of("mlx5_vfio_pci", true), DRIVER_VFIO);
}
