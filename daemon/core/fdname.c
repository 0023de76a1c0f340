/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "core/fdname.h"
#include "util/text.h"

static const char *const kinds[_FD_KIND_MAX] = {
        [FD_IOMMUFD] = "iommufd",
        [FD_CONTAINER] = "container",
        [FD_DEVICE] = "device",
        [FD_GROUP] = "group",
};

static void replace(char *s, char from, char to) {
        for (; *s; s++)
                if (*s == from)
                        *s = to;
}

void fdname_encode(const FdName *n, char buf[static FDNAME_MAX]) {
        char which[ADDRESS_TEXT_MAX] = "";

        if (n->kind == FD_IOMMUFD)
                (void) snprintf(which, sizeof(which), "%" PRIu32, n->ioas);
        else if (n->kind != FD_CONTAINER)
                (void) snprintf(which, sizeof(which), "%s", ADDRESS(n->address));
        replace(which, ':', '-');
        (void) snprintf(buf, FDNAME_MAX, "%s/%s/%s", n->lease, kinds[n->kind], which);
}

static int decode_which(const char *which, FdName *n) {
        char address[ADDRESS_TEXT_MAX];
        uint64_t ioas;
        int r;

        switch (n->kind) {
        case FD_IOMMUFD:
                r = text_to_u64(which, UINT32_MAX, &ioas);
                n->ioas = r < 0 ? 0 : (uint32_t) ioas;
                return r;
        case FD_CONTAINER:
                return 0;
        default:
                if (!text_copy(address, sizeof(address), which))
                        return -EINVAL;
                replace(address, '-', ':');
                return address_parse(address, &n->address);
        }
}

int fdname_decode(const char *text, FdName *ret) {
        const char *kind = strchr(text, '/'), *which = kind ? strchr(kind + 1, '/') : NULL;
        char again[FDNAME_MAX];
        FdName n = {};

        if (!which || kind - text != LEASE_ID_LEN)
                return -EINVAL;
        memcpy(n.lease, text, LEASE_ID_LEN);
        kind++;
        while (n.kind < _FD_KIND_MAX && (strlen(kinds[n.kind]) != (size_t) (which - kind) ||
                                         strncmp(kinds[n.kind], kind, (size_t) (which - kind)) != 0))
                n.kind++;
        if (n.kind == _FD_KIND_MAX || decode_which(which + 1, &n) < 0)
                return -EINVAL;
        /* There is one way to write each name. */
        fdname_encode(&n, again);
        if (!streq(again, text))
                return -EINVAL;
        *ret = n;
        return 0;
}
