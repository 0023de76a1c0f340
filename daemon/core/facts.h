/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/address.h"

/* What the kernel says of devices, groups and the machine: plain values, as read at one moment. Nothing here is ours to
 * decide; who owns what is in inventory.h. */

#define NAME_MAX_LEN 64 /* a driver or module name with its NUL; the kernel's MODULE_NAME_LEN is 56 */

typedef enum DriverKind {
        DRIVER_NONE,      /* no driver: harmless for the group */
        DRIVER_NEIGHBOUR, /* pcieport, pci-stub: does no DMA of its own, the kernel lets it stay in an owned group */
        DRIVER_VFIO,      /* vfio-pci or a variant driver */
        DRIVER_HOST,      /* anything else: blocks the group */
} DriverKind;

typedef struct DeviceFacts {
        Address address;
        uint16_t vendor, device, subsystem_vendor, subsystem_device;
        uint32_t class;                     /* base class, subclass and interface: 24 bits */
        char modalias[128];                 /* "pci:v00008086d..." */
        char driver[NAME_MAX_LEN];          /* "" without a driver */
        char driver_override[NAME_MAX_LEN]; /* "" if none is set */
        bool odd_override;                  /* one is set that is no name of a driver; not kept here */
        DriverKind driver_kind;
        int group;        /* number of the IOMMU group, -1 if the device has none */
        bool on_root_bus; /* no bridge above: a bus reset cannot reach it */
        bool virtual_function;
        Address physical_function;  /* of a virtual function */
        uint32_t virtual_functions; /* enabled ones, of a physical function */
        uint32_t virtual_functions_max;
        int numa_node;           /* -1: unknown */
        char reset_methods[64];  /* as sysfs lists them: "flr bus"; "" if there is none */
        bool boot_display;       /* the firmware's display */
        char cdev[NAME_MAX_LEN]; /* "vfio3" while a VFIO character device exists, else "" */
        uint64_t cdev_number;    /* its st_rdev */
} DeviceFacts;

#define GROUP_REGIONS_MAX 32

typedef struct ReservedRegion {
        uint64_t start, end; /* both inclusive */
        char type[24];       /* direct, direct-relaxable, reserved, msi */
} ReservedRegion;

typedef struct GroupFacts {
        int id;
        char type[24]; /* of the default domain: DMA, DMA-FQ, identity, blocked */
        bool noiommu;  /* a VFIO group without an IOMMU: nothing isolates it */
        size_t n_regions;
        ReservedRegion regions[GROUP_REGIONS_MAX];
} GroupFacts;

/* One use that the host makes of a device and would lose: "disk", "nvme0n1 is mounted on /srv". */
typedef struct HostUse {
        char kind[24];
        char text[160];
} HostUse;

#define HOST_USES_MAX 16

typedef struct HostUses {
        size_t n;
        bool more; /* there are others that did not fit */
        HostUse uses[HOST_USES_MAX];
} HostUses;

#define CGROUP_PATH_MAX 4096 /* with the NUL */

/* A process as it is at one moment. */
typedef struct ProcessFacts {
        int pid;
        uint32_t uid;                 /* the effective one */
        uint64_t id;                  /* no other process has it until the next boot; 0 before Linux 6.9 */
        char cgroup[CGROUP_PATH_MAX]; /* in the unified hierarchy, "" if it is not known */
} ProcessFacts;

/* A process that has a device open, as far as /proc shows it. */
typedef struct Holder {
        int pid;
        uint32_t uid;
        char name[16];
} Holder;

#define HOLDERS_MAX 16

typedef struct Holders {
        size_t n;
        bool more;
        Holder holders[HOLDERS_MAX];
} Holders;

/* Adds " pid 4711 (qemu, uid 1000), pid ..." to the text. */
void holders_describe(const Holders *h, char *buf, size_t size);

typedef enum Remapping {
        REMAPPING_UNKNOWN, /* this architecture does not show it */
        REMAPPING_OFF,     /* a device can send any interrupt that it likes */
        REMAPPING_ON,
} Remapping;

/* What this kernel can do at all. Found out at run time: Debian's own kernels have no iommufd, for example. */
typedef struct Platform {
        bool iommu;             /* at least one IOMMU group exists */
        bool iommufd;           /* /dev/iommu */
        bool cdev;              /* VFIO character devices (only known for sure once a device is on a VFIO driver) */
        bool container;         /* /dev/vfio/vfio: the legacy interface */
        bool unsafe_interrupts; /* an administrator has told VFIO or iommufd to do without remapping */
        Remapping remapping;    /* of interrupts */
} Platform;

/* What the kernel says about a device that is bound to an iommufd. */
typedef struct BoundFacts {
        uint32_t devid;
        uint8_t pasid_bits;      /* what IOMMU and device together support: 0 means no PASIDs */
        bool can_reset;          /* VFIO_DEVICE_FLAGS_RESET: a function reset exists */
        bool hot_reset_possible; /* the kernel listed a reset set */
        bool hot_reset_owned;    /* VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED */
} BoundFacts;

static inline bool facts_is_bridge(const DeviceFacts *f) {
        return f->class >> 16 == 0x06;
}

const char *driver_kind_to_string(DriverKind kind);

/* Which kind a driver is. VFIO drivers are known by what they make, not by their names, so the caller says. */
DriverKind driver_kind_of(const char *driver, bool has_vfio_device);
