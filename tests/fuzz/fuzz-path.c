/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/bus.h"
#include "fuzz.h"

/* Object paths, which clients make up: what is taken for an object has one path, the one that it was asked for by. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size), *cgroup = NULL, *again = NULL;
        char path[BUS_PATH_MAX];
        const char *id;
        Address a;
        int group;

        if (!text)
                return 0;
        if (bus_path_to_address(text, &a) >= 0)
                FUZZ_ASSERT(streq(bus_device_path(a, path), text));
        if (bus_path_to_group(text, &group) >= 0)
                FUZZ_ASSERT(group >= 0 && streq(bus_group_path(group, path), text));
        id = bus_path_to_lease_id(text);
        FUZZ_ASSERT(!id || (id >= text && id <= text + strlen(text)));
        if (bus_path_to_cgroup(text, &cgroup) >= 0)
                FUZZ_ASSERT(sd_bus_path_encode(BUS_QUOTAS_PATH, cgroup, &again) >= 0 && streq(again, text));
        return 0;
}
