/* SPDX-License-Identifier: GPL-2.0-only */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "gate.h"
#include "kernel-types.h"
#include "sva.h"
#include "tally.h"

/* The gate: holds each lease to the PASIDs that it has booked, whoever has its descriptors by now.
 *
 *   gate     LSM at ioctl(): reserves one of the lease's PASIDs, or refuses. Keyed by the device behind the file.
 *   meter    around attach and detach in the IOMMU layer: counts what really happened, whatever the ioctl returned.
 *   settle   around VFIO's ioctl: what was reserved and not used goes back.
 *
 * The caller's arguments are read before the kernel reads them, so another thread can change them in between. Then a PASID is attached
 * for which nothing was reserved, in a task that is in the middle of an attach without PASID: it is charged, and the process is killed.
 * Nobody else ever is: kernel drivers and SVA reach the same functions, outside of VFIO's ioctl.
 *
 * The kernel skips a program that traces functions for whoever comes by on a CPU on which another one was preempted in it (the LSM's it
 * never skips). So no count depends on one of them alone: what a skipped meter leaves reserved the settling takes or keeps.
 *
 * What this gate has let through and another security module then refuses keeps its reservation until its thread tries again or ends.
 *
 * sva.h has the same for the PASIDs that SVA takes, which no lease stands for. */

char LICENSE[] SEC("license") = "GPL"; /* the kernel lets no other program trace and send signals */

#define IOCTL_ATTACH       ((';' << 8) | 119) /* VFIO_DEVICE_ATTACH_IOMMUFD_PT */
#define IOCTL_HWPT_ALLOC   ((';' << 8) | 0x89)
#define IOCTL_VIOMMU_ALLOC ((';' << 8) | 0x90)
#define FLAG_PASID         1
#define DOMAIN_NESTED      (1 << 6) /* __IOMMU_DOMAIN_NESTED */
#define SIGKILL            9

typedef struct AttachArgs {
        __u32 argsz, flags, pt, pasid;
} AttachArgs;

typedef struct HwptArgs {
        __u32 size, flags, dev_id, pt_id, out_hwpt_id, reserved, data_type;
} HwptArgs;

/* A task in the middle of an attach, or of a detach. */
typedef struct Doing {
        struct file *file; /* told apart, never followed */
        GateId lease;
        GatePasid key;
        bool declared; /* it was for a PASID when the gate looked */
        bool reserved;
        bool inside;  /* at an attach, as far as is known */
        bool entered; /* VFIO has begun with it */
        bool detaching;
        GateId detached; /* whose PASID is being detached */
} Doing;

struct {
        __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, int);
        __type(value, Doing);
} doing SEC(".maps");

/* How many claims an iommufd has on groups, and one of its groups. The key is the owner that the IOMMU layer is told: its context. */
typedef struct Claims {
        __u32 n, group;
} Claims;

struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 65536);
        __type(key, __u64);
        __type(value, Claims);
} owners SEC(".maps");

/* The groups that are leased. */
struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 65536);
        __type(key, __u32);
        __type(value, GateId);
} groups SEC(".maps");

static __always_inline Doing *doing_of_current(__u64 flags) {
        return bpf_task_storage_get(&doing, bpf_get_current_task_btf(), NULL, flags);
}

static __always_inline GateCdev *cdev_of(struct file *file) {
        __u32 number = file->f_inode->i_rdev;

        return is_char_device(file->f_inode) ? bpf_map_lookup_elem(&cdevs, &number) : NULL;
}

/* --- gate --- */

static __always_inline int refuse(const GateId *lease) {
        note(lease, EVENT_REFUSE);
        return -EDQUOT;
}

/* Of an earlier ioctl: it never reached VFIO. If it has, and nobody saw its end, it may be attached: then it stays reserved. */
static __always_inline void drop_reservation(Doing *d) {
        if (d->reserved && !d->entered)
                unreserve(&d->lease);
        d->reserved = false;
}

/* A PASID that the lease has attached already is being replaced, or joined by another device
 * of the group: neither is one more. */
static __always_inline int admit(struct file *file, const GateCdev *cdev, const AttachArgs *args) {
        Doing *d = doing_of_current(BPF_LOCAL_STORAGE_GET_F_CREATE);
        GatePasid key = { .group = cdev->group, .pasid = args->pasid };
        GateId *has;

        if (!d)
                return -EPERM;
        drop_reservation(d);
        d->file = file;
        d->lease = cdev->lease;
        d->key = key;
        /* 0 stands for the device's own traffic: it never passes by the meter. */
        d->declared = (args->flags & FLAG_PASID) && args->pasid != 0;
        d->inside = true;
        d->entered = false;
        if (!d->declared)
                return 0;
        has = bpf_map_lookup_elem(&attached, &key);
        if (has && __builtin_memcmp(has, &cdev->lease, sizeof(*has)) == 0)
                return 0;
        d->reserved = reserve(&cdev->lease);
        if (d->reserved)
                return 0;
        d->inside = false;
        return refuse(&cdev->lease);
}

