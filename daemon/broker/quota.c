/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/limit.h"
#include "broker/quota.h"
#include "system/cgroup.h"
#include "system/journal.h"
#include "util/text.h"

static void load(Broker *b, bool runtime, QuotaSettings *ret) {
        int r = store_load_quotas(&b->store, runtime, ret);

        if (r < 0)
                journal_log(LOG_ERR, "Cannot read the limits that were set %s: %s",
                            runtime ? "until reboot" : "for good", strerror(-r));
}

void quota_start(Broker *b) {
        load(b, true, &b->ledger.quota.runtime);
        load(b, false, &b->ledger.quota.persistent);
        quota_publish(b);
}

/* A level that is there although nothing is booked in it. */
static void add_named(Broker *b, const char *path) {
        _cleanup_free_ CGroup *cgroup = NULL;
        Quota *q = &b->ledger.quota;
        QuotaLevel *level;

        if (quota_level(q, path))
                return;
        if (quota_add_level(q, path, &level) < 0) {
                journal_log(LOG_ERR, "Out of memory, the limit of %s counts and is not shown", path);
                return;
        }
        cgroup = malloc(sizeof(*cgroup));
        if (cgroup && cgroup_read(CGROUP_ROOT, path, cgroup) >= 0)
                level->id = cgroup->chain.levels[0];
}

static void add_settings(Broker *b, const QuotaSettings *s) {
        for (size_t i = 0; i < s->n; i++)
                add_named(b, s->items[i].path);
}

/* Of the patterns only those without wildcards name anything. */
static void add_words(Broker *b, const char *words) {
        char path[QUOTA_PATH_MAX];
        const char *word;
        size_t length;

        while (words && text_next_word(&words, &word, &length)) {
                if (length >= sizeof(path))
                        continue;
                memcpy(path, word, length);
                path[length] = '\0';
                if (!strpbrk(path, "*?["))
                        add_named(b, path);
        }
}

static void tell(Broker *b, QuotaLevel *level) {
        bool is_new = !level->told, changed = level->changed;

        level->told = true;
        level->changed = false;
        if (b->listener && is_new)
                b->listener->quota_added(level, b->listener_userdata);
        else if (b->listener && changed)
                b->listener->quota_changed(level, b->listener_userdata);
}

void quota_publish(Broker *b) {
        Quota *q = &b->ledger.quota;

        add_named(b, "/");
        add_settings(b, &q->runtime);
        add_settings(b, &q->persistent);
        for (size_t i = 0; i < b->config.quotas.n; i++)
                add_words(b, b->config.quotas.items[i].match_cgroup);
        for (size_t i = q->n_levels; i > 0; i--) {
                QuotaLevel *level = q->levels[i - 1];

                if (level->changed)
                        limit_update(b, level->path);
                if (level->booked > 0 || quota_is_named(q, &b->config.quotas, level->path)) {
                        tell(b, level);
                        continue;
                }
                if (b->listener && level->told)
                        b->listener->quota_removed(level, b->listener_userdata);
                quota_remove_level(q, level);
        }
}

void quota_note_limits(Broker *b) {
        for (size_t i = 0; i < b->ledger.quota.n_levels; i++)
                b->ledger.quota.levels[i]->changed = true;
        quota_publish(b);
        limit_update_all(b);
}

void quota_read_counts(const Broker *b, const QuotaLevel *level, PasidCounts *ret) {
        *ret = (PasidCounts) {};
        /* One that was never charged is unknown to the gate. */
        if (b->enforcement == ENFORCEMENT_KERNEL && level->id != 0)
                (void) b->kernel->ops->gate_read_level(b->kernel, level->id, ret);
}
