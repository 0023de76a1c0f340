/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>

#include "config.h"
#include "core/pattern.h"
#include "core/request.h"
#include "system/parser.h"
#include "util/text.h"

/* The texts of the administrator's files become values here; config.c is about the files themselves. */

/* --- values --- */

#define HEX_DIGITS "0123456789abcdef"

static const Shape shape_address = {
        HEX_DIGITS ":.", NULL, 12, 16, "an address like 0000:01:00.0 or 0000:01:00.*", true
};
static const Shape shape_id = { HEX_DIGITS ":", "xxxx:xxxx", 9, 9, "two lower-case numbers like 8086:10d3 or 8086:*" };
static const Shape shape_class = { HEX_DIGITS, "xxxxxx", 6, 6, "six lower-case digits like 010802 or 0108*" };
static const Shape shape_unit = { PARSER_LETTERS PARSER_DIGITS ":_.\\@-", NULL, 1, PATTERN_WORD_MAX,
                                  "a system unit like qemu.service or machine-*.scope" };

/* uid_t and gid_t are the same type on Linux. */
static int add_number(Parser *p, uid_t **list, size_t *n, uid_t number) {
        uid_t *grown = reallocarray(*list, *n + 1, sizeof(*grown));

        if (!grown)
                return parser_out_of_memory(p);
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
                return parser_complain(p, "there is no user \"%s\"; User= takes names, numbers and \"*\"", word);
        return add_number(p, &r->uids, &r->n_uids, pw->pw_uid);
}

static int set_users(Parser *p, const Key *key, const char *value) {
        return parser_each_word(p, key, value, take_user);
}

static int take_group(Parser *p, const Key *key _unused_, const char *word) {
        Reservation *r = p->target;
        const struct group *gr;
        uint64_t gid;

        if (text_to_u64(word, UINT32_MAX - 1, &gid) >= 0)
                return add_number(p, &r->gids, &r->n_gids, (gid_t) gid);
        gr = getgrnam(word);
        if (!gr)
                return parser_complain(p, "there is no group \"%s\"; Group= takes names and numbers", word);
        return add_number(p, &r->gids, &r->n_gids, gr->gr_gid);
}

static int set_groups(Parser *p, const Key *key, const char *value) {
        return parser_each_word(p, key, value, take_group);
}

static int take_hand_over(Parser *p, const Key *key _unused_, const char *word) {
        HandOver h = hand_over_from_string(word);

        if (h == _HAND_OVER_MAX)
                return parser_complain(
                        p, "\"%s\" is no hand-over; HandOver= takes unbound, attached, group, node and none", word);
        ((Reservation *) p->target)->hand_overs |= 1u << h;
        return 0;
}

static int set_hand_overs(Parser *p, const Key *key, const char *value) {
        return parser_each_word(p, key, value, take_hand_over);
}

static int set_driver(Parser *p, const Key *key _unused_, const char *value) {
        Reservation *r = p->target;

        if (isempty(value) || value[strspn(value, PARSER_LETTERS PARSER_DIGITS "_-")] != '\0' ||
            !text_copy(r->driver, sizeof(r->driver), value))
                return parser_complain(p, "\"%s\" is no driver; Driver= takes one name like vfio-pci", value);
        return 0;
}

static int set_memory_lock(Parser *p, const Key *key _unused_, const char *value) {
        Reservation *r = p->target;

        /* 0 leaves the caller's limit alone, so it would not mean what it says. */
        if (text_to_size(value, &r->memlock) < 0 || r->memlock == 0)
                return parser_complain(p, "\"%s\" is no size; MemoryLock= takes a number like 512M or 8G, or infinity",
                                       value);
        return 0;
}

static int set_pasids(Parser *p, const Key *key _unused_, const char *value) {
        uint64_t n;

        if (text_to_u64(value, REQUEST_PASIDS_MAX, &n) < 0)
                return parser_complain(p, "\"%s\" is no number of PASIDs; Pasids= takes 0 to %u", value,
                                       REQUEST_PASIDS_MAX);
        ((Reservation *) p->target)->has_pasids = true;
        ((Reservation *) p->target)->pasids = (uint32_t) n;
        return 0;
}

static int set_at_deadline(Parser *p, const Key *key _unused_, const char *value) {
        Reservation *r = p->target;

        if (streq(value, "report"))
                r->at_deadline = AT_DEADLINE_REPORT;
        else if (streq(value, "kill"))
                r->at_deadline = AT_DEADLINE_KILL;
        else if (streq(value, "kill-cgroup"))
                r->at_deadline = AT_DEADLINE_KILL_CGROUP;
        else
                return parser_complain(p, "\"%s\" is unknown; AtDeadline= takes report, kill or kill-cgroup", value);
        return 0;
}

static int set_bool(Parser *p, const Key *key, const char *value) {
        if (text_to_bool(value, (bool *) ((char *) p->target + key->offset)) < 0)
                return parser_complain(p, "\"%s\" is neither; %s= takes yes or no", value, key->name);
        return 0;
}

#define LIMIT_MAX 65536

