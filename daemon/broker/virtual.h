/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Changes of how many virtual functions a device has, and the tokens that those of a device on VFIO need. A change belongs to nobody:
 * but for what is taken off VFIO for it (taken.h) nothing of it is on disk, and after a restart the devices are what the kernel says. */

/* error_name is NULL if the device has as many as were asked for, and all of them are in the inventory. */
typedef void (*virtual_done_t)(const char *error_name, const char *text, void *userdata);

/* Looks anew at a device and all of its virtual functions. */
void virtual_refresh(Broker *b, Address a);
/* Begins what virtual_judge_change() has found nothing against. done is called exactly once, later; a negative errno means that it
 * will not be: -EWOULDBLOCK, a worker is at work on one of the functions. */
int virtual_start(Broker *b, Address a, uint32_t n, virtual_done_t done, void *userdata);
/* Has it as many, and is nobody changing that? -EWOULDBLOCK: a worker of an earlier daemon may be, or was until now. */
int virtual_check(Broker *b, Address a, uint32_t n);
void virtual_forget_all(Broker *b);

/* Before devices become a lease's: a physical function gets a token of its own, a virtual one that of its physical function. */
int virtual_give_tokens(const Broker *b, LeaseDevice *devices, size_t n);
