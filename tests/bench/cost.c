/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* cost DEVICE-FD IOMMUFD: what it takes to attach a PASID and to detach it, and to do an ioctl that has nothing to do with either, in
 * nanoseconds: the medians of many. The device is one that is not bound yet. */

#define FLAG_PASID 1
#define HWPT_PASID (1 << 3)
#define TIMES      2001

static void must(int r, const char *what) {
        if (r >= 0)
                return;
        perror(what);
        exit(EXIT_FAILURE);
}

static uint64_t now(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return (x > y) - (x < y);
}

static uint64_t median(uint64_t times[static TIMES]) {
        qsort(times, TIMES, sizeof(times[0]), compare);
        return times[TIMES / 2];
}

static uint32_t make_table(int device, int iommufd) {
        struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };
        struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
        struct iommu_hwpt_alloc hwpt = { .size = sizeof(hwpt), .flags = HWPT_PASID };

        must(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind), "bind");
        must(ioctl(iommufd, IOMMU_IOAS_ALLOC, &ioas), "make an address space");
        hwpt.dev_id = bind.out_devid;
        hwpt.pt_id = ioas.out_ioas_id;
        must(ioctl(iommufd, IOMMU_HWPT_ALLOC, &hwpt), "make a page table");
        return hwpt.out_hwpt_id;
}

int main(int argc, char *argv[]) {
        static uint64_t attaching[TIMES], detaching[TIMES], unrelated[TIMES];
        uint32_t attach[] = { 16, FLAG_PASID, 0, 1 }, detach[] = { 12, FLAG_PASID, 1 };
        int device, ends[2], waiting;

        if (argc != 3)
                return 2;
        device = atoi(argv[1]);
        attach[2] = make_table(device, atoi(argv[2]));
        must(pipe(ends), "make a pipe");
        for (int i = 0; i < TIMES; i++) {
                uint64_t start = now(), attached, detached;

                must(ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, attach), "attach");
                attached = now();
                must(ioctl(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, detach), "detach");
                detached = now();
                must(ioctl(ends[0], FIONREAD, &waiting), "ask a pipe");
                unrelated[i] = now() - detached;
                attaching[i] = attached - start;
                detaching[i] = detached - attached;
        }
        printf("%llu %llu %llu\n", (unsigned long long) median(attaching), (unsigned long long) median(detaching),
               (unsigned long long) median(unrelated));
        return 0;
}
