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

static int on_credentials(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error) {
        Call *c = userdata;

        c->slot = sd_bus_slot_unref(c->slot);
        c->credentials = sd_bus_message_ref(reply);
        call_again(c);
        return 1;
}

/* All of one connection are of one user. */
static uint32_t count_of_sender(const CallList *list, const char *sender) {
        uint32_t n = 0;

        for (const Call *c = list->first; c; c = c->next)
                n += streq(sd_bus_message_get_sender(c->message), sender);
        return n;
}

int call_begin(CallList *list, sd_bus_message *m, uint32_t per_user) {
        Call *c;
        int r;

        if (count_of_sender(list, sd_bus_message_get_sender(m)) >= per_user)
                return -EDQUOT;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->list = list;
        c->message = sd_bus_message_ref(m);
        c->next = list->first;
        list->first = c;
        /* Not sd_bus_query_sender_creds(): it waits for the bus, and with it everybody. */
        r = sd_bus_call_method_async(sd_bus_message_get_bus(m), &c->slot, "org.freedesktop.DBus",
                                     "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionCredentials",
                                     on_credentials, c, "s", sd_bus_message_get_sender(m));
        if (r < 0)
                call_end(c);
        return r < 0 ? r : 0;
}

int call_count(Call *c, uid_t uid, uint32_t per_user) {
        uint32_t n = 0;

        if (c->counted)
                return 0;
        for (const Call *other = c->list->first; other; other = other->next)
                n += other->counted && other->uid == uid;
        if (n >= per_user)
                return -EDQUOT;
        c->uid = uid;
        c->counted = true;
        return 0;
}

void call_answer(Call *c) {
        int r = sd_bus_reply_method_return(c->message, "");

        if (r < 0)
                journal_log(LOG_WARNING, "Cannot answer %s: %s", sd_bus_message_get_member(c->message), strerror(-r));
        call_end(c);
}

Call *call_end(Call *c) {
        Call **link;

        if (!c)
                return NULL;
        for (link = &c->list->first; *link != c; link = &(*link)->next)
                ;
        *link = c->next;
        /* Its verdicts are not for the next one, which may have the same address; and they have a reference to the message. */
        polkit_forget(c->list->polkit, c->message);
        sd_bus_slot_unref(c->slot);
        sd_bus_message_unref(c->credentials);
        sd_event_source_disable_unref(c->timer);
        sd_bus_track_unref(c->track);
        sd_bus_message_unref(c->message);
        client_free(c->client);
        free(c->added);
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

void call_on_looked(int result, void *userdata) {
        Call *c = userdata;

        c->looking = false;
        c->looked = true;
        c->look_result = result;
        call_again(c);
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
        /* Who might have it when it began to wait may not have it when it is free. */
        polkit_forget(c->list->polkit, c->message);
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

void call_list_asked(CallList *list) {
        for (Call *c = list->first; c; c = c->next)
                if (TAKE(c->asking, false)) {
                        c->asked = true;
                        call_again(c);
                }
}

void call_list_clear(CallList *list) {
        while (list->first)
                call_end(list->first);
}
