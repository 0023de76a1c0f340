/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <net/if.h>
#include <sys/types.h>

#include "core/facts.h"

/* What a search for the host's uses of a device has come upon so far. */

#define HOSTSEARCH_NODES_MAX 128
#define HOSTSEARCH_NETS_MAX  32

/* A device node that hangs on the PCI device, directly or through volumes. */
typedef struct HostNode {
        char name[NAME_MAX_LEN]; /* the kernel's name: "nvme0n1p1" */
        dev_t number;
        mode_t type; /* S_IFBLK or S_IFCHR */
        bool below;  /* a volume made of disks, not a disk of the device */
        bool parted; /* a disk with partitions: they are what is used */
} HostNode;

typedef struct HostSearch {
        int root_fd;
        HostUses *uses;
        bool incomplete; /* there was more than fits below */
        size_t n_nodes, n_nets;
        unsigned directories; /* seen so far */
        HostNode nodes[HOSTSEARCH_NODES_MAX];
        char nets[HOSTSEARCH_NETS_MAX][IF_NAMESIZE];
} HostSearch;

/* Notes a use; the same text twice is noted once. */
void hostsearch_add(HostSearch *s, const char *kind, const char *format, ...) _printf_(3, 4);

/* Notes a node. True if it is new (and there was room). */
bool hostsearch_add_node(HostSearch *s, const char *name, dev_t number, mode_t type, bool below);
