/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tree.h"

/* What the host uses a device for, and which processes hold it. */

static void put_tree(void) {
        put_device(ROOT_BUS "0000:00:01.0/", "0x060400\n");
        put_device(NVME, "0x010802\n");
        put_device(NIC, "0x020000\n");
        put_device(VF, "0x020000\n");
        put_link(NIC "virtfn0", "../0000:00:02.1");
        put_link(NIC "virtfn1", "../0000:00:02.2");
        put(NIC "sriov_totalvfs", "7\n");
        put(NIC "boot_vga", "1\n");
        put("proc/1/mountinfo", "36 35 8:1 / / rw - ext4 /dev/sda1 rw\n");
        put_directory("dev");
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
        put("proc/1/mountinfo", "36 35 8:1 / / rw - ext4 /dev/sda1 rw\n"
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
        struct stat st;
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
        CHECK(has_use(&u, "network", "a network interface of it is in another network namespace"));

        /* One of two is hidden, here by its name: only the directory's links tell, where the file system counts them. */
        put_directory(NIC "net/.eth8");
        CHECK(stat(below(NIC "net"), &st) == 0);
        CHECK(kernel->ops->read_host_uses(kernel, address("0000:00:02.0"), &u) == 0);
        CHECK(st.st_nlink == 1 || has_use(&u, "network", "a network interface of it is in another network namespace"));
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

#define THREADED "proc/2000000001/" /* a number that no process has */

/* What a process is like is its user's choice. None may stop the search, nor hide by it. */
static void test_odd_holders(void) {
        static char text[64 * 1024];
        Address a = address("0000:00:02.1");
        Holders h;
        FILE *f;

        put("proc/4713/fd", "not a directory");
        put("proc/4714/fd/3", "not a link");
        put("proc/4714/task", "not a directory");
        CHECK(kernel->ops->find_holders(kernel, a, &h) == 0);
        CHECK(h.n == 1 && h.holders[0].pid == 4711);

        /* Before the driver's own lines the kernel shows the locks. */
        f = fmemopen(text, sizeof(text), "w");
        CHECK(f);
        for (unsigned i = 0; i < 1000; i++)
                fprintf(f, "lock:\t%u: POSIX  ADVISORY  WRITE 4711 00:05:12 %u %u\n", i, i, i);
        fputs("vfio-device-syspath: /sys/devices/pci0000:00/0000:00:02.1\n", f);
        CHECK(fclose(f) == 0);
        put("proc/4711/fdinfo/5", text);
        CHECK(kernel->ops->find_holders(kernel, a, &h) == 0);
        CHECK(h.n == 1 && h.holders[0].pid == 4711);

        /* Without /proc/PID/fd/5 the only one is a thread's; and the user is in many groups. */
        CHECK(unlink(below("proc/4711/fd/5")) == 0);
        f = fmemopen(text, sizeof(text), "w");
        CHECK(f);
        fputs("Name:\tqemu\nUid:\t1000\t1002\t1000\t1000\nGroups:\t", f);
        for (unsigned i = 0; i < 5000; i++)
                fprintf(f, "%u ", i);
        CHECK(fclose(f) == 0);
        put(THREADED "status", text);
        put(THREADED "comm", "qemu-system\n");
        put_directory(THREADED "fd");
        put_directory(THREADED "task/2000000001");
        put_link(THREADED "task/2000000002/fd/7", "anon_inode:[vfio-device]");
        put(THREADED "task/2000000002/fdinfo/7", "vfio-device-syspath: /sys/devices/pci0000:00/0000:00:02.1\n");
        CHECK(kernel->ops->find_holders(kernel, a, &h) == 0);
        CHECK(h.n == 1 && h.holders[0].pid == 2000000001 && h.holders[0].uid == 1002);
}

int main(void) {
        tree_begin();
        put_tree();

        test_disk_uses();
        test_network_uses();
        test_holders();
        test_odd_holders();
        tree_end();
        return 0;
}
