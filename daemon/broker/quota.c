/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
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

/* May it have a limit? */
static int check_cgroup(const char *path, char boundary[static QUOTA_PATH_MAX]) {
        _cleanup_free_ CGroup *cgroup = malloc(sizeof(*cgroup));
        int r;

        if (!cgroup)
                return -ENOMEM;
        r = cgroup_read(CGROUP_ROOT, path, cgroup);
        if (r < 0)
                return r;
        if (!streq(cgroup->path, path))
                return -E2BIG;
        (void) text_copy(boundary, QUOTA_PATH_MAX, cgroup->charged);
        return streq(cgroup->charged, path) ? 0 : -EPERM;
}

/* Changes a setting and writes it down, or leaves it as it was. */
static int change(Broker *b, bool runtime, const char *path, uint64_t limit) {
        QuotaSettings *s = runtime ? &b->ledger.quota.runtime : &b->ledger.quota.persistent;
        uint64_t before = QUOTA_UNLIMITED;
        int r;

        for (size_t i = 0; i < s->n; i++)
                if (streq(s->items[i].path, path))
                        before = s->items[i].limit;
        if (before == limit)
                return 0;
        r = quota_settings_put(s, path, limit);
        if (r >= 0)
                r = store_save_quotas(&b->store, runtime, s);
        if (r < 0)
                (void) quota_settings_put(s, path, before);
        return r;
}

int quota_set_limit(Broker *b, const char *cgroup, uint64_t limit, bool runtime, char boundary[static QUOTA_PATH_MAX]) {
        const QuotaLevel *level;
        int r = 0;

        if (limit != QUOTA_UNLIMITED)
                r = check_cgroup(cgroup, boundary);
        if (r >= 0)
                r = change(b, runtime, cgroup, limit);
        /* What is set for good counts from now on, and not only after a reboot. */
        if (r >= 0 && !runtime)
                r = change(b, true, cgroup, QUOTA_UNLIMITED);
        if (r < 0)
                return r;
        level = quota_level(&b->ledger.quota, cgroup);
        if (level && level->booked > limit)
                journal_log(LOG_NOTICE,
                            "%s has %" PRIu64 " PASIDs booked, more than its new limit of %" PRIu64
                            ": they stay until their leases end, and no new ones are booked",
                            cgroup, level->booked, limit);
        quota_note_limits(b);
        return 0;
}

void quota_read_counts(const Broker *b, const QuotaLevel *level, PasidCounts *ret) {
        *ret = (PasidCounts) {};
        /* One that was never charged is unknown to the gate. */
        if (b->enforcement == ENFORCEMENT_KERNEL && level->id != 0)
                (void) b->kernel->ops->gate_read_level(b->kernel, level->id, ret);
}
