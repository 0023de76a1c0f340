/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/pattern.h"
#include "parser.h"
#include "util/text.h"

int parser_out_of_memory(Parser *p) {
        if (p->error == 0)
                p->error = -ENOMEM;
        return -ENOMEM;
}

int parser_complain(Parser *p, const char *format, ...) {
        char text[512];
        va_list ap;

        if (p->error != 0)
                return p->error;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (asprintf(&p->why, "%s:%u: %s", p->file, p->line ? p->line : 1, text) < 0) {
                p->why = NULL;
                return parser_out_of_memory(p);
        }
        p->error_line = p->line;
        return p->error = -EBADMSG;
}

/* The length of a bracket expression, 0 if it is none that we take. */
static size_t bracket_length(const char *s, const char *allowed) {
        size_t start = s[1] == '!' ? 2 : 1, n = start;

        while (s[n] != '\0' && (strchr(allowed, s[n]) || s[n] == '-'))
                n++;
        return n > start && s[n] == ']' ? n + 1 : 0;
}

/* Can this pattern match anything at all? A rule that never matches is a typing error, and is told at once. */
static bool is_pattern(const char *word, const Shape *shape) {
        size_t elements = 0;
        bool star = false, wild = false, in_domain = shape->address;
        Address a;

        for (const char *c = word; *c; elements++) {
                size_t length = *c == '[' ? bracket_length(c, shape->allowed) : 1;

                if (length == 0 || (length == 1 && !strchr(shape->allowed, *c) && *c != '*' && *c != '?'))
                        return false;
                if (in_domain && *c == ':') {
                        in_domain = false;
                        if (!star && elements < 4)
                                return false;
                }
                if (shape->form && !star && length == 1 && *c != '?' && *c != '*' &&
                    (elements >= shape->max || (shape->form[elements] == ':') != (*c == ':')))
                        return false;
                star = star || *c == '*';
                wild = wild || length > 1 || *c == '*' || *c == '?';
                c += length;
        }
        if (shape->address && !wild)
                return address_parse(word, &a) >= 0;
        return star ? elements > 0 : elements >= shape->min && elements <= shape->max;
}

int parser_each_word(Parser *p, const Key *key, const char *value, int (*take)(Parser *, const Key *, const char *)) {
        const char *start;
        size_t length;
        bool any = false;

        while (text_next_word(&value, &start, &length)) {
                char word[PATTERN_WORD_MAX + 1];
                int r;

                if (length > PATTERN_WORD_MAX)
                        return parser_complain(p, "a word of %s= has more than %d characters", key->name,
                                               PATTERN_WORD_MAX);
                memcpy(word, start, length);
                word[length] = '\0';
                r = take(p, key, word);
                if (r < 0)
                        return r;
                any = true;
        }
        return any ? 0 : parser_complain(p, "%s= is empty; leave the line out if nothing is meant", key->name);
}

int parser_take_pattern(Parser *p, const Key *key, const char *word) {
        char **list = (char **) ((char *) p->target + key->offset), *joined;
        const Shape *shape = key->shape;

        if (!is_pattern(word, shape))
                return parser_complain(p, "\"%s\" in %s= matches nothing; it takes %s", word, key->name, shape->hint);
        if (asprintf(&joined, "%s%s%s", *list ? *list : "", *list ? " " : "", word) < 0)
                return parser_out_of_memory(p);
        free(*list);
        *list = joined;
        return 0;
}

int parser_set_patterns(Parser *p, const Key *key, const char *value) {
        return parser_each_word(p, key, value, parser_take_pattern);
}

/* --- lines --- */

/* libinih says nothing of sections without keys and skips what follows a section on its line, so headings are judged
 * here. */
static int check_heading(Parser *p, const char *line) {
        const char *end = strchr(line, ']'), *rest = end ? end + 1 + strspn(end + 1, " \t\n") : "";
        size_t length = end ? (size_t) (end - line) - 1 : 0;

        if (!end || (*rest != '\0' && *rest != ';'))
                return parser_complain(p, "a section heading stands alone on its line, like [%s]", p->keys[0].section);
        for (size_t i = 0; i < p->n_keys; i++)
                if (strlen(p->keys[i].section) == length && memcmp(p->keys[i].section, line + 1, length) == 0)
                        return 0;
        return parser_complain(p, "there is no such section in this file; the first would be [%s]", p->keys[0].section);
}

