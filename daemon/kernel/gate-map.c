/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <bpf/bpf.h>

#include "kernel/gate-map.h"

int gate_map_put(int map, const void *key, const void *value, uint64_t flags) {
        return map < 0 ? -ENOENT : bpf_map_update_elem(map, key, value, flags);
}

int gate_map_for_each(int map, void *key, void *next, size_t size, gate_map_each_t each, void *userdata) {
        int r = map < 0 ? -ENOENT : bpf_map_get_next_key(map, NULL, next);

        while (r >= 0) {
                int more;

                (void) memcpy(key, next, size);
                more = bpf_map_get_next_key(map, key, next);
                r = each(map, key, userdata);
                if (r >= 0)
                        r = more;
        }
        return r == -ENOENT && map >= 0 ? 0 : r;
}
