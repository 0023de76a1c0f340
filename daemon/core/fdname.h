/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease.h"

/* What a descriptor that the daemon keeps for a lease is called in systemd's fd store: "LEASE/KIND/WHICH". systemd allows no colon, so
 * an address is written with dashes: "0123456789abcdef0123456789abcdef/device/0000-01-00.0". */

typedef enum FdKind {
        FD_IOMMUFD,
        FD_CONTAINER,
        FD_DEVICE,
        FD_GROUP,
        _FD_KIND_MAX,
} FdKind;

typedef struct FdName {
        char lease[LEASE_ID_LEN + 1];
        FdKind kind;
        uint32_t ioas;   /* of an iommufd: the I/O address space that the daemon has made in it, 0 for none */
        Address address; /* of a device, or of the one in a group that stands for it */
} FdName;

/* All names together are one environment variable of the next daemon, which may be 128 KiB long (MAX_ARG_STRLEN): enough for the
 * FileDescriptorStoreMax= of iommud.service. */
#define FDNAME_MAX (LEASE_ID_LEN + sizeof("/device/") - 1 + ADDRESS_TEXT_MAX)

void fdname_encode(const FdName *n, char buf[static FDNAME_MAX]);
/* -EINVAL for whatever fdname_encode() would not have written. */
int fdname_decode(const char *text, FdName *ret);
