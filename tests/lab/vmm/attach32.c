/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* attach32 DEVICE-FD TABLE PASID: attaches the PASID. The status is the errno. For 32 bits and without a C library. */

#define ATTACH_PT  (';' << 8 | 119) /* VFIO_DEVICE_ATTACH_IOMMUFD_PT */
#define FLAG_PASID 1
#define SYS_EXIT   1
#define SYS_IOCTL  54

static long call(long number, long a, long b, long c) {
        long r;

        __asm__ volatile("int $0x80" : "=a"(r) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
        return r;
}

static unsigned number_of(const char *text) {
        unsigned n = 0;

        while (*text)
                n = n * 10 + (unsigned) (*text++ - '0');
        return n;
}

/* The stack as a program finds it: argc, then argv. */
__attribute__((noreturn, used)) void run(char **stack) {
        unsigned arguments[4] = { sizeof(arguments), FLAG_PASID, number_of(stack[3]), number_of(stack[4]) };
        long r = call(SYS_IOCTL, (long) number_of(stack[2]), ATTACH_PT, (long) arguments);

        for (;;)
                (void) call(SYS_EXIT, -r, 0, 0);
}

__asm__(".globl _start\n"
        "_start:\n"
        "        mov %esp, %eax\n"
        "        and $-16, %esp\n"
        "        sub $12, %esp\n"
        "        push %eax\n"
        "        call run\n");
