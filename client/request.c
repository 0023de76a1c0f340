/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <pwd.h>
#include <stdio.h>

#include "request.h"
#include "say.h"
#include "util/text.h"
#include "verb.h"

/* Hexadecimal digits, min to max of them, up to the character end; sets s behind it. */
static bool take_hex(const char **s, size_t min, size_t max, char end, unsigned *ret) {
        size_t n = strspn(*s, "0123456789abcdefABCDEF");

        if (n < min || n > max || (*s)[n] != end)
                return false;
        *ret = (unsigned) strtoul(*s, NULL, 16);
        *s += end ? n + 1 : n;
        return true;
}

bool address_parse(const char *s, char ret[static ADDRESS_MAX]) {
        unsigned domain = 0, bus, slot, function;
        const char *colon = strchr(s, ':');

        if (colon && strchr(colon + 1, ':') && !take_hex(&s, 4, 8, ':', &domain))
                return false;
        if (!take_hex(&s, 2, 2, ':', &bus) || !take_hex(&s, 2, 2, '.', &slot) || !take_hex(&s, 1, 1, '\0', &function))
                return false;
        if (slot > 0x1f || function > 7)
                return false;
        snprintf(ret, ADDRESS_MAX, "%04x:%02x:%02x.%x", domain, bus, slot, function);
        return true;
}

static int list_add(AddressList *l, const char *address) {
        if (l->n == REQUEST_MAX)
                return say_usage("more than %d devices", REQUEST_MAX);
        if (!address_parse(address, l->items[l->n]))
                return say_usage("not the address of a PCI device: \"%s\"; it looks like 0000:01:00.0", address);
        for (size_t i = 0; i < l->n; i++)
                if (streq(l->items[i], l->items[l->n]))
                        return say_usage("%s is named twice", l->items[i]);
        l->n++;
        return 0;
}

int request_add_device(Request *q, const char *address) {
        return list_add(&q->devices, address);
}

static int add_members(Request *q, const char *text) {
        _cleanup_free_ char *copy = strdup(text);
        char *saved = NULL;
        int r = 0;

        if (!copy)
                return say_oom();
        for (char *w = strtok_r(copy, ", ", &saved); w && r == 0; w = strtok_r(NULL, ", ", &saved))
                r = list_add(&q->members, w);
        return r;
}

static int set_number(const char *option, const char *text, uint64_t max, uint64_t *ret) {
        if (text_to_u64(text, max, ret) < 0)
                return say_usage("%s wants a number up to %llu, not \"%s\"", option, (unsigned long long) max, text);
        return 0;
}

static int set_as(Request *q, const char *text) {
        const struct passwd *p;
        uint64_t uid;

        /* The highest uid means "none" to the kernel. */
        if (text_to_u64(text, UINT32_MAX - 1, &uid) < 0) {
                p = getpwnam(text);
                if (!p)
                        return say_usage("--as: no such user: \"%s\"", text);
                uid = p->pw_uid;
        }
        q->as = (uint32_t) uid;
        q->has_as = true;
        return 0;
}

int request_option(Request *q, int c, const char *argument) {
        uint64_t v = 0;
        int r = 0;

        switch (c) {
        case REQUEST_MEMBERS:
                return add_members(q, argument);
        case REQUEST_HAND_OVER:
                q->hand_over = argument;
                break;
        case REQUEST_DRIVER:
                q->driver = argument;
                break;
        case REQUEST_RESERVATION:
                q->reservation = argument;
                break;
        case REQUEST_RESET_SET:
                q->reset_set = true;
                break;
        case REQUEST_FORCE_IN_USE:
                q->force_in_use = true;
                break;
        case REQUEST_NO_RESTORE:
                q->no_restore = true;
                break;
        case REQUEST_PASIDS:
                r = set_number("--pasids", argument, UINT32_MAX, &v);
                q->pasids = (uint32_t) v;
                q->has_pasids = true;
                break;
        case REQUEST_WAIT:
                /* Seconds here, microseconds there. */
                r = set_number("--wait", argument, UINT64_MAX / 1000000, &v);
                q->wait_usec = v * 1000000;
                q->has_wait = true;
                break;
        case REQUEST_AS:
                return set_as(q, argument);
        }
        return r;
}

static int append_list(sd_bus_message *m, const AddressList *l) {
        int r;

        r = sd_bus_message_open_container(m, 'a', "s");
        for (size_t i = 0; r >= 0 && i < l->n; i++)
                r = sd_bus_message_append(m, "s", l->items[i]);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_members(sd_bus_message *m, const AddressList *l) {
        int r;

        if (l->n == 0)
                return 0;
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "members");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "as");
        if (r >= 0)
                r = append_list(m, l);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_text(sd_bus_message *m, const char *key, const char *value) {
        return value ? sd_bus_message_append(m, "{sv}", key, "s", value) : 0;
}

/* Only what was asked for goes into the message: an older daemon refuses options that it does not know. */
static int append_options(sd_bus_message *m, const Request *q) {
        int r;

        r = append_text(m, "hand-over", q->hand_over);
        if (r >= 0)
                r = append_text(m, "driver", q->driver);
        if (r >= 0)
                r = append_text(m, "reservation", q->reservation);
        if (r >= 0)
                r = append_members(m, &q->members);
        if (r >= 0 && q->has_pasids)
                r = sd_bus_message_append(m, "{sv}", "pasids", "u", q->pasids);
        if (r >= 0 && q->reset_set)
                r = sd_bus_message_append(m, "{sv}", "reset-set", "b", true);
        if (r >= 0 && q->force_in_use)
                r = sd_bus_message_append(m, "{sv}", "force-in-use", "b", true);
        if (r >= 0 && q->no_restore)
                r = sd_bus_message_append(m, "{sv}", "restore", "b", false);
        if (r >= 0 && q->has_wait)
                r = sd_bus_message_append(m, "{sv}", "wait", "t", q->wait_usec);
        if (r >= 0 && q->has_as)
                r = sd_bus_message_append(m, "{sv}", "as", "u", q->as);
        return r;
}

int request_append(const Request *q, sd_bus_message *m) {
        int r;

        r = append_list(m, &q->devices);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0)
                r = append_options(m, q);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? bus_fail(r, "cannot write the request") : 0;
}

int request_run(int argc, char **argv, const struct option *options, const char *help,
                int (*act)(const Request *q, bool json)) {
        Request q = {};
        bool json = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c == 'h')
                        return say_help(help);
                if (c == '?')
                        return VERB_USAGE;
                if (c == 'j') {
                        json = true;
                        continue;
                }
                r = request_option(&q, c, optarg);
                if (r != 0)
                        return r;
        }
        if (optind == argc)
                return say_usage("at least one device is wanted");
        for (; optind < argc; optind++) {
                r = request_add_device(&q, argv[optind]);
                if (r != 0)
                        return r;
        }
        return act(&q, json);
}
