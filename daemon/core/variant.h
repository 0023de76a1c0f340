/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/facts.h"

/* Which VFIO driver fits a device: the rule that the kernel's commit cc6711b0bf36 gives ("vfio_pci:" aliases, fewest wildcards),
 * as a pure function over a table of aliases. */

typedef struct VariantAlias {
        char pattern[128];         /* "vfio_pci:v00001AF4d00001041sv*sd*bc*sc*i*" */
        char module[NAME_MAX_LEN]; /* with underscores, as modules.alias has it */
        char driver[NAME_MAX_LEN]; /* the name that driver_override wants */
} VariantAlias;

typedef struct VariantTable {
        VariantAlias *aliases;
        size_t n;
} VariantTable;

void variant_table_clear(VariantTable *t);
/* Takes only "vfio_pci:" aliases and returns 0 for others, 1 if it was taken, -ENOMEM, -EINVAL for one that is too long. */
int variant_table_add(VariantTable *t, const char *pattern, const char *module, const char *driver);

/* The best match for a "pci:" modalias, NULL if none matches. Equal matches are told apart by the name of the driver. */
const VariantAlias *variant_choose(const VariantTable *t, const char *modalias);
/* The best match of this driver, NULL if it is none of the candidates. */
const VariantAlias *variant_candidate(const VariantTable *t, const char *modalias, const char *driver);

/* The names of all candidates, in the order of the alphabet. */
void variant_list(const VariantTable *t, const char *modalias, char *buf, size_t size);

/* What driver_override wants for a module whose driver cannot be looked at, since the module is not loaded. */
const char *variant_driver_of_module(const char *module);

#define VARIANT_PLAIN_DRIVER "vfio-pci" /* the only driver that can attach PASIDs in Linux 7.2 (vfio_pci.c) */
#define VARIANT_PLAIN_MODULE "vfio_pci"

/* Drives nothing, and the kernel lets it stay in an owned group (drivers/pci/pci-stub.c). */
#define STUB_DRIVER "pci-stub"
#define STUB_MODULE "pci_stub"
