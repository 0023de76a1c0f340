/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "worker/job.h"

/* A driver that lets go of a physical function removes the virtual ones (vfio-pci, igb), and the kernel then waits for whoever has one
 * open with all hotplug of the machine locked out. So who unbinds a device has to see to its virtual functions too: */

/* Unbinds one device that nobody has open, or names in holders who has: -EBUSY. An open descriptor would hold the unbind up for ever,
 * so it is looked for as late as possible. */
int physical_unbind_idle(Kernel *k, Address a, Holders *holders);
/* Who has the device or one of its virtual functions open? */
int physical_find_holders(Kernel *k, Address a, Holders *ret);
/* Unbinds the device, its virtual functions that are on VFIO drivers first; those that are still there then are bound to them again.
 * -EBUSY, and nothing is changed: one of those is held open: holders tells by whom. */
int physical_unbind(Kernel *k, Address a, Holders *holders);
/* Binds the driver that a device had, loading its module if that went away meanwhile. override: what it has now, and keeps. */
int physical_bind_again(Kernel *k, Address a, const char *driver, const char *override);
