/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/variant.h"

/* Reads the "vfio_pci:" aliases of the running kernel's modules, loadable and built in, from the files that depmod and the
 * kernel's build leave in /lib/modules. root is "" or stands for /. */
int aliases_read(const char *root, VariantTable *ret);

/* One file's text each, for tests: "alias PATTERN MODULE" lines, and "MODULE.alias=PATTERN" ended by NULs. */
int aliases_parse(const char *root, char *text, VariantTable *t);
int aliases_parse_builtin(const char *root, const char *text, size_t size, VariantTable *t);
