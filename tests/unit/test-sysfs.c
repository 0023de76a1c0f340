/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/inotify.h>
#include <sys/sysmacros.h>

#include "tree.h"

/* What a device and a group are like, and how they are changed. What only a kernel can do (binding, iommufd) is in the lab's tests. */

static void put_config(const char *path, bool has_pasid, bool loops) {
        unsigned char config[4096] = {};

        /* An AER capability at 0x100 that points to 0x148, there PASID of 20 bits or a pointer back. */
        memcpy(config + 0x100, (const unsigned char[]) { 0x01, 0x00, 0x82, 0x14 }, 4);
        if (has_pasid) {
                memcpy(config + 0x148, (const unsigned char[]) { 0x1b, 0x00, 0x01, 0x00 }, 4);
                memcpy(config + 0x14c, (const unsigned char[]) { 0x06, 0x14 }, 2);
        } else if (loops)
                memcpy(config + 0x148, (const unsigned char[]) { 0x02, 0x00, 0x01, 0x10 }, 4);
        put_bytes(path, config, sizeof(config));
}

static void put_tree(void) {
        put_device(ROOT_BUS "0000:00:01.0/", "0x060400\n");
        put_device(NVME, "0x010802\n");
        put_device(NIC, "0x020000\n");
        put_device(VF, "0x020000\n");
        put_link(ROOT_BUS "0000:00:01.0/driver", "../../../bus/pci/drivers/pcieport");

        put_link(NVME "driver", "../../../../bus/pci/drivers/nvme");
        put_link(NVME "iommu_group", "../../../../kernel/iommu_groups/7");
        put(NVME "reset_method", "flr bus\n");
        put(NVME "numa_node", "-1\n");
        put(NVME "reset", "");
        put(ROOT_BUS "0000:00:01.0/reset_subordinate", "");
        put_config(NVME "config", true, false);

        put_link(NIC "virtfn0", "../0000:00:02.1");
        put_link(NIC "virtfn1", "../0000:00:02.2");
        put(NIC "sriov_totalvfs", "7\n");
        put(NIC "boot_vga", "1\n");
        put(NIC "numa_node", "1\n");
        put_config(NIC "config", false, true);

        put_link(VF "physfn", "../0000:00:02.0");
        put_link(VF "driver", "../../../bus/pci/drivers/vfio-pci");
        put(VF "driver_override", "vfio-pci\n");
        put(VF "vfio-dev/vfio3/uevent", "");

        put("sys/kernel/iommu_groups/7/type", "DMA-FQ\n");
        put("sys/kernel/iommu_groups/7/reserved_regions",
            "0x0000000000001000 0x0000000000001fff direct-relaxable\n0x00000000fee00000 0x00000000feefffff msi\n");
        put("sys/kernel/iommu_groups/8/type", "blocked\n");
        put("sys/kernel/iommu_groups/8/name", "vfio-noiommu\n");
        put("sys/kernel/iommu_groups/8/reserved_regions", "");
        put("proc/1/mountinfo", "36 35 8:1 / / rw - ext4 /dev/sda1 rw\n");
        put_directory("dev");
}

static void test_list(void) {
        _cleanup_free_ Address *list = NULL;
        size_t n;

        CHECK(kernel->ops->list_devices(kernel, &list, &n) == 0);
        CHECK(n == 4);
        CHECK(address_equal(list[0], address("0000:00:01.0")));
        CHECK(address_equal(list[1], address("0000:00:02.0")));
        CHECK(address_equal(list[3], address("0000:01:00.0")));
}

