/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "files.h"
#include "fuzz.h"
#include "kernel/sysfs.h"
#include "util/text.h"

/* Attributes of a device and its group, as /sys shows them, and configuration space. */

#define DEVICE_DIRECTORY ROOT_BUS "0000:01:00.0/"
#define GROUP_DIRECTORY  "sys/kernel/iommu_groups/7/"

static const FuzzFile files[] = {
        { "vendor", DEVICE_DIRECTORY "vendor", false },
        { "device", DEVICE_DIRECTORY "device", false },
        { "subsystem_vendor", DEVICE_DIRECTORY "subsystem_vendor", false },
        { "subsystem_device", DEVICE_DIRECTORY "subsystem_device", false },
        { "class", DEVICE_DIRECTORY "class", false },
        { "modalias", DEVICE_DIRECTORY "modalias", false },
        { "driver_override", DEVICE_DIRECTORY "driver_override", false },
        { "numa_node", DEVICE_DIRECTORY "numa_node", false },
        { "boot_vga", DEVICE_DIRECTORY "boot_vga", false },
        { "reset_method", DEVICE_DIRECTORY "reset_method", false },
        { "sriov_totalvfs", DEVICE_DIRECTORY "sriov_totalvfs", false },
        { "config", DEVICE_DIRECTORY "config", false },
        { "cdev", DEVICE_DIRECTORY "vfio-dev/vfio0/dev", false },
        { "driver", DEVICE_DIRECTORY "driver", true },
        { "iommu_group", DEVICE_DIRECTORY "iommu_group", true },
        { "physfn", DEVICE_DIRECTORY "physfn", true },
        { "virtfn0", DEVICE_DIRECTORY "virtfn0", true },
        { "type", GROUP_DIRECTORY "type", false },
        { "name", GROUP_DIRECTORY "name", false },
        { "reserved_regions", GROUP_DIRECTORY "reserved_regions", false },
        { "devices", "proc/devices", false },
};

static void begin(void) {
        tree_begin();
        put_device(DEVICE_DIRECTORY, "0x010802\n");
        put(DEVICE_DIRECTORY "vfio-dev/vfio0/uevent", "");
        put_directory(GROUP_DIRECTORY);
        (void) atexit(tree_end);
}

static void check_device(Address a) {
        DeviceFacts f;
        uint8_t bits;

        if (kernel->ops->read_device(kernel, a, &f) >= 0) {
                FUZZ_ASSERT(address_equal(f.address, a) && f.group >= -1 && f.numa_node >= -1);
                FUZZ_ASSERT(!f.odd_override || isempty(f.driver_override));
                FUZZ_ASSERT(isempty(f.driver_override) || sysfs_name_is_valid(f.driver_override));
                FUZZ_ASSERT(f.class <= 0xffffff && f.virtual_functions_max <= UINT16_MAX);
        }
        if (kernel->ops->read_pasid_bits(kernel, a, &bits) >= 0)
                FUZZ_ASSERT(bits <= 31);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Address a = { .bus = 1 }, vf;
        GroupFacts g;
        Platform p;

        if (!kernel)
                begin();
        fuzz_put_files(files, ARRAY_SIZE(files), data, size);
        check_device(a);
        (void) kernel->ops->virtual_function(kernel, a, 0, &vf);
        if (kernel->ops->read_group(kernel, 7, &g) >= 0)
                FUZZ_ASSERT(g.id == 7 && g.n_regions <= GROUP_REGIONS_MAX);
        (void) kernel->ops->read_platform(kernel, &p);
        return 0;
}
