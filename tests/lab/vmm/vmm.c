/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* vmm IOMMUFD IOAS DEVICE: what a VMM does with a device that comes "attached", without the rights that it would need to make it so.
 * Drives QEMU's educational device with an id and descriptors that it inherited, inside a sandbox. Says what it has seen, a line
 * each, and ends with 0 if all was as it should be. See iommuctl(1), "run". */

#include <errno.h>
#include <fcntl.h>
#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "edu.h"
#include "sandbox.h"

#define PAGE          4096
#define IOVA          0x100000 /* the device reaches 28 bits */
#define LONG_INTERVAL 60000    /* milliseconds; what should take 100, on a slow and busy machine */

typedef struct Vmm {
        int iommufd, device, interrupt;
        uint32_t ioas;
        volatile uint8_t *bar;
} Vmm;

static void check(bool condition, const char *what) {
        if (!condition) {
                fprintf(stderr, "vmm: failed: %s: %s\n", what, strerror(errno));
                exit(EXIT_FAILURE);
        }
}

/* --- what is forbidden --- */

static bool refused(long result) {
        return result < 0 && errno == EPERM;
}

/* The kernel itself would not say EPERM to any of these: it would attach and detach, and a second bind is EINVAL. */
static void prove_sandbox(const Vmm *v) {
        struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = v->iommufd };
        struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach), .pt_id = v->ioas };
        struct vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };
        const unsigned long beyond = 1UL << 32;

        check(refused(ioctl(v->device, VFIO_DEVICE_BIND_IOMMUFD, &bind)), "BIND is forbidden");
        check(refused(ioctl(v->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach)), "ATTACH is forbidden");
        check(refused(ioctl(v->device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach)), "DETACH is forbidden");
        check(refused(syscall(SYS_ioctl, v->device, beyond | VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach)),
              "DETACH with a bit above the command is forbidden");
        check(refused(open("/dev/null", O_RDWR | O_CLOEXEC)), "open is forbidden");
        puts("sandbox: no BIND, ATTACH, DETACH or open");
}

/* --- the device's registers --- */

static uint64_t region_offset(const Vmm *v, uint32_t index) {
        struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

        check(ioctl(v->device, VFIO_DEVICE_GET_REGION_INFO, &info) == 0, "GET_REGION_INFO");
        return info.offset;
}

static void open_bar(Vmm *v) {
        uint64_t config = region_offset(v, VFIO_PCI_CONFIG_REGION_INDEX);
        uint16_t command;

        check(pread(v->device, &command, sizeof(command), (off_t) config + PCI_COMMAND) == sizeof(command),
              "read the PCI command register");
        command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
        check(pwrite(v->device, &command, sizeof(command), (off_t) config + PCI_COMMAND) == sizeof(command),
              "write the PCI command register");
        v->bar = mmap(NULL, EDU_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, v->device,
                      (off_t) region_offset(v, VFIO_PCI_BAR0_REGION_INDEX + EDU_BAR));
        check(v->bar != MAP_FAILED, "map BAR 0");
}

static uint32_t get(const Vmm *v, size_t offset) {
        return *(volatile uint32_t *) (v->bar + offset);
}

static void set(const Vmm *v, size_t offset, uint32_t value) {
        *(volatile uint32_t *) (v->bar + offset) = value;
}

static void set64(const Vmm *v, size_t offset, uint64_t value) {
        *(volatile uint64_t *) (v->bar + offset) = value;
}

static void use_bar(const Vmm *v) {
        check((get(v, EDU_ID) & 0xff) == EDU_ID_VALUE, "the device is edu");
        set(v, EDU_LIVENESS, 0x12345678);
        check(get(v, EDU_LIVENESS) == ~UINT32_C(0x12345678), "the liveness register inverts");
        printf("bar: edu %08x lives\n", get(v, EDU_ID));
}

/* --- interrupts --- */

static void enable_interrupt(Vmm *v) {
        struct {
                struct vfio_irq_set set;
                int32_t fd;
        } irq = { .set = { .argsz = sizeof(irq),
                           .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                           .index = VFIO_PCI_MSI_IRQ_INDEX,
                           .count = 1 } };

        v->interrupt = irq.fd = eventfd(0, EFD_CLOEXEC);
        check(v->interrupt >= 0, "eventfd");
        check(ioctl(v->device, VFIO_DEVICE_SET_IRQS, &irq) == 0, "SET_IRQS");
}