/* Whose iommufd it is, NULL if it is no lease's (or no iommufd at all). */
static __always_inline GateId *lease_of_iommufd(struct file *file) {
        __u64 owner = (__u64) file->private_data;
        Claims *claims = bpf_map_lookup_elem(&owners, &owner);
        __u32 group;

        if (!claims)
                return NULL;
        group = claims->group;
        return bpf_map_lookup_elem(&groups, &group);
}

/* read: how this program reads the caller's memory. What it cannot read is refused. With a nested page table the guest owns the table
 * of PASIDs, and with a virtual IOMMU all that hangs from it: those never pass by here. */
#define GATE(read)                                                                                                     \
        GateId *lease;                                                                                                 \
                                                                                                                       \
        if (cmd == IOCTL_ATTACH) {                                                                                     \
                GateCdev *cdev = cdev_of(file);                                                                        \
                AttachArgs args = {};                                                                                  \
                                                                                                                       \
                if (!cdev)                                                                                             \
                        return 0;                                                                                      \
                if (read(&args, offsetof(AttachArgs, pasid), (void *) arg))                                            \
                        return -EFAULT;                                                                                \
                if ((args.flags & FLAG_PASID) && read(&args, sizeof(args), (void *) arg))                              \
                        return -EFAULT;                                                                                \
                return admit(file, cdev, &args);                                                                       \
        }                                                                                                              \
        if (cmd != IOCTL_VIOMMU_ALLOC && cmd != IOCTL_HWPT_ALLOC)                                                      \
                return 0;                                                                                              \
        lease = lease_of_iommufd(file);                                                                                \
        if (lease && cmd == IOCTL_HWPT_ALLOC) {                                                                        \
                HwptArgs hwpt = {};                                                                                    \
                                                                                                                       \
                if (read(&hwpt, sizeof(hwpt), (void *) arg))                                                           \
                        return -EFAULT;                                                                                \
                if (hwpt.data_type == 0)                                                                               \
                        return 0;                                                                                      \
        }                                                                                                              \
        return lease ? refuse(lease) : 0;

SEC("lsm.s/file_ioctl")
int BPF_PROG(gate_ioctl, struct file *file, unsigned int cmd, unsigned long arg, int before) {
        if (before != 0)
                return before;
        GATE(bpf_copy_from_user)
}

/* This hook may not sleep, so memory that is not there is refused rather than fetched. */
SEC("lsm/file_ioctl_compat")
int BPF_PROG(gate_ioctl_compat, struct file *file, unsigned int cmd, unsigned long arg, int before) {
        if (before != 0)
                return before;
        GATE(bpf_probe_read_user)
}

/* It was attached just now, so what is known of it is of an earlier time: its group went with it, or its end was missed. */
static __always_inline void forget_stale(const GatePasid *key) {
        GateId *stale = bpf_map_lookup_elem(&attached, key), whose;

        if (!stale)
                return;
        whose = *stale;
        if (bpf_map_delete_elem(&attached, key) == 0)
                note(&whose, EVENT_DETACH);
}

static __always_inline void charge(const GatePasid *key, const GateId *lease, bool reserved) {
        note_lease(lease, reserved ? EVENT_ATTACH_RESERVED : EVENT_ATTACH);
        /* Without memory for it nobody hears of the detach: it counts against the lease as long as that lives. */
        if (bpf_map_update_elem(&attached, key, lease, BPF_ANY) == 0)
                note_levels(lease, EVENT_ATTACH);
}

/* --- settle --- */

SEC("fentry/vfio_device_fops_unl_ioctl")
int BPF_PROG(settle_begin, struct file *file, unsigned int cmd) {
        Doing *d = cmd == IOCTL_ATTACH ? doing_of_current(0) : NULL;

        if (d && d->inside && d->file == file)
                d->entered = true;
        return 0;
}

/* The meter takes what was reserved, unless the attach came to nothing; or the meter was skipped. Then it is taken here, and where the
 * kernel may have attached all the same it stays reserved. */
SEC("fexit/vfio_device_fops_unl_ioctl")
int BPF_PROG(settle_end, struct file *file, unsigned int cmd, unsigned long arg, long result) {
        Doing *d = cmd == IOCTL_ATTACH ? doing_of_current(0) : NULL;

        if (!d || !d->inside)
                return 0;
        if (d->reserved && result == 0) {
                forget_stale(&d->key);
                charge(&d->key, &d->lease, true);
        } else if (d->reserved && result != -EFAULT)
                unreserve(&d->lease);
        d->reserved = d->inside = false;
        return 0;
}

/* No ioctl is on its way in a task that ends, but one may never have got there. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(settle_exit) {
        Doing *d = doing_of_current(0);

        if (d)
                drop_reservation(d);
        sva_settle();
        return 0;
}

/* --- meter --- */