static void test_device(void) {
        DeviceFacts f;

        CHECK(kernel->ops->read_device(kernel, address("0000:01:00.0"), &f) == 0);
        CHECK(f.vendor == 0x8086 && f.device == 0x10d3 && f.subsystem_vendor == 0x1af4 && f.subsystem_device == 0x1100);
        CHECK(f.class == 0x010802 && streq(f.modalias, "pci:v00008086d000010D3"));
        CHECK(streq(f.driver, "nvme") && f.driver_kind == DRIVER_HOST && streq(f.driver_override, ""));
        CHECK(f.group == 7 && !f.on_root_bus && f.numa_node == -1 && streq(f.reset_methods, "flr bus"));
        CHECK(!f.boot_display && streq(f.cdev, "") && f.cdev_number == 0);
        CHECK(!f.virtual_function && f.virtual_functions == 0 && f.virtual_functions_max == 0);

        CHECK(kernel->ops->read_device(kernel, address("0000:00:01.0"), &f) == 0);
        CHECK(f.driver_kind == DRIVER_NEIGHBOUR && facts_is_bridge(&f) && f.on_root_bus);

        CHECK(kernel->ops->read_device(kernel, address("0000:00:02.0"), &f) == 0);
        CHECK(f.driver_kind == DRIVER_NONE && f.group == -1 && f.on_root_bus && f.boot_display && f.numa_node == 1);
        CHECK(f.virtual_functions == 2 && f.virtual_functions_max == 7 && streq(f.reset_methods, ""));

        CHECK(kernel->ops->read_device(kernel, address("0000:02:00.0"), &f) == -ENODEV);
}

static void test_configuration_space(void) {
        Address nvme = address("0000:01:00.0");
        DeviceFacts f;
        uint8_t bits;

        CHECK(kernel->ops->read_pasid_bits(kernel, nvme, &bits) == 0 && bits == 20);
        CHECK(kernel->ops->read_pasid_bits(kernel, address("0000:00:02.0"), &bits) == 0 &&
              bits == 0); /* a list with a loop */
        CHECK(kernel->ops->read_pasid_bits(kernel, address("0000:00:01.0"), &bits) == 0 && bits == 0);
        CHECK(kernel->ops->read_pasid_bits(kernel, address("0000:05:00.0"), &bits) == -ENODEV);

        /* It is read for nothing else: the loop looks at devices, and must not wait for them. */
        CHECK(unlink(below(NVME "config")) == 0);
        put_directory(NVME "config");
        CHECK(kernel->ops->read_pasid_bits(kernel, nvme, &bits) == -EISDIR);
        CHECK(kernel->ops->read_device(kernel, nvme, &f) == 0);
}

static void test_odd_overrides(void) {
        const char *odd[] = {
                "a-name-that-is-longer-than-that-of-any-driver-or-module-which-the-kernel-can-have",
                "../vfio-pci",
                "vfio\tpci",
        };
        Address nvme = address("0000:01:00.0");
        DeviceFacts f;

        for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
                put(NVME "driver_override", odd[i]);
                CHECK(kernel->ops->read_device(kernel, nvme, &f) == 0);
                CHECK(f.odd_override && streq(f.driver_override, "") && streq(f.driver, "nvme"));
        }
        put(NVME "driver_override", "(null)\n");
        CHECK(kernel->ops->read_device(kernel, nvme, &f) == 0);
        CHECK(!f.odd_override && streq(f.driver_override, ""));
}

static void test_vfio_device(void) {
        Address a = address("0000:00:02.1");
        DeviceFacts f;

        /* A VFIO device without a character device, as on a kernel without CONFIG_VFIO_DEVICE_CDEV. */
        CHECK(kernel->ops->read_device(kernel, a, &f) == 0);
        CHECK(f.driver_kind == DRIVER_VFIO && streq(f.cdev, "") && streq(f.driver_override, "vfio-pci"));
        CHECK(f.virtual_function && address_equal(f.physical_function, address("0000:00:02.0")));
        CHECK(kernel->ops->open_cdev(kernel, a) == -ENOENT);

        put(VF "vfio-dev/vfio3/dev", "511:3\n");
        CHECK(kernel->ops->read_device(kernel, a, &f) == 0);
        CHECK(streq(f.cdev, "vfio3") && f.cdev_number == makedev(511, 3));
        CHECK(kernel->ops->open_cdev(kernel, a) == -ENOENT);

        /* The node must be the device that sysfs shows. */
        put("dev/vfio/devices/vfio3", "");
        CHECK(kernel->ops->open_cdev(kernel, a) == -ESTALE);
        CHECK(unlink(below("dev/vfio/devices/vfio3")) == 0);
        put_link("dev/vfio/devices/vfio3", "/dev/null");
        CHECK(kernel->ops->open_cdev(kernel, a) == -ELOOP);

        put("sys/bus/pci/drivers/vfio-pci/bind", "");
        CHECK(kernel->ops->bind(kernel, a, "vfio-pci") == 0); /* it has it already */

        char from[512];
        (void) snprintf(from, sizeof(from), "%s", below(VF "vfio-dev/vfio3"));
        CHECK(rename(from, below(VF "vfio-dev/noiommu-vfio3")) == 0);
        CHECK(kernel->ops->read_device(kernel, a, &f) == 0);
        CHECK(f.driver_kind == DRIVER_VFIO && streq(f.cdev, ""));
        CHECK(kernel->ops->is_registered(kernel, a) == 1);

        /* While it is unregistered its directory outlives its attributes. */
        CHECK(unlink(below(VF "vfio-dev/noiommu-vfio3/uevent")) == 0);
        CHECK(kernel->ops->is_registered(kernel, a) == 0);
}

