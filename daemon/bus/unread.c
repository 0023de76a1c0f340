/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/unread.h"
#include "bus/stats.h"
#include "core/errors.h"

/* One message. */
struct Unread {
        Unread *next; /* UnreadList::first */
        UnreadList *list;
        sd_bus_slot *slot; /* while the bus is asked about it */
        char *receiver;    /* unique name */
        uid_t uid;
        size_t n;
};

static void unread_remove(Unread *u) {
        Unread **link = &u->list->first;

        while (*link != u)
                link = &(*link)->next;
        *link = u->next;
        sd_bus_slot_unref(u->slot);
        free(u->receiver);
        free(u);
}

void unread_list_clear(UnreadList *list) {
        while (list->first)
                unread_remove(list->first);
}

/* Of one user, or of all with NULL. */
static size_t count(const UnreadList *list, const uid_t *uid) {
        size_t n = 0;

        for (const Unread *u = list->first; u; u = u->next)
                if (!uid || u->uid == *uid)
                        n += u->n;
        return n;
}

static int note(UnreadList *list, const Call *c, size_t n) {
        Unread *u;

        if (n == 0)
                return 0;
        u = calloc(1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->receiver = strdup(sd_bus_message_get_sender(c->message));
        if (!u->receiver) {
                free(u);
                return -ENOMEM;
        }
        u->list = list;
        u->uid = c->uid;
        u->n = n;
        u->next = list->first;
        list->first = u;
        return 0;
}

static int on_stats(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error) {
        Unread *u = userdata;
        UnreadList *list = u->list;

        u->slot = sd_bus_slot_unref(u->slot);
        /* Only a bus that says so has them still. */
        if (stats_read(reply, "OutgoingFDs") == 0)
                unread_remove(u);
        for (u = list->first; u; u = u->next)
                if (u->slot)
                        return 1;
        call_list_asked(list->calls);
        return 1;
}

/* About each message by itself: an answer says nothing of those that are sent after the question. */
static int ask(UnreadList *list, sd_bus *bus) {
        for (Unread *u = list->first; u; u = u->next) {
                int r = 0;

                if (!u->slot)
                        r = stats_ask(bus, u->receiver, &u->slot, on_stats, u);
                if (r < 0)
                        return r;
        }
        return 0;
}

int unread_admit(UnreadList *list, Call *c, size_t n, sd_bus_error *error) {
        size_t own = count(list, &c->uid), all = count(list, NULL);
        int r;

        if (own + n <= UNREAD_PER_USER_MAX && all + n <= UNREAD_MAX) {
                r = note(list, c, n);
                return r < 0 ? r : 1;
        }
        if (c->asked && own + n > UNREAD_PER_USER_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                         "%zu descriptors that were sent to uid %u are not read yet; read from the "
                                         "connections to the bus that have asked for them, or close them",
                                         own, c->uid);
        if (c->asked)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                         "%zu descriptors that were sent to other clients are not read yet, and the "
                                         "bus takes no more; try again",
                                         all);
        r = ask(list, sd_bus_message_get_bus(c->message));
        if (r < 0)
                return r;
        c->asking = true;
        return 0;
}
