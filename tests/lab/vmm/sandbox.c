/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/iommufd.h>
#include <linux/seccomp.h>
#include <linux/vfio.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "sandbox.h"

#ifndef __x86_64__
#error "the filter below knows the system calls of x86-64 only"
#endif

/* The kernel takes an ioctl's command as 32 bits and drops the upper half of its register (fs/ioctl.c), so only the lower half may
 * be looked at: comparing all 64 bits would let a forbidden command through that has any bit set above. */
#define COMMAND_OFFSET (offsetof(struct seccomp_data, args[1]) + (__BYTE_ORDER == __LITTLE_ENDIAN ? 0 : 4))

#define LOAD(offset)  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset))
#define RETURN(what)  BPF_STMT(BPF_RET | BPF_K, (what))
#define ALLOW(value)  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, 1), RETURN(SECCOMP_RET_ALLOW)
#define EXPECT(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 1, 0), RETURN(SECCOMP_RET_KILL_PROCESS)

static const struct sock_filter filter[] = {
        /* Numbers mean other calls on another architecture. Those of x32 are not among the ones below. */
        LOAD(offsetof(struct seccomp_data, arch)),
        EXPECT(AUDIT_ARCH_X86_64),

        LOAD(offsetof(struct seccomp_data, nr)),
        ALLOW(__NR_read),
        ALLOW(__NR_write),
        ALLOW(__NR_pread64),
        ALLOW(__NR_pwrite64),
        ALLOW(__NR_poll),
        ALLOW(__NR_mmap),
        ALLOW(__NR_munmap),
        ALLOW(__NR_brk),
        ALLOW(__NR_fstat),
        ALLOW(__NR_newfstatat),
        ALLOW(__NR_eventfd2),
        ALLOW(__NR_getrandom),
        ALLOW(__NR_close),
        ALLOW(__NR_exit_group),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 1, 0),
        RETURN(SECCOMP_RET_ERRNO | EPERM),

        LOAD(COMMAND_OFFSET),
        ALLOW(VFIO_DEVICE_GET_REGION_INFO),
        ALLOW(VFIO_DEVICE_SET_IRQS),
        ALLOW(IOMMU_IOAS_MAP),
        ALLOW(IOMMU_IOAS_UNMAP),
        RETURN(SECCOMP_RET_ERRNO | EPERM),
};

int sandbox_enter(void) {
        const struct sock_fprog program = { .len = sizeof(filter) / sizeof(*filter),
                                            .filter = (struct sock_filter *) filter };

        /* Without privilege a filter is taken only from who can gain none by exec. */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}