static void wait_for_interrupt(const Vmm *v, uint32_t cause) {
        struct pollfd p = { .fd = v->interrupt, .events = POLLIN };
        uint64_t n;

        check(poll(&p, 1, LONG_INTERVAL) == 1 && read(v->interrupt, &n, sizeof(n)) == sizeof(n), "the interrupt comes");
        check(n == 1, "it comes once");
        check(get(v, EDU_INTERRUPT_STATUS) == cause, "its cause is told");
        set(v, EDU_INTERRUPT_ACK, cause);
}

static void use_interrupts(const Vmm *v) {
        set(v, EDU_INTERRUPT_RAISE, 0x40);
        wait_for_interrupt(v, 0x40);
        set(v, EDU_STATUS, EDU_STATUS_INTERRUPT);
        set(v, EDU_FACTORIAL, 10);
        wait_for_interrupt(v, EDU_INTERRUPT_FACTORIAL);
        check(get(v, EDU_FACTORIAL) == 3628800, "10! is 3628800");
        puts("interrupt: one by register, one when 10! was there");
}

/* --- DMA --- */

static void map(const Vmm *v, const void *memory, uint64_t iova, size_t length) {
        struct iommu_ioas_map request = {
                .size = sizeof(request),
                .flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
                .ioas_id = v->ioas,
                .user_va = (uintptr_t) memory,
                .length = length,
                .iova = iova,
        };

        check(ioctl(v->iommufd, IOMMU_IOAS_MAP, &request) == 0, "IOAS_MAP");
}

static void unmap(const Vmm *v, uint64_t iova, size_t length) {
        struct iommu_ioas_unmap request = {
                .size = sizeof(request), .ioas_id = v->ioas, .iova = iova, .length = length
        };

        check(ioctl(v->iommufd, IOMMU_IOAS_UNMAP, &request) == 0, "IOAS_UNMAP");
}

/* One page; ends when the device says so, which it does whether anything arrived or not. */
static void transfer(const Vmm *v, uint64_t source, uint64_t destination, uint32_t direction) {
        set64(v, EDU_DMA_SOURCE, source);
        set64(v, EDU_DMA_DESTINATION, destination);
        set64(v, EDU_DMA_COUNT, PAGE);
        set64(v, EDU_DMA_COMMAND, EDU_DMA_START | EDU_DMA_INTERRUPT | direction);
        wait_for_interrupt(v, EDU_INTERRUPT_DMA);
}

static void to_memory(const Vmm *v, uint64_t iova) {
        transfer(v, EDU_BUFFER, iova, EDU_DMA_TO_MEMORY);
}

static void use_dma(const Vmm *v) {
        uint8_t untouched[PAGE] = {}, (*page)[PAGE];

        page = mmap(NULL, sizeof(*page) * 3, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(page != MAP_FAILED, "memory");
        check(getrandom(page[0], PAGE, 0) == PAGE, "getrandom");

        /* To the device and back, into another page. */
        map(v, page, IOVA, sizeof(*page) * 2);
        transfer(v, IOVA, EDU_BUFFER, 0);
        to_memory(v, IOVA + PAGE);
        check(memcmp(page[0], page[1], PAGE) == 0, "what comes back is what was sent");
        puts("dma: 4096 bytes to the device and back, all equal");

        /* Behind the mapping, where the device would reach the third page if it were mapped, as it is then. */
        to_memory(v, IOVA + sizeof(*page) * 2);
        check(memcmp(page[2], untouched, PAGE) == 0, "nothing arrives outside the mapping");
        map(v, page[2], IOVA + sizeof(*page) * 2, PAGE);
        to_memory(v, IOVA + sizeof(*page) * 2);
        check(memcmp(page[2], page[0], PAGE) == 0, "it arrives once it is mapped");

        /* And no more when it is unmapped again. */
        unmap(v, IOVA, sizeof(*page) * 2);
        memset(page[1], 0, PAGE);
        to_memory(v, IOVA + PAGE);
        check(memcmp(page[1], untouched, PAGE) == 0, "nothing arrives where the mapping was");
        puts("dma: nothing arrives outside the mapping");
}

int main(int argc, char **argv) {
        Vmm v;

        if (argc != 4) {
                fprintf(stderr, "usage: vmm IOMMUFD IOAS DEVICE\n");
                return 2;
        }
        v = (Vmm) { .iommufd = atoi(argv[1]), .ioas = (uint32_t) atoi(argv[2]), .device = atoi(argv[3]) };
        errno = -sandbox_enter();
        check(errno == 0, "the sandbox");
        prove_sandbox(&v);
        open_bar(&v);
        use_bar(&v);
        enable_interrupt(&v);
        use_interrupts(&v);
        use_dma(&v);
        return 0;
}