/* A node that is what it should be: /dev/null's number, which needs no privilege to open but one to make. */
static void test_node(void) {
        Address a = address("0000:00:02.0");
        int fd, inotify, wd;

        put(NIC "vfio-dev/vfio9/uevent", "");
        put(NIC "vfio-dev/vfio9/dev", "1:3\n");
        make_parents("dev/vfio/devices/vfio9");
        if (mknod(below("dev/vfio/devices/vfio9"), S_IFCHR | 0600, makedev(1, 3)) < 0)
                return;
        fd = kernel->ops->open_cdev(kernel, a);
        if (fd == -EACCES) /* a file system without device nodes */
                return;
        CHECK(fd >= 0);
        inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        CHECK(inotify >= 0);
        wd = kernel->ops->watch_cdev(kernel, a, inotify);
        CHECK(wd >= 0);
        kernel->ops->close_fd(kernel, fd);

        struct inotify_event event = {};
        CHECK(read(inotify, &event, sizeof(event)) == sizeof(event));
        CHECK(event.wd == wd && event.mask == IN_CLOSE_WRITE);
        close(inotify);
}

static void test_group(void) {
        GroupFacts g;

        CHECK(kernel->ops->read_group(kernel, 7, &g) == 0);
        CHECK(g.id == 7 && streq(g.type, "DMA-FQ") && !g.noiommu && g.n_regions == 2);
        CHECK(g.regions[0].start == 0x1000 && g.regions[0].end == 0x1fff);
        CHECK(streq(g.regions[0].type, "direct-relaxable") && streq(g.regions[1].type, "msi"));
        CHECK(kernel->ops->read_group(kernel, 8, &g) == 0);
        CHECK(g.noiommu && g.n_regions == 0);
        CHECK(kernel->ops->read_group(kernel, 9, &g) == -ENODEV);
}

static void test_platform(void) {
        Platform p;

        CHECK(kernel->ops->read_platform(kernel, &p) == 0);
        CHECK(p.iommu && !p.iommufd && !p.cdev && !p.container);
        put("dev/iommu", "");
        put("dev/vfio/vfio", "");
        put("proc/devices", "Character devices:\n  1 mem\n236 vfio-dev\n\nBlock devices:\n  8 sd\n");
        CHECK(kernel->ops->read_platform(kernel, &p) == 0);
        CHECK(p.iommufd && p.cdev && p.container);
}

static void test_interrupts(void) {
        Platform p;

        CHECK(kernel->ops->read_platform(kernel, &p) == 0);
        CHECK(p.remapping == REMAPPING_UNKNOWN && !p.unsafe_interrupts);
        put("sys/kernel/irq/0/chip_name", "\n");
        put("sys/kernel/irq/2/chip_name", "IO-APIC\n");
        put("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n");
        CHECK(kernel->ops->read_platform(kernel, &p) == 0);
        CHECK(p.remapping == REMAPPING_OFF && !p.unsafe_interrupts);
        put("sys/kernel/irq/24/chip_name", "IR-PCI-MSIX-0000:01:00.0\n");
        put("sys/module/iommufd/parameters/allow_unsafe_interrupts", "Y\n");
        CHECK(kernel->ops->read_platform(kernel, &p) == 0);
        CHECK(p.remapping == REMAPPING_ON && p.unsafe_interrupts);
}

