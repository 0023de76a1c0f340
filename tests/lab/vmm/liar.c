/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* liar DEVICE-FD TABLE PASID TIMES: attaches to the page table again and again, while another thread sets and clears the flag that says
 * that it is to a PASID. A PASID that was attached is detached again. Ends with 0 if nobody has killed it. */

#define FLAG_PASID 1

typedef struct Arguments {
        uint32_t argsz, flags, pt, pasid;
} Arguments;

static Arguments shared;

static void *flip(void *unused) {
        (void) unused;
        for (;;)
                __atomic_fetch_xor(&shared.flags, FLAG_PASID, __ATOMIC_RELAXED);
        return NULL;
}

int main(int argc, char *argv[]) {
        uint32_t detach[] = { 12, FLAG_PASID, 0 };
        pthread_t thread;
        int fd, times;

        if (argc != 5)
                return 2;
        fd = atoi(argv[1]);
        times = atoi(argv[4]);
        detach[2] = (uint32_t) atoi(argv[3]);
        shared = (Arguments) { .argsz = sizeof(shared), .pt = (uint32_t) atoi(argv[2]), .pasid = detach[2] };
        if (pthread_create(&thread, NULL, flip, NULL) != 0)
                return 2;
        for (int i = 0; i < times; i++) {
                if (ioctl(fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &shared) < 0 && errno != EDQUOT && errno != EBUSY) {
                        perror("liar");
                        return 2;
                }
                (void) ioctl(fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, detach);
        }
        return 0;
}
