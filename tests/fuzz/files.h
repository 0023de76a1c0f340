/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "../unit/tree.h"

/* Files out of one input: a line "=NAME" begins the content of a file, which ends before the next one. Names that are not in the table,
 * and what stands before the first, mean nothing; a file that is not named is not there. "@NAME" begins a link and its target. */

typedef struct FuzzFile {
        const char *name, *path; /* below the root of the tree */
        bool link;
} FuzzFile;

static inline const FuzzFile *fuzz_file(const FuzzFile *files, size_t n, const char *head, size_t length) {
        for (size_t i = 0; i < n; i++)
                if (length == strlen(files[i].name) + 1 && head[0] == (files[i].link ? '@' : '=') &&
                    memcmp(head + 1, files[i].name, length - 1) == 0)
                        return &files[i];
        return NULL;
}

static inline const char *fuzz_line_end(const char *at, const char *end) {
        const char *newline = memchr(at, '\n', (size_t) (end - at));

        return newline ? newline : end;
}

static inline void fuzz_put(const FuzzFile *f, const char *content, size_t size) {
        char target[4096];

        (void) unlink(below(f->path));
        if (!f->link) {
                put_bytes(f->path, content, size);
                return;
        }
        if (size == 0 || size >= sizeof(target) || memchr(content, '\0', size))
                return; /* no link looks like that */
        (void) memcpy(target, content, size);
        target[size] = '\0';
        put_link(f->path, target);
}

static inline void fuzz_put_files(const FuzzFile *files, size_t n, const uint8_t *data, size_t size) {
        const char *at = (const char *) data, *end = at + size;

        for (size_t i = 0; i < n; i++)
                (void) unlink(below(files[i].path));
        while (at < end) {
                const char *head_end = fuzz_line_end(at, end);
                const FuzzFile *f = fuzz_file(files, n, at, (size_t) (head_end - at));
                const char *content = head_end < end ? head_end + 1 : end, *stop = content;

                if (!f) {
                        at = content;
                        continue;
                }
                while (stop < end && !fuzz_file(files, n, stop, (size_t) (fuzz_line_end(stop, end) - stop)))
                        stop = fuzz_line_end(stop, end) < end ? fuzz_line_end(stop, end) + 1 : end;
                /* The newline in front of the next name is not of a link's target. */
                fuzz_put(f, content, (size_t) (stop - content) - (f->link && stop > content && stop[-1] == '\n'));
                at = stop;
        }
}
