/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <libsmartcols/libsmartcols.h>

#include "util/macro.h"

/* Tables by libsmartcols, which escapes control characters and cuts or wraps columns to the width of the terminal. */

typedef struct Column {
        const char *title; /* NULL for all columns of a table without a heading */
        int flags;         /* SCOLS_FL_*; what wraps, wraps at line breaks too */
} Column;

static inline void table_freep(struct libscols_table **t) {
        scols_unref_table(*t);
}
#define _cleanup_table_ _cleanup_(table_freep)

/* All of these say what went wrong and return a negative errno. */
int table_new(const Column *columns, size_t n, struct libscols_table **ret);
int table_add(struct libscols_table *t, struct libscols_line *parent, const char *const *cells,
              struct libscols_line **ret);
int table_print(struct libscols_table *t);
