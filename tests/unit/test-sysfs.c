/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kernel/kernel.h"
#if __has_include("tests/test.h")
#include "tests/test.h"
#endif

#ifndef CHECK
#define CHECK(condition)                                                                                               \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                        \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)
#endif

/* The Linux implementation of KernelOps against a tree of files that looks like /sys, /proc and /dev. What only a
 * kernel can do (binding, iommufd) is in the lab's tests. */

static char root[] = "/tmp/test-sysfs.XXXXXX";
static Kernel *kernel;

static const char *below(const char *path) {
        static char full[512];

        (void) snprintf(full, sizeof(full), "%s/%s", root, path);
        return full;
}

static void make_parents(const char *path) {
        char full[512];

        (void) snprintf(full, sizeof(full), "%s", below(path));
        for (char *p = strchr(full + 1, '/'); p; p = strchr(p + 1, '/')) {
                *p = '\0';
                CHECK(mkdir(full, 0755) == 0 || errno == EEXIST);
                *p = '/';
        }
}

static void put_bytes(const char *path, const void *content, size_t size) {
        FILE *f;

        make_parents(path);
        f = fopen(below(path), "we");
        CHECK(f);
        CHECK(fwrite(content, 1, size, f) == size);
        CHECK(fclose(f) == 0);
}

static void put(const char *path, const char *content) {
        put_bytes(path, content, strlen(content));
}

static void put_directory(const char *path) {
        make_parents(path);
        CHECK(mkdir(below(path), 0755) == 0 || errno == EEXIST);
}

static void put_link(const char *path, const char *target) {
        make_parents(path);
        CHECK(symlink(target, below(path)) == 0);
}

static void get(const char *path, char *buf, size_t size) {
        FILE *f = fopen(below(path), "re");
        size_t n;

        CHECK(f);
        n = fread(buf, 1, size - 1, f);
        buf[n] = '\0';
        CHECK(fclose(f) == 0);
}

static Address address(const char *text) {
        Address a = {};

        CHECK(address_parse(text, &a) == 0);
        return a;
}

#define ROOT_BUS "sys/devices/pci0000:00/"
#define NVME     ROOT_BUS "0000:00:01.0/0000:01:00.0/"
#define NIC      ROOT_BUS "0000:00:02.0/"
#define VF       ROOT_BUS "0000:00:02.1/"

static void put_device(const char *directory, const char *class) {
        const char *slash = strchr(directory, '/');
        char path[256], target[300], name[32] = "";
        size_t n = strlen(directory) - 1;

        while (directory[n - 1] != '/')
                n--;
        (void) snprintf(name, sizeof(name), "%.*s", (int) strcspn(directory + n, "/"), directory + n);
        (void) snprintf(path, sizeof(path), "sys/bus/pci/devices/%s", name);
        (void) snprintf(target, sizeof(target), "../../../%.*s", (int) strlen(slash + 1) - 1, slash + 1);
        put_link(path, target);

        const char *files[][2] = {
                { "vendor", "0x8086\n" },
                { "device", "0x10d3\n" },
                { "subsystem_vendor", "0x1af4\n" },
                { "subsystem_device", "0x1100\n" },
                { "class", class },
                { "modalias", "pci:v00008086d000010D3\n" },
                { "driver_override", "(null)\n" },
        };
        for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
                (void) snprintf(path, sizeof(path), "%s%s", directory, files[i][0]);
                put(path, files[i][1]);
        }
}

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
        put_directory(VF "vfio-dev/vfio3");

        put("sys/kernel/iommu_groups/7/type", "DMA-FQ\n");
        put("sys/kernel/iommu_groups/7/reserved_regions",
            "0x0000000000001000 0x0000000000001fff direct-relaxable\n0x00000000fee00000 0x00000000feefffff msi\n");
        put("sys/kernel/iommu_groups/8/type", "blocked\n");
        put("sys/kernel/iommu_groups/8/name", "vfio-noiommu\n");
        put("sys/kernel/iommu_groups/8/reserved_regions", "");
        put("proc/self/mountinfo", "36 35 8:1 / / rw - ext4 /dev/sda1 rw\n");
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
        CHECK(f.pasid_bits == 20 && !f.boot_display && streq(f.cdev, "") && f.cdev_number == 0);
        CHECK(!f.virtual_function && f.virtual_functions == 0 && f.virtual_functions_max == 0);

        CHECK(kernel->ops->read_device(kernel, address("0000:00:01.0"), &f) == 0);
        CHECK(f.driver_kind == DRIVER_NEIGHBOUR && facts_is_bridge(&f) && f.on_root_bus && f.pasid_bits == 0);

        CHECK(kernel->ops->read_device(kernel, address("0000:00:02.0"), &f) == 0);
        CHECK(f.driver_kind == DRIVER_NONE && f.group == -1 && f.on_root_bus && f.boot_display && f.numa_node == 1);
        CHECK(f.virtual_functions == 2 && f.virtual_functions_max == 7 && streq(f.reset_methods, ""));
        CHECK(f.pasid_bits == 0);

        CHECK(kernel->ops->read_device(kernel, address("0000:02:00.0"), &f) == -ENODEV);
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
}

