/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "table.h"
#include "say.h"

int table_new(const Column *columns, size_t n, struct libscols_table **ret) {
        _cleanup_table_ struct libscols_table *t = scols_new_table();

        if (!t)
                return say_oom();
        for (size_t i = 0; i < n; i++) {
                int flags = columns[i].flags;
                struct libscols_column *c = scols_table_new_column(t, columns[i].title, 0, flags);

                if (!c)
                        return say_oom();
                if (flags & SCOLS_FL_WRAP) {
                        scols_column_set_wrapfunc(c, scols_wrapnl_chunksize, scols_wrapnl_nextchunk, NULL);
                        scols_column_set_safechars(c, "\n");
                }
        }
        scols_table_enable_noheadings(t, !columns[0].title);
        *ret = TAKE_PTR(t);
        return 0;
}

int table_add(struct libscols_table *t, struct libscols_line *parent, const char *const *cells,
              struct libscols_line **ret) {
        struct libscols_line *line = scols_table_new_line(t, parent);
        int r;

        if (!line)
                return say_oom();
        for (size_t i = 0; i < scols_table_get_ncols(t); i++) {
                r = scols_line_set_data(line, i, cells[i]);
                if (r < 0)
                        return say_oom();
        }
        if (ret)
                *ret = line;
        return 0;
}

int table_print(struct libscols_table *t) {
        int r;

        r = scols_print_table(t);
        if (r < 0)
                say_error("cannot print the table: %s", strerror(-r));
        return r;
}