static void test_changes(void) {
        Address nvme = address("0000:01:00.0"), nic = address("0000:00:02.0");
        char text[64], driver[NAME_MAX_LEN];

        CHECK(kernel->ops->set_override(kernel, nvme, "vfio-pci") == 0);
        get(NVME "driver_override", text, sizeof(text));
        CHECK(strncmp(text, "vfio-pci", 8) == 0);
        CHECK(kernel->ops->set_override(kernel, nvme, "") == 0);
        get(NVME "driver_override", text, sizeof(text));
        CHECK(text[0] == '\n');
        CHECK(kernel->ops->set_override(kernel, nvme, "../x") == -EINVAL);

        /* Just after boot a driver can be there without its file. */
        put_directory("sys/bus/pci/drivers/nvme");
        CHECK(kernel->ops->unbind(kernel, nvme) == -ENOENT);
        put("sys/bus/pci/drivers/nvme/unbind", "");
        CHECK(kernel->ops->unbind(kernel, nvme) == 0);
        get("sys/bus/pci/drivers/nvme/unbind", text, sizeof(text));
        CHECK(streq(text, "0000:01:00.0"));
        CHECK(kernel->ops->unbind(kernel, nic) == 0);
        CHECK(kernel->ops->unbind(kernel, address("0000:05:00.0")) == -ENODEV);

        CHECK(kernel->ops->bind(kernel, nic, "none-such") == -ENOENT);
        CHECK(kernel->ops->bind(kernel, nic, "vfio-pci") == -ENODEV); /* written, but the link says no */

        put("sys/bus/pci/drivers_probe", "");
        CHECK(kernel->ops->probe(kernel, nic) == 0);

        CHECK(kernel->ops->reset(kernel, nvme) == 0);
        CHECK(kernel->ops->reset_bus(kernel, nvme) == 0);
        get(ROOT_BUS "0000:00:01.0/reset_subordinate", text, sizeof(text));
        CHECK(streq(text, "1"));
        CHECK(kernel->ops->reset(kernel, nic) == -ENOTTY);
        CHECK(kernel->ops->reset_bus(kernel, nic) == -ENOTTY);

        CHECK(kernel->ops->load_module(kernel, "vfio_pci", driver) == -ENOENT);
        put_directory("sys/module/vfio_pci/drivers/pci:aaa");
        put_directory("sys/module/vfio_pci/drivers/pci:vfio-pci");
        put_directory("sys/module/vfio_pci/drivers/platform:vfio");
        CHECK(kernel->ops->load_module(kernel, "vfio-pci", driver) == 0);
        CHECK(streq(driver, "vfio-pci"));
}

static void test_virtual_functions(void) {
        Address pf = address("0000:00:02.0"), vf;
        char text[64];

        CHECK(kernel->ops->virtual_function(kernel, pf, 1, &vf) == 0 && address_equal(vf, address("0000:00:02.2")));
        CHECK(kernel->ops->virtual_function(kernel, pf, 2, &vf) == -ENOENT);
        CHECK(kernel->ops->virtual_function(kernel, address("0000:02:00.0"), 0, &vf) == -ENODEV);

        put(NIC "sriov_drivers_autoprobe", "1\n");
        CHECK(kernel->ops->set_autoprobe(kernel, pf, false) == 1);
        get(NIC "sriov_drivers_autoprobe", text, sizeof(text));
        CHECK(text[0] == '0');
        put(NIC "sriov_drivers_autoprobe", "0\n");
        CHECK(kernel->ops->set_autoprobe(kernel, pf, true) == 0);

        put(NIC "sriov_numvfs", "2\n");
        CHECK(kernel->ops->set_virtual_functions(kernel, pf, 0) == 0);
        get(NIC "sriov_numvfs", text, sizeof(text));
        CHECK(text[0] == '0');
}

int main(void) {
        tree_begin();
        put_tree();

        test_list();
        test_device();
        test_configuration_space();
        test_odd_overrides();
        test_vfio_device();
        test_node();
        test_group();
        test_platform();
        test_interrupts();
        test_changes();
        test_virtual_functions();
        tree_end();

        CHECK(kernel_linux_new("/nonexistent", &kernel) == -ENOENT);
        CHECK(!kernel_linux_free(NULL));
        return 0;
}
