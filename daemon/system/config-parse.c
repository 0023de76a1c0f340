/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <grp.h>
#include <ini.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>

#include "config.h"
#include "core/request.h"
#include "util/text.h"

/* The texts of the administrator's files become values here; config.c is about the files themselves. */

#define WORD_MAX_LEN 255 /* policy.c relies on it */

typedef struct Key Key;

/* The text of one file on its way through libinih. */
typedef struct Parser {
        const char *file; /* for messages */
        const char *text;
        size_t size;
        unsigned line; /* that was read last: libinih of Debian does not tell the handler */
        const Key *keys;
        size_t n_keys;
        void *target; /* Reservation or Limits */
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

static int out_of_memory(Parser *p) {
        if (p->error == 0)
                p->error = -ENOMEM;
        return -ENOMEM;
}

static int _printf_(2, 3) complain(Parser *p, const char *format, ...) {
        char text[512];
        va_list ap;

        if (p->error != 0)
                return p->error;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (asprintf(&p->why, "%s:%u: %s", p->file, p->line ? p->line : 1, text) < 0) {
                p->why = NULL;
                return out_of_memory(p);
        }
        p->error_line = p->line;
        return p->error = -EBADMSG;
}

/* --- values --- */

/* What the words of a list of patterns look like when they have no wildcards. */
typedef struct Shape {
        const char *allowed; /* characters besides wildcards */
        const char *form;    /* where the colons are, NULL if that varies */
        size_t min, max;     /* length of what can match */
        const char *hint;
} Shape;

#define HEX_DIGITS "0123456789abcdef"
#define LETTERS    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static const Shape shape_address = { HEX_DIGITS ":.", NULL, 12, 16, "an address like 0000:01:00.0 or 0000:01:00.*" };
static const Shape shape_id = { HEX_DIGITS ":", "xxxx:xxxx", 9, 9, "two lower-case numbers like 8086:10d3 or 8086:*" };
static const Shape shape_class = { HEX_DIGITS, "xxxxxx", 6, 6, "six lower-case digits like 010802 or 0108*" };
static const Shape shape_unit = { LETTERS "0123456789:_.\\@-", NULL, 1, WORD_MAX_LEN,
                                  "a system unit like qemu.service or machine-*.scope" };

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
        bool star = false, wild = false, in_domain = shape == &shape_address;
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
        if (shape == &shape_address && !wild)
                return address_parse(word, &a) >= 0;
        return star ? elements > 0 : elements >= shape->min && elements <= shape->max;
}

/* Calls take for each word of value. */
static int each_word(Parser *p, const Key *key, const char *value, int (*take)(Parser *, const Key *, const char *)) {
        const char *start;
        size_t length;
        bool any = false;

        while (text_next_word(&value, &start, &length)) {
                char word[WORD_MAX_LEN + 1];
                int r;

                if (length > WORD_MAX_LEN)
                        return complain(p, "a word of %s= has more than %d characters", key->name, WORD_MAX_LEN);
                memcpy(word, start, length);
                word[length] = '\0';
                r = take(p, key, word);
                if (r < 0)
                        return r;
                any = true;
        }
        return any ? 0 : complain(p, "%s= is empty; leave the line out if nothing is meant", key->name);
}

static int take_pattern(Parser *p, const Key *key, const char *word) {
        char **list = (char **) ((char *) p->target + key->offset), *joined;
        const Shape *shape = key->shape;

        if (!is_pattern(word, shape))
                return complain(p, "\"%s\" in %s= matches nothing; it takes %s", word, key->name, shape->hint);
        if (asprintf(&joined, "%s%s%s", *list ? *list : "", *list ? " " : "", word) < 0)
                return out_of_memory(p);
        free(*list);
        *list = joined;
        return 0;
}

static int set_patterns(Parser *p, const Key *key, const char *value) {
        return each_word(p, key, value, take_pattern);
}

/* uid_t and gid_t are the same type on Linux. */
static int add_number(Parser *p, uid_t **list, size_t *n, uid_t number) {
        uid_t *grown = reallocarray(*list, *n + 1, sizeof(*grown));

        if (!grown)
                return out_of_memory(p);
        *list = grown;
        grown[(*n)++] = number;
        return 0;
}

static int take_user(Parser *p, const Key *key _unused_, const char *word) {
        Reservation *r = p->target;
        const struct passwd *pw;
        uint64_t uid;

        if (streq(word, "*")) {
                r->any_user = true;
                return 0;
        }
        if (text_to_u64(word, UINT32_MAX - 1, &uid) >= 0)
                return add_number(p, &r->uids, &r->n_uids, (uid_t) uid);
        pw = getpwnam(word);
        if (!pw)
                return complain(p, "there is no user \"%s\"; User= takes names, numbers and \"*\"", word);
        return add_number(p, &r->uids, &r->n_uids, pw->pw_uid);
}

static int set_users(Parser *p, const Key *key, const char *value) {
        return each_word(p, key, value, take_user);
}

