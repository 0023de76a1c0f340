/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease.h"

/* What a client asks for, decoded and bounded but not yet judged. */

#define REQUEST_DEVICES_MAX 256
#define REQUEST_PASIDS_MAX  (1u << 20)

typedef struct AddressList {
        Address items[REQUEST_DEVICES_MAX];
        size_t n;
} AddressList;

typedef struct Request {
        AddressList devices;
        AddressList members; /* further members of the groups that may be parked */
        HandOver hand_over;
        bool hand_over_named;           /* otherwise it is handover_choose() that chooses */
        char driver[NAME_MAX_LEN];      /* "" for the best match */
        char reservation[NAME_MAX_LEN]; /* "" for any */
        uint32_t pasids;
        bool reset_set; /* hot reset is to be possible: the whole reset set is taken */
        bool force_in_use;
        bool restore;
        uint64_t wait;      /* microseconds */
        const Lease *joins; /* the lease that the devices are to join, NULL for a new one */
} Request;

/* Returns -E2BIG when the list is full, -EEXIST if it has the address already. */
int address_list_add(AddressList *l, Address a);
void address_list_remove(AddressList *l, Address a);
bool address_list_has(const AddressList *l, Address a);
