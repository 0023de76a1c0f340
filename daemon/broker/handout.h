/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* Which descriptors of a lease leave the daemon next. Each leaves once. */

typedef struct HandoutFd {
        const char *kind; /* "lifeline", "iommufd", "device", "container", "group" */
        Address address;  /* of a device, or of the first one in a group */
        int group;
        int fd; /* borrowed */
} HandoutFd;

/* dbus-daemon refuses messages with more (max_message_unix_fds in system.conf); dbus-broker would take 253. */
#define HANDOUT_FDS_MAX 16

typedef struct Handout {
        HandoutFd fds[HANDOUT_FDS_MAX];
        size_t n;
} Handout;

/* For the answer to Acquire: lifeline, iommufd or container, and as many devices or groups as fit. */
void handout_first(const LeaseRun *run, Handout *ret);
/* For TakeDevices: these devices, or as many as fit if wanted is empty. -ENOENT with *culprit set: it is none of the lease's, or
 * was handed out already. -E2BIG: they do not fit into one message. */
int handout_devices(const LeaseRun *run, const AddressList *wanted, Handout *ret, Address *culprit);
/* A group leaves the daemon, and with it all of its devices that are the client's. */
void handout_take_group(Lease *l, int group);
/* Written down before they are sent: a descriptor that is lost on its way is closed, but none is handed out twice. */
void handout_note(LeaseRun *run, const Handout *h);
/* When they are in the message: our copies are closed, except what an attached or a group lease has to keep. */
void handout_close(LeaseRun *run, const Handout *h);
