/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <syslog.h>

#include "broker/quota.h"
#include "broker/setting.h"
#include "system/cgroup.h"
#include "system/journal.h"
#include "util/fd.h"
#include "util/text.h"

struct Setting {
        Setting *next; /* Broker::settings; the first is at work */
        Broker *broker;
        char cgroup[QUOTA_PATH_MAX];
        uint64_t limit;
        bool runtime;
        int fd; /* of the new file, while a worker waits for the disk */
        setting_done_t done;
        void *userdata;
};

static Setting *setting_free(Setting *s) {
        if (!s)
                return NULL;
        if (s->fd >= 0)
                store_drop_quotas(&s->broker->store, s->runtime);
        fd_close(s->fd);
        free(s);
        return NULL;
}
DEFINE_CLEANUP(Setting, setting_free)

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

static QuotaSettings *settings_of(Broker *b, bool runtime) {
        return runtime ? &b->ledger.quota.runtime : &b->ledger.quota.persistent;
}

static uint64_t limit_before(const QuotaSettings *s, const char *path) {
        for (size_t i = 0; i < s->n; i++)
                if (streq(s->items[i].path, path))
                        return s->items[i].limit;
        return QUOTA_UNLIMITED;
}

/* Writes what the settings would be with this limit, which does not count yet. Returns a descriptor; -EALREADY if they are so. */
static int begin_file(Broker *b, bool runtime, const char *path, uint64_t limit) {
        QuotaSettings *s = settings_of(b, runtime);
        uint64_t before = limit_before(s, path);
        int r, q;

        if (before == limit)
                return -EALREADY;
        r = quota_settings_put(s, path, limit);
        if (r < 0)
                return r;
        r = store_begin_quotas(&b->store, runtime, s);
        q = quota_settings_put(s, path, before);
        return r >= 0 && q < 0 ? q : r;
}

static int finish_file(Broker *b, bool runtime, const char *path, uint64_t limit) {
        int r = quota_settings_put(settings_of(b, runtime), path, limit);

        if (r < 0)
                store_drop_quotas(&b->store, runtime);
        return r < 0 ? r : store_finish_quotas(&b->store, runtime);
}

/* In memory, as /run is. */
static int set_until_reboot(Broker *b, const char *path, uint64_t limit) {
        int fd = begin_file(b, true, path, limit);

        if (fd < 0)
                return fd == -EALREADY ? 0 : fd;
        fd_close(fd);
        return finish_file(b, true, path, limit);
}

static void note(Broker *b, const Setting *s) {
        const QuotaLevel *level = quota_level(&b->ledger.quota, s->cgroup);

        if (level && level->booked > s->limit)
                journal_log(LOG_NOTICE,
                            "%s has %" PRIu64 " PASIDs booked, more than its new limit of %" PRIu64
                            ": they stay until their leases end, and no new ones are booked",
                            s->cgroup, level->booked, s->limit);
        quota_note_limits(b);
}

static void begin_first(Broker *b);

static void end_first(Broker *b, int r) {
        _cleanup_(setting_freep) Setting *s = b->settings;

        /* What is set for good counts from now on, and not only after a reboot. */
        if (r >= 0 && !s->runtime)
                r = set_until_reboot(b, s->cgroup, QUOTA_UNLIMITED);
        if (r >= 0)
                note(b, s);
        b->settings = s->next;
        s->done(r, s->userdata);
        begin_first(b);
}

static void on_synced(Job *job, void *userdata) {
        Broker *b = userdata;
        Setting *s = b->settings;
        int r = job->result;

        if (r >= 0) {
                s->fd = fd_close(s->fd);
                r = finish_file(b, s->runtime, s->cgroup, s->limit);
        }
        end_first(b, r);
}

static int sync_file(Broker *b, int fd) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));

        if (!job)
                return -ENOMEM;
        job_init(job, JOB_SYNC);
        job->file_fd = fd;
        return task_start(b->tasks, job, on_synced, b, NULL);
}

static void begin_first(Broker *b) {
        Setting *s = b->settings;
        int r;

        if (!s)
                return;
        if (s->runtime) {
                end_first(b, set_until_reboot(b, s->cgroup, s->limit));
                return;
        }
        s->fd = begin_file(b, false, s->cgroup, s->limit);
        r = s->fd < 0 ? s->fd : sync_file(b, s->fd);
        if (r < 0)
                end_first(b, r == -EALREADY ? 0 : r);
}

int setting_start(Broker *b, const char *cgroup, uint64_t limit, bool runtime, char boundary[static QUOTA_PATH_MAX],
                  setting_done_t done, void *userdata) {
        _cleanup_(setting_freep) Setting *s = calloc(1, sizeof(*s));
        Setting **link = &b->settings;
        int r;

        if (!s)
                return -ENOMEM;
        s->fd = -EBADF;
        r = limit == QUOTA_UNLIMITED ? 0 : check_cgroup(cgroup, boundary);
        if (r < 0)
                return r;
        if (!text_copy(s->cgroup, sizeof(s->cgroup), cgroup))
                return -E2BIG;
        s->broker = b;
        s->limit = limit;
        s->runtime = runtime;
        s->done = done;
        s->userdata = userdata;
        while (*link)
                link = &(*link)->next;
        *link = TAKE_PTR(s);
        if (b->settings == *link)
                begin_first(b);
        return 0;
}

void setting_forget_all(Broker *b) {
        while (b->settings) {
                Setting *s = b->settings;

                b->settings = s->next;
                setting_free(s);
        }
}