static int take_group(Parser *p, const Key *key _unused_, const char *word) {
        Reservation *r = p->target;
        const struct group *gr;
        uint64_t gid;

        if (text_to_u64(word, UINT32_MAX - 1, &gid) >= 0)
                return add_number(p, &r->gids, &r->n_gids, (gid_t) gid);
        gr = getgrnam(word);
        if (!gr)
                return complain(p, "there is no group \"%s\"; Group= takes names and numbers", word);
        return add_number(p, &r->gids, &r->n_gids, gr->gr_gid);
}

static int set_groups(Parser *p, const Key *key, const char *value) {
        return each_word(p, key, value, take_group);
}

static int take_hand_over(Parser *p, const Key *key _unused_, const char *word) {
        HandOver h = hand_over_from_string(word);

        if (h == _HAND_OVER_MAX)
                return complain(p, "\"%s\" is no hand-over; HandOver= takes unbound, attached and none", word);
        ((Reservation *) p->target)->hand_overs |= 1u << h;
        return 0;
}

static int set_hand_overs(Parser *p, const Key *key, const char *value) {
        return each_word(p, key, value, take_hand_over);
}

static int set_driver(Parser *p, const Key *key _unused_, const char *value) {
        Reservation *r = p->target;

        if (isempty(value) || value[strspn(value, LETTERS "0123456789_-")] != '\0' ||
            !text_copy(r->driver, sizeof(r->driver), value))
                return complain(p, "\"%s\" is no driver; Driver= takes one name like vfio-pci", value);
        return 0;
}

static int set_memory_lock(Parser *p, const Key *key _unused_, const char *value) {
        Reservation *r = p->target;

        /* 0 leaves the caller's limit alone, so it would not mean what it says. */
        if (text_to_size(value, &r->memlock) < 0 || r->memlock == 0)
                return complain(p, "\"%s\" is no size; MemoryLock= takes a number like 512M or 8G, or infinity", value);
        return 0;
}

static int set_accounting(Parser *p, const Key *key _unused_, const char *value) {
        bool user = streq(value, "user");

        if (!user && !streq(value, "process"))
                return complain(p, "\"%s\" is unknown; MemoryAccounting= takes process or user", value);
        ((Reservation *) p->target)->account_user = user;
        return 0;
}

static int set_pasids(Parser *p, const Key *key _unused_, const char *value) {
        uint64_t n;

        if (text_to_u64(value, REQUEST_PASIDS_MAX, &n) < 0)
                return complain(p, "\"%s\" is no number of PASIDs; Pasids= takes 0 to %u", value, REQUEST_PASIDS_MAX);
        ((Reservation *) p->target)->pasids = (uint32_t) n;
        return 0;
}

static int set_bool(Parser *p, const Key *key, const char *value) {
        if (text_to_bool(value, (bool *) ((char *) p->target + key->offset)) < 0)
                return complain(p, "\"%s\" is neither; %s= takes yes or no", value, key->name);
        return 0;
}

#define LIMIT_MAX 65536

static int set_limit(Parser *p, const Key *key, const char *value) {
        uint64_t n;

        if (text_to_u64(value, LIMIT_MAX, &n) < 0 || n == 0)
                return complain(p, "\"%s\" is no limit; %s= takes 1 to %d", value, key->name, LIMIT_MAX);
        *(uint32_t *) ((char *) p->target + key->offset) = (uint32_t) n;
        return 0;
}

static int set_newcomers(Parser *p, const Key *key _unused_, const char *value) {
        bool report = streq(value, "report");

        if (!report && !streq(value, "park"))
                return complain(p, "\"%s\" is unknown; Newcomers= takes park or report", value);
        ((Limits *) p->target)->report_newcomers = report;
        return 0;
}

static const Key reservation_keys[] = {
        { "Device", "Address", set_patterns, offsetof(Reservation, match_address), true, &shape_address },
        { "Device", "Id", set_patterns, offsetof(Reservation, match_id), true, &shape_id },
        { "Device", "Subsystem", set_patterns, offsetof(Reservation, match_subsystem), true, &shape_id },
        { "Device", "Class", set_patterns, offsetof(Reservation, match_class), true, &shape_class },
        { "Client", "User", set_users, 0, true, NULL },
        { "Client", "Group", set_groups, 0, true, NULL },
        { "Client", "Unit", set_patterns, offsetof(Reservation, match_unit), true, &shape_unit },
        { "Grant", "HandOver", set_hand_overs, 0, true, NULL },
        { "Grant", "Driver", set_driver, 0, false, NULL },
        { "Grant", "MemoryLock", set_memory_lock, 0, false, NULL },
        { "Grant", "MemoryAccounting", set_accounting, 0, false, NULL },
        { "Grant", "Pasids", set_pasids, 0, false, NULL },
        { "Grant", "ForceInUse", set_bool, offsetof(Reservation, force_in_use), false, NULL },
        { "Grant", "KeepDriver", set_bool, offsetof(Reservation, keep_driver), false, NULL },
};

