/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "partition.h"

static bool belong_together(const LeaseDevice *a, const LeaseDevice *b) {
        return (a->group >= 0 && a->group == b->group) || address_equal(a->set, b->set);
}

size_t partition_devices(const LeaseDevice *devices, size_t n, size_t *part) {
        size_t count = 0;

        for (size_t i = 0; i < n; i++) {
                part[i] = count;
                for (size_t j = 0; j < i; j++) {
                        size_t from, to;

                        if (part[j] == part[i] || !belong_together(&devices[i], &devices[j]))
                                continue;
                        /* Parts that this device joins become one, under the lower number. */
                        to = part[i] < part[j] ? part[i] : part[j];
                        from = part[i] < part[j] ? part[j] : part[i];
                        for (size_t k = 0; k <= i; k++) {
                                if (part[k] == from)
                                        part[k] = to;
                                else if (part[k] > from && from != count)
                                        part[k]--;
                        }
                        if (from != count)
                                count--;
                }
                if (part[i] == count)
                        count++;
        }
        return count;
}
