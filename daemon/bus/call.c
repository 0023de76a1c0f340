/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "bus/call.h"
#include "system/journal.h"

Call *call_find(const CallList *list, sd_bus_message *m) {
        Call *c = list->first;

        while (c && c->message != m)
                c = c->next;
        return c;
}

int call_begin(CallList *list, sd_bus_message *m, uid_t uid, uint32_t per_user, Call **ret) {
        uint32_t n = 0;
        Call *c;

        for (c = list->first; c; c = c->next)
                n += c->uid == uid;
        if (n >= per_user)
                return -EDQUOT;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->list = list;
        c->message = sd_bus_message_ref(m);
        c->uid = uid;
        c->next = list->first;
        list->first = c;
        *ret = c;
        return 0;
}

Call *call_end(Call *c) {
        Call **link;

        if (!c)
                return NULL;
        for (link = &c->list->first; *link != c; link = &(*link)->next)
                ;
        *link = c->next;
        sd_event_source_disable_unref(c->timer);
        sd_bus_track_unref(c->track);
        sd_bus_message_unref(c->message);
        client_free(c->client);
        free(c);
        return NULL;
}

void call_again(Call *c) {
        int r;

        c->waiting = false;
        r = sd_bus_message_rewind(c->message, true);
        if (r >= 0)
                r = sd_bus_enqueue_for_read(sd_bus_message_get_bus(c->message), c->message);
        if (r < 0)
                journal_log(LOG_ERR, "A call of uid %u is lost: %s", c->uid, strerror(-r));
}

static int on_caller_gone(_unused_ sd_bus_track *track, void *userdata) {
        Call *c = userdata;

        /* While polkit or a worker has it, they will notice by themselves. Returning 0 would call this again and again. */
        if (c->waiting)
                call_end(c);
        return 1;
}

int call_wait(Call *c) {
        int r;

        c->waiting = true;
        if (c->track)
                return 0;
        r = sd_bus_track_new(sd_bus_message_get_bus(c->message), &c->track, on_caller_gone, c);
        return r < 0 ? r : sd_bus_track_add_sender(c->track, c->message);
}

void call_list_retry(CallList *list) {
        for (Call *c = list->first; c; c = c->next)
                if (c->waiting)
                        call_again(c);
}

void call_list_clear(CallList *list) {
        while (list->first)
                call_end(list->first);
}
