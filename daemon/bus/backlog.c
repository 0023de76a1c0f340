/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/backlog.h"
#include "bus/stats.h"
#include "core/errors.h"

struct Held {
        Held *next;
        Backlog *backlog;
        sd_bus_message *message;
        sd_bus_slot *slot; /* while the bus is asked about who calls */
        bool admitted;     /* it comes back to the filter, and goes on */
};

/* At most what an answer has: all objects, or one that is introspected. */
#define OBJECT_SIZE 2048
#define ANSWER_SIZE 16384

static uint64_t answer_size(const Backlog *b, sd_bus_message *m) {
        const Ledger *l = b->ledger;

        if (!sd_bus_message_is_method_call(m, "org.freedesktop.DBus.ObjectManager", NULL))
                return ANSWER_SIZE;
        return ANSWER_SIZE +
               OBJECT_SIZE * (l->inventory.n_devices + l->inventory.n_groups + l->n_leases + l->quota.n_levels);
}

static void held_remove(Held *h) {
        Held **link = &h->backlog->first;

        while (*link != h)
                link = &(*link)->next;
        *link = h->next;
        sd_bus_slot_unref(h->slot);
        sd_bus_message_unref(h->message);
        free(h);
}

static bool is_from(const Held *h, const char *sender) {
        return streq(sd_bus_message_get_sender(h->message), sender);
}

static int on_sender_stats(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error);

/* Of each connection one call at a time: what the bus says has to count the answers before. */
static int ask_next(Backlog *b, const char *sender) {
        Held *h = b->first;
        int r;

        while (h && !is_from(h, sender))
                h = h->next;
        if (!h || h->slot || h->admitted)
                return 0;
        r = stats_ask(sd_bus_message_get_bus(h->message), sender, &h->slot, on_sender_stats, h);
        return r < 0 ? r : 0;
}

static uint64_t share(const Backlog *b) {
        uint64_t all = b->unread + b->since, left = all < BACKLOG_MAX ? (BACKLOG_MAX - all) / 64 : 0;

        return left > BACKLOG_LEAST ? left : BACKLOG_LEAST;
}

/* Who does not read would not read refusals without end either. */
static int refuse(Held *h, uint32_t unread) {
        if (unread >= 2 * share(h->backlog))
                return 0;
        return sd_bus_reply_method_errorf(h->message, ERROR_LIMIT_EXCEEDED,
                                          "%u bytes of answers to this connection are not read yet; read them, then "
                                          "call again",
                                          unread);
}

static int on_sender_stats(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        uint32_t unread = stats_read(reply, "OutgoingBytes");
        Held *h = userdata;
        Backlog *b = h->backlog;
        int r;

        h->slot = sd_bus_slot_unref(h->slot);
        if (unread < share(b)) {
                h->admitted = true;
                r = sd_bus_enqueue_for_read(sd_bus_message_get_bus(h->message), h->message);
                if (r >= 0)
                        return 1;
        } else
                r = refuse(h, unread);
        m = sd_bus_message_ref(h->message);
        held_remove(h);
        if (r >= 0)
                r = ask_next(b, sd_bus_message_get_sender(m));
        return r < 0 ? r : 1;
}

static int hold(Backlog *b, sd_bus_message *m) {
        const char *sender = sd_bus_message_get_sender(m);
        bool answered = sd_bus_message_get_expect_reply(m) > 0;
        Held **link = &b->first, *h;
        unsigned n = 0;

        /* Those that want no answer do not count against those that do. */
        for (; *link; link = &(*link)->next)
                n += is_from(*link, sender) && answered == (sd_bus_message_get_expect_reply((*link)->message) > 0);
        if (n >= BACKLOG_HELD)
                return 0;
        h = calloc(1, sizeof(*h));
        if (!h)
                return -ENOMEM;
        h->backlog = b;
        h->message = sd_bus_message_ref(m);
        *link = h;
        return ask_next(b, sender);
}

static int on_own_stats(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error) {
        Backlog *b = userdata;

        b->question = sd_bus_slot_unref(b->question);
        b->unread = stats_read(reply, "IncomingBytes");
        b->since -= b->before;
        return 1;
}

static int ask_about_us(Backlog *b, sd_bus *bus) {
        const char *name;
        int r = sd_bus_get_unique_name(bus, &name);

        b->before = b->since;
        return r < 0 ? r : stats_ask(bus, name, &b->question, on_own_stats, b);
}

static Held *find(const Backlog *b, const sd_bus_message *m) {
        Held *h = b->first;

        while (h && h->message != m)
                h = h->next;
        return h;
}

/* Returns 1 for a call that goes no further now. */
static int on_message(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error) {
        Backlog *b = userdata;
        Held *h;
        int r = 0;

        if (!sd_bus_message_is_method_call(m, NULL, NULL) || call_find(b->calls, m))
                return 0;
        h = find(b, m);
        if (h) {
                b->since += answer_size(b, m);
                held_remove(h);
                return ask_next(b, sd_bus_message_get_sender(m));
        }
        if (b->unread + b->since >= BACKLOG_FREE && !b->question)
                r = ask_about_us(b, sd_bus_message_get_bus(m));
        if (r < 0)
                return r;
        if (b->unread + b->since >= BACKLOG_FREE) {
                r = hold(b, m);
                return r < 0 ? r : 1;
        }
        b->since += answer_size(b, m);
        return 0;
}

int backlog_begin(Backlog *b, sd_bus *bus, const CallList *calls, const Ledger *ledger) {
        b->calls = calls;
        b->ledger = ledger;
        return sd_bus_add_filter(bus, &b->filter, on_message, b);
}

void backlog_clear(Backlog *b) {
        while (b->first)
                held_remove(b->first);
        b->question = sd_bus_slot_unref(b->question);
        b->filter = sd_bus_slot_unref(b->filter);
}