static int set_limit(Parser *p, const Key *key, const char *value) {
        uint64_t n;

        if (text_to_u64(value, LIMIT_MAX, &n) < 0 || n == 0)
                return parser_complain(p, "\"%s\" is no limit; %s= takes 1 to %d", value, key->name, LIMIT_MAX);
        *(uint32_t *) ((char *) p->target + key->offset) = (uint32_t) n;
        return 0;
}

/* One of two words: the second sets what the key stands for. */
static int set_either(Parser *p, const Key *key, const char *value, const char *no, const char *yes) {
        bool is = streq(value, yes);

        if (!is && !streq(value, no))
                return parser_complain(p, "\"%s\" is unknown; %s= takes %s or %s", value, key->name, no, yes);
        *(bool *) ((char *) p->target + key->offset) = is;
        return 0;
}

static int set_accounting(Parser *p, const Key *key, const char *value) {
        return set_either(p, key, value, "process", "user");
}

static int set_newcomers(Parser *p, const Key *key, const char *value) {
        return set_either(p, key, value, "park", "report");
}

static int set_without_gate(Parser *p, const Key *key, const char *value) {
        return set_either(p, key, value, "group", "refuse");
}

/* To kill a whole cgroup is not for all clients alike. */
static int set_at_deadline_of_all(Parser *p, const Key *key _unused_, const char *value) {
        bool kill = streq(value, "kill");

        if (!kill && !streq(value, "report"))
                return parser_complain(p, "\"%s\" is unknown; AtDeadline= takes report or kill here", value);
        ((Limits *) p->target)->at_deadline = kill ? AT_DEADLINE_KILL : AT_DEADLINE_REPORT;
        return 0;
}

static const Key reservation_keys[] = {
        { "Device", "Address", parser_set_patterns, offsetof(Reservation, match_address), true, &shape_address },
        { "Device", "Id", parser_set_patterns, offsetof(Reservation, match_id), true, &shape_id },
        { "Device", "Subsystem", parser_set_patterns, offsetof(Reservation, match_subsystem), true, &shape_id },
        { "Device", "Class", parser_set_patterns, offsetof(Reservation, match_class), true, &shape_class },
        { "Client", "User", set_users, 0, true, NULL },
        { "Client", "Group", set_groups, 0, true, NULL },
        { "Client", "Unit", parser_set_patterns, offsetof(Reservation, match_unit), true, &shape_unit },
        { "Grant", "HandOver", set_hand_overs, 0, true, NULL },
        { "Grant", "Driver", set_driver, 0, false, NULL },
        { "Grant", "MemoryLock", set_memory_lock, 0, false, NULL },
        { "Grant", "MemoryAccounting", set_accounting, offsetof(Reservation, account_user), false, NULL },
        { "Grant", "Pasids", set_pasids, 0, false, NULL },
        { "Grant", "ForceInUse", set_bool, offsetof(Reservation, force_in_use), false, NULL },
        { "Grant", "Unclean", set_bool, offsetof(Reservation, unclean), false, NULL },
        { "Grant", "KeepDriver", set_bool, offsetof(Reservation, keep_driver), false, NULL },
        { "Grant", "AtDeadline", set_at_deadline, 0, false, NULL },
};

static const Key limits_keys[] = {
        { "Limits", "LeasesPerUser", set_limit, offsetof(Limits, leases_per_user), false, NULL },
        { "Limits", "DevicesPerUser", set_limit, offsetof(Limits, devices_per_user), false, NULL },
        { "Limits", "RequestsPerUser", set_limit, offsetof(Limits, requests_per_user), false, NULL },
        { "Limits", "Leases", set_limit, offsetof(Limits, leases), false, NULL },
        { "Limits", "Workers", set_limit, offsetof(Limits, workers), false, NULL },
        { "Groups", "Newcomers", set_newcomers, offsetof(Limits, report_newcomers), false, NULL },
        { "Pasids", "WithoutGate", set_without_gate, offsetof(Limits, refuse_ungated), false, NULL },
        { "Revocation", "AtDeadline", set_at_deadline_of_all, 0, false, NULL },
};

int config_parse_reservation(const char *name, const char *text, size_t size, Reservation *ret, char **why) {
        _cleanup_(reservation_clear) Reservation reservation = {};
        Parser p = { .text = text, .size = size, .keys = reservation_keys, .target = &reservation };

        p.n_keys = ARRAY_SIZE(reservation_keys);
        if (parser_run_rule(&p, "reservation", name, reservation.name) == 0 && !parser_has(&p, "Device", NULL))
                (void) parser_complain(&p, "no device is named: [Device] needs Address=, Id=, Subsystem= or Class=");
        else if (p.error == 0 && !parser_has(&p, "Client", NULL))
                (void) parser_complain(&p, "nobody is named: [Client] needs User=, Group= or Unit=");
        *why = p.why;
        if (p.error == 0)
                *ret = TAKE(reservation, (Reservation) {});
        return p.error;
}

int config_parse_limits(const char *text, size_t size, Limits *ret, char **why) {
        Limits limits = LIMITS_DEFAULT;
        Parser p = { .file = "iommud.conf", .text = text, .size = size, .keys = limits_keys, .target = &limits };

        p.n_keys = ARRAY_SIZE(limits_keys);
        (void) parser_run(&p);
        *why = p.why;
        if (p.error == 0)
                *ret = limits;
        return p.error;
}