/* A node that is what it should be: /dev/null's number, which needs no privilege to open but one to make. */
static void test_node(void) {
        Address a = address("0000:00:02.0");
        int fd, inotify, wd;

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

static bool has_use(const HostUses *u, const char *kind, const char *text) {
        for (size_t i = 0; i < u->n; i++)
                if (streq(u->uses[i].kind, kind) && streq(u->uses[i].text, text))
                        return true;
        fprintf(stderr, "no use \"%s\", \"%s\" among:\n", kind, text);
        for (size_t i = 0; i < u->n; i++)
                fprintf(stderr, "  %s: %s\n", u->uses[i].kind, u->uses[i].text);
        return false;
}

static void put_disk(void) {
        put_link(NVME "nvme/nvme0/nvme0n1/subsystem", "../../../../../../../class/block");
        put(NVME "nvme/nvme0/nvme0n1/dev", "259:0\n");
        put(NVME "nvme/nvme0/nvme0n1/nvme0n1p1/dev", "259:1\n");
        put(NVME "nvme/nvme0/nvme0n1/nvme0n1p1/partition", "1\n");
        put(NVME "nvme/nvme0/nvme0n1/nvme0n1p2/dev", "259:2\n");
        put(NVME "nvme/nvme0/nvme0n1/nvme0n1p2/partition", "2\n");
        put_link(NVME "nvme/nvme0/nvme0n1/nvme0n1p2/holders/dm-0", "../../x");
        put("sys/class/block/dm-0/dev", "253:0\n");
        put("sys/class/block/dm-0/dm/name", "vg0-root\n");
        put("sys/class/block/dm-0/dm/uuid", "LVM-abcdef\n");
        put_link("sys/class/block/dm-0/holders/md127", "../../x");
        put("sys/class/block/md127/dev", "9:127\n");
        put_directory("sys/class/block/md127/md");
        put_link("sys/fs/btrfs/01234567-89ab/devices/nvme0n1p1", "../x");

        /* The multipath form: the controller has a hidden disk. */
        put_link(NVME "nvme/nvme1/nvme1c0n2/subsystem", "../../../../../../../class/block");
        put("sys/class/block/nvme1n2/dev", "259:8\n");

        put("proc/swaps", "Filename Type Size Used Priority\n");
        put("proc/self/mountinfo", "36 35 8:1 / / rw - ext4 /dev/sda1 rw\n"
                                   "37 36 259:1 / /srv/a\\040b\\011c rw shared:2 - ext4 /dev/nvme0n1p1 rw\n"
                                   "38 36 9:127 / /home rw - xfs /dev/md127 rw\n"
                                   "39 36 259:8 / /data rw - xfs /dev/nvme1n2 rw\n"
                                   "40 36 0:55 / /net rw - nfs server:/x rw\n");
}

static void test_disk_uses(void) {
        HostUses u;

        CHECK(kernel->ops->read_host_uses(kernel, address("0000:01:00.0"), &u) == 0);
        CHECK(u.n == 0 && !u.more);
        put_disk();
        CHECK(kernel->ops->read_host_uses(kernel, address("0000:01:00.0"), &u) == 0);
        CHECK(has_use(&u, "disk", "nvme0n1p1 is mounted on /srv/a b?c"));
        CHECK(has_use(&u, "disk", "nvme0n1p2 is part of the LVM volume vg0-root (dm-0)"));
        CHECK(has_use(&u, "disk", "dm-0 is part of the RAID array md127"));
        CHECK(has_use(&u, "disk", "md127 is mounted on /home"));
        CHECK(has_use(&u, "disk", "nvme1n2 is mounted on /data"));
        CHECK(has_use(&u, "disk", "nvme0n1p1 is part of the mounted Btrfs file system 01234567-89ab"));
        CHECK(u.n == 6 && !u.more);

        /* The bridge above is not what is mounted. */
        CHECK(kernel->ops->read_host_uses(kernel, address("0000:00:01.0"), &u) == 0);
        CHECK(u.n == 0);
}

static void test_network_uses(void) {
        HostUses u;

        put_link(NIC "net/eth7/subsystem", "../../../../../class/net");
        put_link(NIC "net/eth7/master", "../x/br0");
        put_link(NIC "net/eth7/upper_br0", "../x/br0");
        put_link(NIC "net/eth7/upper_eth7.5", "../x/eth7.5");
        put("proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
                              "eth7\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
                              "eth7\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n");
        CHECK(kernel->ops->read_host_uses(kernel, address("0000:00:02.0"), &u) == 0);
        CHECK(has_use(&u, "network", "eth7 is a port of br0"));
        CHECK(has_use(&u, "network", "eth7 carries the interface eth7.5"));
        CHECK(has_use(&u, "network", "eth7 carries the default route"));
        CHECK(has_use(&u, "console", "it is the display that the firmware started with"));
        CHECK(has_use(&u, "functions", "2 of its virtual functions are enabled"));
        CHECK(u.n == 5);

        put_directory(VF "net");
        CHECK(kernel->ops->read_host_uses(kernel, address("0000:00:02.1"), &u) == 0);
        CHECK(has_use(&u, "network", "its network interface is in another network namespace"));
}

static void test_holders(void) {
        Holders h;
        HostUses u;

        put("proc/4711/status", "Name:\tqemu\nUid:\t1000\t1001\t1000\t1000\n");
        put("proc/4711/comm", "qemu-system\n");
        put_directory("proc/4711/fd");
        put_directory("proc/4711/fdinfo");
        put_directory("proc/4712"); /* already gone */
        put_link("proc/4711/fd/5", "anon_inode:[vfio-device]");
        put("proc/4711/fdinfo/5", "pos:\t0\nflags:\t02\nvfio-device-syspath: /sys/devices/pci0000:00/0000:00:02.1\n");
        put_link("proc/4711/fd/6", "/dev/null");

        CHECK(kernel->ops->find_holders(kernel, address("0000:00:02.1"), &h) == 0);
        CHECK(h.n == 1 && !h.more && h.holders[0].pid == 4711 && h.holders[0].uid == 1001);
        CHECK(streq(h.holders[0].name, "qemu-system"));
        CHECK(kernel->ops->find_holders(kernel, address("0000:01:00.0"), &h) == 0);
        CHECK(h.n == 0);
        CHECK(kernel->ops->find_holders(kernel, address("0000:05:00.0"), &h) == -ENODEV);

        /* A character device of the NVMe with /dev/null's number is open in that process. */
        put_link(NVME "nvme/nvme0/subsystem", "../../../../../../class/nvme");
        put(NVME "nvme/nvme0/dev", "1:3\n");
        CHECK(kernel->ops->read_host_uses(kernel, address("0000:01:00.0"), &u) == 0);
        CHECK(has_use(&u, "open", "nvme0 is held open by qemu-system (pid 4711)"));
}

int main(void) {
        CHECK(mkdtemp(root));
        put_tree();
        CHECK(kernel_linux_new(root, &kernel) == 0);

        test_list();
        test_device();
        test_vfio_device();
        test_node();
        test_group();
        test_platform();
        test_changes();
        test_disk_uses();
        test_network_uses();
        test_holders();

        kernel = kernel_linux_free(kernel);
        CHECK(kernel_linux_new("/nonexistent", &kernel) == -ENOENT);
        CHECK(!kernel_linux_free(NULL));

        char command[64];
        (void) snprintf(command, sizeof(command), "rm -rf %s", root);
        CHECK(system(command) == 0);
        return 0;
}
