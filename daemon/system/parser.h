/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "core/facts.h"

/* The text of one of the administrator's files on its way through libinih, line by line, into a value. Every mistake ends it, with the
 * line and what would be right. */

typedef struct Key Key;

typedef struct Parser {
        char file[512]; /* its name, for messages */
        const char *text;
        size_t size;
        unsigned line; /* that was read last: libinih of Debian does not tell the handler */
        const Key *keys;
        size_t n_keys;
        void *target; /* what is made of it */
        uint64_t seen;
        int error; /* the first, with its line and, unless it is -ENOMEM, the reason */
        unsigned error_line;
        char *why;
} Parser;

struct Key {
        const char *section, *name;
        int (*set)(Parser *p, const Key *key, const char *value);
        size_t offset;     /* in the target */
        bool list;         /* may be given more than once: the lists are joined */
        const void *shape; /* of the words of a list of patterns */
};

/* What the words of a list of patterns look like when they have no wildcards. */
typedef struct Shape {
        const char *allowed; /* characters besides wildcards */
        const char *form;    /* where the colons are, NULL if that varies */
        size_t min, max;     /* length of what can match */
        const char *hint;
        bool address; /* a word without wildcards has to be the address of a device */
} Shape;

#define PARSER_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define PARSER_DIGITS  "0123456789"

/* Reads the whole text. Returns 0 or the error, which the parser has too. */
int parser_run(Parser *p);
/* The same for a rule that is called by the name of its file, which goes to name. */
int parser_run_rule(Parser *p, const char *what, const char *file, char name[static NAME_MAX_LEN]);
/* Was the key given? NULL: any of the section. */
bool parser_has(const Parser *p, const char *section, const char *name);

/* For what sets a value: ends the parsing with this reason. */
int parser_complain(Parser *p, const char *format, ...) _printf_(2, 3);
int parser_out_of_memory(Parser *p);
/* Calls take for each word of value. */
int parser_each_word(Parser *p, const Key *key, const char *value, int (*take)(Parser *, const Key *, const char *));
/* Adds a pattern to the list of the key; a word that matches nothing is a mistake. */
int parser_take_pattern(Parser *p, const Key *key, const char *word);
int parser_set_patterns(Parser *p, const Key *key, const char *value);
