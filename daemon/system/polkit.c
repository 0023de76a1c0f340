/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <unistd.h>

#include "core/errors.h"
#include "system/polkit.h"

typedef struct Query {
        struct Query *next; /* Polkit::queries */
        sd_bus_message *call;
        sd_bus_slot *slot; /* while polkit is being asked */
        char *text;        /* all of the question */
        bool yes_if_absent;
        enum {
                VERDICT_PENDING,
                VERDICT_YES,
                VERDICT_NO,
                VERDICT_CHALLENGE, /* yes, if a person could be asked */
                VERDICT_ABSENT,    /* there is no polkit, or it failed */
        } verdict;
} Query;

struct Polkit {
        Query *queries;
};

static Query *query_free(Query *q) {
        if (!q)
                return NULL;
        sd_bus_slot_unref(q->slot);
        sd_bus_message_unref(q->call);
        free(q->text);
        free(q);
        return NULL;
}
DEFINE_CLEANUP(Query, query_free)

static bool exists(const char *root, const char *directory, const char *name) {
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s%s%s", root, directory, name) < 0)
                path = NULL;
        return path && access(path, F_OK) == 0;
}

bool polkit_has_actions(const char *root) {
        /* Where polkit 126 looks; an older one knows the last only. */
        static const char *const directories[] = { "/etc/polkit-1/actions", "/run/polkit-1/actions",
                                                   "/usr/local/share/polkit-1/actions", "/usr/share/polkit-1/actions" };

        for (size_t i = 0; i < ARRAY_SIZE(directories); i++)
                if (exists(root, directories[i], "/org.iommud1.policy"))
                        return true;
        return !exists(root, "/usr/share/polkit-1/actions", "/org.freedesktop.policykit.policy");
}

Polkit *polkit_new(void) {
        return calloc(1, sizeof(Polkit));
}

Polkit *polkit_free(Polkit *p) {
        if (!p)
                return NULL;
        while (p->queries) {
                Query *q = p->queries;

                p->queries = q->next;
                query_free(q);
        }
        free(p);
        return NULL;
}

void polkit_forget(Polkit *p, sd_bus_message *call) {
        Query **link = &p->queries;

        while (*link) {
                Query *q = *link;

                if (q->call != call) {
                        link = &q->next;
                        continue;
                }
                *link = q->next;
                query_free(q);
        }
}

static int read_verdict(sd_bus_message *reply) {
        int authorized, challenge;

        if (sd_bus_message_is_method_error(reply, NULL))
                return VERDICT_ABSENT;
        if (sd_bus_message_enter_container(reply, 'r', "bba{ss}") < 0 ||
            sd_bus_message_read(reply, "bb", &authorized, &challenge) < 0)
                return VERDICT_ABSENT;
        return authorized ? VERDICT_YES : challenge ? VERDICT_CHALLENGE : VERDICT_NO;
}

static int on_reply(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error) {
        Query *q = userdata;
        int r;

        q->slot = sd_bus_slot_unref(q->slot);
        q->verdict = read_verdict(reply);
        r = sd_bus_message_rewind(q->call, true);
        if (r >= 0)
                r = sd_bus_enqueue_for_read(sd_bus_message_get_bus(q->call), q->call);
        if (r < 0)
                (void) sd_bus_reply_method_errno(q->call, r, NULL);
        return 1;
}

static int append_detail(sd_bus_message *m, const char *key, const char *value) {
        return value ? sd_bus_message_append(m, "{ss}", key, value) : 0;
}

static int append_charged(sd_bus_message *m, const Caller *charged) {
        char uid[16], pid[16];

        (void) snprintf(uid, sizeof(uid), "%u", charged->uid);
        (void) snprintf(pid, sizeof(pid), "%d", (int) charged->pid);
        return sd_bus_message_append(m, "{ss}{ss}{ss}", "for-uid", uid, "for-pid", pid, "for-unit", charged->unit);
}

static int compose(sd_bus_message *call, const PolkitQuestion *q, sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(sd_bus_message_get_bus(call), &m, "org.freedesktop.PolicyKit1",
                                           "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s", sd_bus_message_get_sender(call),
                                  q->action);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{ss}");
        if (r >= 0)
                r = append_detail(m, "device", q->device);
        if (r >= 0)
                r = append_detail(m, "ids", q->ids);
        if (r >= 0)
                r = append_detail(m, "group", q->group);
        if (r >= 0)
                r = append_detail(m, "driver", q->driver);
        if (r >= 0)
                r = append_detail(m, "reservation", q->reservation);
        if (r >= 0)
                r = append_detail(m, "unit", q->unit);
        if (r >= 0 && q->charged)
                r = append_charged(m, q->charged);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_append(m, "us", sd_bus_message_get_allow_interactive_authorization(call) > 0 ? 1 : 0,
                                          "");
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

static const char *or_empty(const char *s) {
        return s ? s : "";
}

/* None of its words has a line break. NULL: out of memory. */
static char *question_text(const PolkitQuestion *q) {
        const Caller *c = q->charged;
        char *text;

        if (asprintf(&text, "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%d %u %d %s", q->action, q->device, or_empty(q->ids),
                     or_empty(q->group), or_empty(q->driver), or_empty(q->reservation), or_empty(q->unit), !!c,
                     c ? c->uid : 0, c ? (int) c->pid : 0, c ? c->unit : "") < 0)
                return NULL;
        return text;
}

static int ask(Polkit *p, sd_bus_message *call, const PolkitQuestion *question, char *text) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(query_freep) Query *q = calloc(1, sizeof(*q));
        int r;

        if (!q)
                return -ENOMEM;
        q->call = sd_bus_message_ref(call);
        q->yes_if_absent = question->yes_if_absent;
        r = compose(call, question, &m);
        if (r < 0)
                return r;
        /* A person may take as long as they like; polkit ends it when the caller leaves the bus. */
        r = sd_bus_call_async(sd_bus_message_get_bus(call), &q->slot, m, on_reply, q, UINT64_MAX);
        if (r < 0)
                return r;
        q->text = text;
        q->next = p->queries;
        p->queries = TAKE_PTR(q);
        return 0;
}

int polkit_check(Polkit *p, sd_bus_message *call, const PolkitQuestion *question, sd_bus_error *error) {
        _cleanup_free_ char *text = question_text(question);
        const Query *q = p->queries;
        int r;

        if (!text)
                return -ENOMEM;
        while (q && (q->call != call || !streq(q->text, text)))
                q = q->next;
        if (!q) {
                r = ask(p, call, question, text);
                if (r >= 0)
                        TAKE_PTR(text);
                return r;
        }
        switch (q->verdict) {
        case VERDICT_PENDING:
                return 0;
        case VERDICT_YES:
                return 1;
        case VERDICT_CHALLENGE:
                return sd_bus_error_setf(
                        error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                        "%s for %s needs a person to authenticate; call with interactive authorization "
                        "allowed and an agent running",
                        question->action, question->device);
        case VERDICT_ABSENT:
                if (q->yes_if_absent)
                        return 1;
                return sd_bus_error_setf(error, ERROR_NOT_AUTHORIZED,
                                         "%s for %s needs polkit, which does not answer; a reservation for the caller "
                                         "would do without",
                                         question->action, question->device);
        default:
                return sd_bus_error_setf(error, ERROR_NOT_AUTHORIZED,
                                         "polkit does not grant %s for %s; an administrator can, by a polkit rule or a "
                                         "reservation",
                                         question->action, question->device);
        }
}