static __always_inline void punish(const GateId *lease) {
        note(lease, EVENT_KILL);
        bpf_send_signal(SIGKILL);
}

static __always_inline __u32 group_of(struct device *dev) {
        struct iommu_group *group = dev->iommu_group;

        return group ? group->id : ~0U;
}

/* The attach that the current task has been let through with, if it is at one and it is of this group. */
static __always_inline Doing *attach_in(__u32 group) {
        Doing *d = doing_of_current(0);

        return d && d->inside && d->key.group == group ? d : NULL;
}

SEC("fexit/iommu_attach_device_pasid")
int BPF_PROG(meter_attach, struct iommu_domain *domain, struct device *dev, unsigned int pasid, void *handle,
             int result) {
        GatePasid key = { .group = group_of(dev), .pasid = pasid };
        Doing *d = result == 0 ? attach_in(key.group) : NULL;
        GateId lease = {};
        bool reserved = false;

        if (result != 0)
                return 0;
        forget_stale(&key);
        if (d) {
                lease = d->lease;
                /* Declared, and not reserved because it was there already: it was detached meanwhile. */
                reserved = d->reserved || (d->declared && reserve(&lease));
                d->reserved = false;
        }
        charge(&key, &lease, reserved);
        if (d && !reserved)
                punish(&lease);
        return 0;
}

/* It changes no count, but nobody comes here from an attach without PASID by honest means. */
SEC("fexit/iommu_replace_device_pasid")
int BPF_PROG(meter_replace, struct iommu_domain *domain, struct device *dev, unsigned int pasid, void *handle,
             int result) {
        Doing *d = result == 0 ? attach_in(group_of(dev)) : NULL;

        if (d && !d->declared)
                punish(&d->lease);
        return 0;
}

/* The entry goes before the kernel lets go of the number, and nobody can attach it anew until then. The lease gets it back afterwards,
 * so that never one too many is attached. */
SEC("fentry/iommu_detach_device_pasid")
int BPF_PROG(meter_detach, struct iommu_domain *domain, struct device *dev, unsigned int pasid) {
        GatePasid key = { .group = group_of(dev), .pasid = pasid };
        GateId *entry = bpf_map_lookup_elem(&attached, &key), lease;
        Doing *d;

        if (!entry)
                return 0;
        lease = *entry;
        if (bpf_map_delete_elem(&attached, &key) != 0)
                return 0;
        d = doing_of_current(BPF_LOCAL_STORAGE_GET_F_CREATE);
        if (!d) {
                note(&lease, EVENT_DETACH);
                return 0;
        }
        d->detached = lease;
        d->detaching = true;
        return 0;
}

SEC("fexit/iommu_detach_device_pasid")
int BPF_PROG(meter_detached) {
        Doing *d = doing_of_current(0);

        if (!d || !d->detaching)
                return 0;
        d->detaching = false;
        note(&d->detached, EVENT_DETACH);
        return 0;
}

/* --- nesting --- */

SEC("fexit/iommu_device_claim_dma_owner")
int BPF_PROG(note_claim, struct device *dev, void *owner, int result) {
        Claims fresh = { .n = 1, .group = group_of(dev) }, *claims;
        __u64 key = (__u64) owner;

        if (result != 0)
                return 0;
        claims = bpf_map_lookup_elem(&owners, &key);
        if (claims) {
                claims->group = fresh.group;
                (void) __sync_fetch_and_add(&claims->n, 1);
        } else
                (void) bpf_map_update_elem(&owners, &key, &fresh, BPF_ANY);
        return 0;
}

SEC("fentry/iommu_device_release_dma_owner")
int BPF_PROG(note_release, struct device *dev) {
        struct iommu_group *group = dev->iommu_group;
        __u64 key = group ? (__u64) group->owner : 0;
        Claims *claims = bpf_map_lookup_elem(&owners, &key);

        if (claims && __sync_fetch_and_sub(&claims->n, 1) == 1)
                (void) bpf_map_delete_elem(&owners, &key);
        return 0;
}

/* A nested page table on a leased group, by whatever way it came to be: the gate was deceived about its arguments. */
static __always_inline void judge_domain(struct iommu_domain *domain, struct iommu_group *group, int result) {
        __u32 id = group->id;
        GateId *lease = result == 0 && (domain->type & DOMAIN_NESTED) ? bpf_map_lookup_elem(&groups, &id) : NULL;

        if (lease)
                punish(lease);
}

SEC("fexit/iommu_attach_group_handle")
int BPF_PROG(meter_nested, struct iommu_domain *domain, struct iommu_group *group, void *handle, int result) {
        judge_domain(domain, group, result);
        return 0;
}

SEC("fexit/iommu_replace_group_handle")
int BPF_PROG(meter_nested_replace, struct iommu_group *group, struct iommu_domain *domain, void *handle, int result) {
        judge_domain(domain, group, result);
        return 0;
}
