/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request.h"

bool address_list_has(const AddressList *l, Address a) {
        for (size_t i = 0; i < l->n; i++)
                if (address_equal(l->items[i], a))
                        return true;
        return false;
}

void address_list_remove(AddressList *l, Address a) {
        for (size_t i = 0; i < l->n; i++) {
                if (!address_equal(l->items[i], a))
                        continue;
                l->items[i] = l->items[--l->n];
                return;
        }
}

int address_list_add(AddressList *l, Address a) {
        if (address_list_has(l, a))
                return -EEXIST;
        if (l->n == REQUEST_DEVICES_MAX)
                return -E2BIG;
        l->items[l->n++] = a;
        return 0;
}
