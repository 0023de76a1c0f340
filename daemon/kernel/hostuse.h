/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <net/if.h>
#include <sys/types.h>

#include "core/facts.h"

/* KernelOps.read_host_uses. The kinds are: "disk" (mounts, swap, volumes), "network", "console" (with the boot
 * display), "functions" (enabled VFs), "open" (a process has a node of it open) and "unknown" (could not be found out).
 */
int hostuse_read(int root_fd, Address a, HostUses *ret);

/* --- between hostuse.c, hostdisk.c and hostnet.c --- */

#define HOSTUSE_NODES_MAX 128
#define HOSTUSE_NETS_MAX  32

/* A device node that hangs on the PCI device, directly or through volumes. */
typedef struct HostNode {
        char name[NAME_MAX_LEN]; /* the kernel's name: "nvme0n1p1" */
        dev_t number;
        mode_t type; /* S_IFBLK or S_IFCHR */
        bool below;  /* a volume made of disks, not a disk of the device */
} HostNode;

typedef struct HostSearch {
        int root_fd;
        HostUses *uses;
        bool incomplete; /* there was more than fits below */
        size_t n_nodes, n_nets;
        unsigned directories; /* seen so far */
        HostNode nodes[HOSTUSE_NODES_MAX];
        char nets[HOSTUSE_NETS_MAX][IF_NAMESIZE];
} HostSearch;

/* Notes a use; the same text twice is noted once. */
void hostuse_add(HostSearch *s, const char *kind, const char *format, ...) _printf_(3, 4);

/* Notes a node. True if it is new (and there was room). */
bool hostuse_add_node(HostSearch *s, const char *name, dev_t number, mode_t type, bool below);

/* A directory of a block device: notes it, its partitions and all volumes on top of them. */
int hostdisk_collect(HostSearch *s, int dirfd, const char *name);
/* Mounts and swap on what was collected. */
int hostdisk_read(HostSearch *s);

/* Addresses, routes and bridges of the interfaces collected. */
int hostnet_read(HostSearch *s);
/* dirfd is the directory of an interface. */
int hostnet_collect(HostSearch *s, int dirfd, const char *name);
