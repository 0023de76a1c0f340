/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Ends the life of a variable with its scope, as everywhere in this project: _cleanup_(lease_freep) Lease *l = NULL; */
#define _cleanup_(f)         __attribute__((__cleanup__(f)))
#define _printf_(fmt, first) __attribute__((__format__(__printf__, fmt, first)))
#define _unused_             __attribute__((__unused__))

#define TAKE(p, nothing)                                                                                               \
        ({                                                                                                             \
                typeof(p) *_pp = &(p);                                                                                 \
                typeof(p) _p = *_pp;                                                                                   \
                *_pp = (nothing);                                                                                      \
                _p;                                                                                                    \
        })
#define TAKE_PTR(p) TAKE(p, NULL)
#define TAKE_FD(fd) TAKE(fd, -EBADF)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                                                                                                      \
        ({                                                                                                             \
                typeof(a) _a = (a);                                                                                    \
                typeof(b) _b = (b);                                                                                    \
                _a < _b ? _a : _b;                                                                                     \
        })

#define DEFINE_CLEANUP(type, function)                                                                                 \
        static inline void function##p(type **p) {                                                                     \
                function(*p);                                                                                          \
        }

static inline void freep(void *p) {
        free(*(void **) p);
}
#define _cleanup_free_ _cleanup_(freep)

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

static inline bool isempty(const char *s) {
        return !s || s[0] == '\0';
}
