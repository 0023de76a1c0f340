/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "files.h"
#include "fuzz.h"
#include "kernel/proc.h"
#include "util/text.h"

/* What /proc tells of a process, whose name, cgroup and descriptors are its user's choice, and of what the host uses. */

#define PROCESS 2000000001 /* a number that no process has */
#define PROC    "proc/2000000001/"
#define CARD    ROOT_BUS "0000:01:00.0/"

static const FuzzFile files[] = {
        { "status", PROC "status", false },
        { "comm", PROC "comm", false },
        { "cgroup", PROC "cgroup", false },
        { "fd", PROC "fd/5", true },
        { "fdinfo", PROC "fdinfo/5", false },
        { "thread-fd", PROC "task/2000000002/fd/7", true },
        { "thread-fdinfo", PROC "task/2000000002/fdinfo/7", false },
        { "mountinfo", "proc/self/mountinfo", false },
        { "swaps", "proc/swaps", false },
        { "route", "proc/net/route", false },
        { "ipv6_route", "proc/net/ipv6_route", false },
        { "disk", CARD "block/sda/dev", false },
        { "partition", CARD "block/sda/sda1/dev", false },
        { "dm-name", "sys/class/block/dm-0/dm/name", false },
        { "dm-uuid", "sys/class/block/dm-0/dm/uuid", false },
};

static void begin(void) {
        tree_begin();
        put_device(CARD, "0x010802\n");
        put_link(CARD "block/sda/subsystem", "../../../../../../class/block");
        put(CARD "block/sda/sda1/partition", "1\n");
        put_link(CARD "block/sda/sda1/holders/dm-0", "../../x");
        put("sys/class/block/dm-0/dev", "253:0\n");
        put_link(CARD "net/eth7/subsystem", "../../../../../../class/net");
        put_directory("dev");
        put_directory(PROC "task/2000000001");
        for (size_t i = 0; i < ARRAY_SIZE(files); i++)
                make_parents(files[i].path);
        (void) atexit(tree_end);
}

static void check_process(int root_fd) {
        char cgroup[CGROUP_PATH_MAX];
        Holder h;

        if (proc_read_process(root_fd, PROCESS, &h) >= 0)
                FUZZ_ASSERT(h.pid == PROCESS && (isempty(h.name) || text_is_printable(h.name)));
        if (proc_read_cgroup(root_fd, PROCESS, cgroup, sizeof(cgroup)) >= 0)
                FUZZ_ASSERT(isempty(cgroup) || (cgroup[0] == '/' && text_is_printable(cgroup)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static int root_fd = -EBADF;
        Address a = { .bus = 1 };
        Holders h;
        HostUses u;

        if (!kernel) {
                begin();
                root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        }
        fuzz_put_files(files, ARRAY_SIZE(files), data, size);
        check_process(root_fd);
        if (kernel->ops->find_holders(kernel, a, &h) >= 0)
                for (size_t i = 0; i < h.n; i++)
                        FUZZ_ASSERT(h.holders[i].pid == PROCESS);
        if (kernel->ops->read_host_uses(kernel, a, &u) >= 0)
                for (size_t i = 0; i < u.n; i++)
                        FUZZ_ASSERT(u.n <= HOST_USES_MAX && text_is_printable(u.uses[i].text));
        return 0;
}