/* Gives libinih one line. It would cut what is longer than its buffer (200 bytes in Debian), continue indented lines
 * and stop at a NUL, so nothing of that kind gets there. NULL ends the file. */
static char *next_line(char *buf, int size, void *userdata) {
        Parser *p = userdata;
        const char *newline = memchr(p->text, '\n', p->size), *start = p->text;
        size_t length = newline ? (size_t) (newline - start) : p->size;

        if (p->error != 0 || p->size == 0)
                return NULL;
        p->line++;
        p->text += length + (newline ? 1 : 0);
        p->size -= length + (newline ? 1 : 0);
        for (size_t i = 0; i < length; i++)
                if ((unsigned char) start[i] < 0x20 ? start[i] != '\t' : start[i] == 0x7f) {
                        (void) parser_complain(p, "there is a control character 0x%02x", (unsigned char) start[i]);
                        return NULL;
                }
        for (; length > 0 && (*start == ' ' || *start == '\t'); length--)
                start++;
        if (length + 3 > (size_t) size) {
                (void) parser_complain(
                        p, "the line is longer than %d characters; a list may go on in another line of the same key",
                        size - 3);
                return NULL;
        }
        memcpy(buf, start, length);
        memcpy(buf + length, "\n", 2);
        if ((unsigned char) buf[0] >= 0x80)
                (void) parser_complain(p, "this is neither [Section] nor Key=value, nor a comment");
        if (buf[0] == '[')
                (void) check_heading(p, buf);
        if (p->error != 0)
                return NULL;
        return buf;
}

static const Key *find_key(const Parser *p, const char *section, const char *name) {
        for (size_t i = 0; i < p->n_keys; i++)
                if (streq(p->keys[i].section, section) && streq(p->keys[i].name, name))
                        return &p->keys[i];
        return NULL;
}

static int on_value(void *userdata, const char *section, const char *name, const char *value) {
        Parser *p = userdata;
        const Key *key = find_key(p, section, name);
        uint64_t bit;

        if (!text_is_printable(name) || !text_is_printable(value))
                (void) parser_complain(p, "only comments may have characters beyond ASCII");
        else if (isempty(section))
                (void) parser_complain(p, "%s= stands before the first section, like [%s]", name, p->keys[0].section);
        else if (!key)
                (void) parser_complain(p, "[%s] has no key %s=", section, name);
        else {
                bit = UINT64_C(1) << (key - p->keys);
                if ((p->seen & bit) && !key->list)
                        (void) parser_complain(p, "%s= is given twice", name);
                else
                        (void) key->set(p, key, value);
                p->seen |= bit;
        }
        return p->error == 0;
}

int parser_run(Parser *p) {
        int r = ini_parse_stream(next_line, p, on_value, p);

        if (r == -2)
                return parser_out_of_memory(p);
        /* libinih goes on after what it cannot read itself, and tells the first such line at the end. */
        if (r > 0 && (p->error == 0 || (p->error_line > 0 && (unsigned) r < p->error_line))) {
                free(TAKE_PTR(p->why));
                p->error = 0;
                p->line = (unsigned) r;
                return parser_complain(p, "this is neither [Section] nor Key=value");
        }
        return p->error;
}

bool parser_has(const Parser *p, const char *section, const char *name) {
        for (size_t i = 0; i < p->n_keys; i++)
                if (streq(p->keys[i].section, section) && (!name || streq(p->keys[i].name, name)) &&
                    (p->seen & UINT64_C(1) << i))
                        return true;
        return false;
}

static bool is_name(const char *s) {
        return isalnum((unsigned char) s[0]) && s[strspn(s, PARSER_LETTERS PARSER_DIGITS "_.-")] == '\0' &&
               strlen(s) < NAME_MAX_LEN;
}

int parser_run_rule(Parser *p, const char *what, const char *file, char name[static NAME_MAX_LEN]) {
        text_append(p->file, sizeof(p->file), "%s.conf", text_is_printable(file) ? file : "(unprintable)");
        if (is_name(file) && text_copy(name, NAME_MAX_LEN, file))
                return parser_run(p);
        return parser_complain(p, "a %s is named by letters, digits, \"_\", \".\" and \"-\", %d at most", what,
                               NAME_MAX_LEN - 1);
}