static const Key limits_keys[] = {
        { "Limits", "LeasesPerUser", set_limit, offsetof(Limits, leases_per_user), false, NULL },
        { "Limits", "DevicesPerUser", set_limit, offsetof(Limits, devices_per_user), false, NULL },
        { "Limits", "RequestsPerUser", set_limit, offsetof(Limits, requests_per_user), false, NULL },
        { "Limits", "Leases", set_limit, offsetof(Limits, leases), false, NULL },
        { "Limits", "Workers", set_limit, offsetof(Limits, workers), false, NULL },
        { "Groups", "Newcomers", set_newcomers, 0, false, NULL },
};

/* --- lines --- */

/* libinih says nothing of sections without keys and skips what follows a section on its line, so headings are judged
 * here. */
static int check_heading(Parser *p, const char *line) {
        const char *end = strchr(line, ']'), *rest = end ? end + 1 + strspn(end + 1, " \t\n") : "";
        size_t length = end ? (size_t) (end - line) - 1 : 0;

        if (!end || (*rest != '\0' && *rest != ';'))
                return complain(p, "a section heading stands alone on its line, like [%s]", p->keys[0].section);
        for (size_t i = 0; i < p->n_keys; i++)
                if (strlen(p->keys[i].section) == length && memcmp(p->keys[i].section, line + 1, length) == 0)
                        return 0;
        return complain(p, "there is no such section in this file; the first would be [%s]", p->keys[0].section);
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
                        (void) complain(p, "there is a control character 0x%02x", (unsigned char) start[i]);
                        return NULL;
                }
        for (; length > 0 && (*start == ' ' || *start == '\t'); length--)
                start++;
        if (length + 3 > (size_t) size) {
                (void) complain(
                        p, "the line is longer than %d characters; a list may go on in another line of the same key",
                        size - 3);
                return NULL;
        }
        memcpy(buf, start, length);
        memcpy(buf + length, "\n", 2);
        if ((unsigned char) buf[0] >= 0x80)
                (void) complain(p, "this is neither [Section] nor Key=value, nor a comment");
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
                (void) complain(p, "only comments may have characters beyond ASCII");
        else if (isempty(section))
                (void) complain(p, "%s= stands before the first section, like [%s]", name, p->keys[0].section);
        else if (!key)
                (void) complain(p, "[%s] has no key %s=", section, name);
        else {
                bit = UINT64_C(1) << (key - p->keys);
                if ((p->seen & bit) && !key->list)
                        (void) complain(p, "%s= is given twice", name);
                else
                        (void) key->set(p, key, value);
                p->seen |= bit;
        }
        return p->error == 0;
}

static int parse(Parser *p) {
        int r = ini_parse_stream(next_line, p, on_value, p);

        if (r == -2)
                return out_of_memory(p);
        /* libinih goes on after what it cannot read itself, and tells the first such line at the end. */
        if (r > 0 && (p->error == 0 || (p->error_line > 0 && (unsigned) r < p->error_line))) {
                free(TAKE_PTR(p->why));
                p->error = 0;
                p->line = (unsigned) r;
                return complain(p, "this is neither [Section] nor Key=value");
        }
        return p->error;
}

static bool has_any(const Parser *p, const char *section) {
        for (size_t i = 0; i < p->n_keys; i++)
                if (streq(p->keys[i].section, section) && (p->seen & UINT64_C(1) << i))
                        return true;
        return false;
}

static bool is_name(const char *s) {
        return isalnum((unsigned char) s[0]) && s[strspn(s, LETTERS "0123456789_.-")] == '\0' &&
               strlen(s) < NAME_MAX_LEN;
}

int config_parse_reservation(const char *name, const char *text, size_t size, Reservation *ret, char **why) {
        _cleanup_(reservation_clear) Reservation reservation = {};
        char file[512] = "";
        Parser p = { .file = file, .text = text, .size = size, .keys = reservation_keys, .target = &reservation };

        p.n_keys = ARRAY_SIZE(reservation_keys);
        text_append(file, sizeof(file), "%s.conf", text_is_printable(name) ? name : "(unprintable)");
        if (!is_name(name) || !text_copy(reservation.name, sizeof(reservation.name), name))
                (void) complain(&p, "a reservation is named by letters, digits, \"_\", \".\" and \"-\", %d at most",
                                NAME_MAX_LEN - 1);
        else if (parse(&p) == 0 && !has_any(&p, "Device"))
                (void) complain(&p, "no device is named: [Device] needs Address=, Id=, Subsystem= or Class=");
        else if (p.error == 0 && !has_any(&p, "Client"))
                (void) complain(&p, "nobody is named: [Client] needs User=, Group= or Unit=");
        *why = p.why;
        if (p.error == 0)
                *ret = TAKE(reservation, (Reservation) {});
        return p.error;
}

int config_parse_limits(const char *text, size_t size, Limits *ret, char **why) {
        Limits limits = LIMITS_DEFAULT;
        Parser p = { .file = "iommud.conf", .text = text, .size = size, .keys = limits_keys, .target = &limits };

        p.n_keys = ARRAY_SIZE(limits_keys);
        (void) parse(&p);
        *why = p.why;
        if (p.error == 0)
                *ret = limits;
        return p.error;
}
