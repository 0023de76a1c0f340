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
        int fd;               /* of the new file, while a worker waits for the disk */
        QuotaSettings wanted; /* what is in it */
        setting_done_t done;
        void *userdata;
};

static Setting *setting_free(Setting *s) {
        if (!s)
                return NULL;
        if (s->fd >= 0)
                store_drop_quotas(&s->broker->store, s->runtime);
        fd_close(s->fd);
        quota_settings_clear(&s->wanted);
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

static int copy(const QuotaSettings *from, QuotaSettings *ret) {
        int r = 0;

        for (size_t i = 0; i < from->n && r >= 0; i++)
                r = quota_settings_put(ret, from->items[i].path, from->items[i].limit);
        return r;
}

/* Writes what the settings would be with this limit, and gives them. Returns a descriptor; -EALREADY if they are so. */
static int begin_file(Broker *b, bool runtime, const char *path, uint64_t limit, QuotaSettings *ret) {
        const QuotaSettings *s = settings_of(b, runtime);
        int r;

        if (limit_before(s, path) == limit)
                return -EALREADY;
        r = copy(s, ret);
        if (r >= 0)
                r = quota_settings_put(ret, path, limit);
        return r < 0 ? r : store_begin_quotas(&b->store, runtime, ret);
}

/* From now on they count. */
static int finish_file(Broker *b, bool runtime, QuotaSettings *settings) {
        int r = store_finish_quotas(&b->store, runtime);

        if (r < 0)
                return r;
        quota_settings_clear(settings_of(b, runtime));
        *settings_of(b, runtime) = TAKE(*settings, (QuotaSettings) {});
        return 0;
}

/* In memory, as /run is. */
static int set_until_reboot(Broker *b, const char *path, uint64_t limit) {
        _cleanup_(quota_settings_clear) QuotaSettings settings = {};
        int fd = begin_file(b, true, path, limit, &settings);

        if (fd < 0)
                return fd == -EALREADY ? 0 : fd;
        fd_close(fd);
        return finish_file(b, true, &settings);
}

static void note(Broker *b, const Setting *s) {
        uint64_t limit = quota_limit(&b->ledger.quota, &b->config.quotas, s->cgroup).limit;
        const QuotaLevel *level = quota_level(&b->ledger.quota, s->cgroup);

        if (level && level->booked > limit)
                journal_log(LOG_NOTICE,
                            "%s has %" PRIu64 " PASIDs booked, more than its limit of %" PRIu64
                            ": they stay until their leases end, and no new ones are booked",
                            s->cgroup, level->booked, limit);
        quota_note_limits(b);
}

static void end_first(Broker *b, int r) {
        Setting *s = b->settings;

        /* What is set for good counts from now on, and not only after a reboot. */
        if (r >= 0 && !s->runtime)
                r = set_until_reboot(b, s->cgroup, QUOTA_UNLIMITED);
        note(b, s);
        b->settings = s->next;
        s->done(r, s->userdata);
        setting_free(s); /* with its file, before the next one has one of that name */
}

static void run_queue(Broker *b);

static int sync_file(Broker *b, int fd, task_done_t done) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));

        if (!job)
                return -ENOMEM;
        job_init(job, JOB_SYNC);
        job->file_fd = fd;
        return task_start(b->tasks, job, done, b, NULL);
}

static void end_in_place(Broker *b, int r) {
        if (r < 0)
                journal_log(LOG_WARNING, "The limit of %s is set, and may not outlive a loss of power: %s",
                            b->settings->cgroup, strerror(-r));
        end_first(b, 0);
        run_queue(b);
}

static void on_directory_synced(Job *job, void *userdata) {
        end_in_place(userdata, job->result);
}

/* The file is on the disk, and not yet its name. */
static void on_synced(Job *job, void *userdata) {
        Broker *b = userdata;
        Setting *s = b->settings;
        int r = job->result;

        if (r >= 0) {
                s->fd = fd_close(s->fd);
                r = finish_file(b, s->runtime, &s->wanted);
        }
        if (r < 0) {
                end_first(b, r);
                run_queue(b);
                return;
        }
        r = sync_file(b, b->store.state, on_directory_synced);
        if (r < 0)
                end_in_place(b, r);
}

/* Returns 1 if nothing is left to do, 0 if a worker waits for the disk. */
static int begin(Broker *b, Setting *s) {
        int r;

        if (s->runtime) {
                r = set_until_reboot(b, s->cgroup, s->limit);
                return r < 0 ? r : 1;
        }
        s->fd = begin_file(b, false, s->cgroup, s->limit, &s->wanted);
        if (s->fd < 0)
                return s->fd == -EALREADY ? 1 : s->fd;
        return sync_file(b, s->fd, on_synced);
}

static void run_queue(Broker *b) {
        int r;

        while (b->settings) {
                r = begin(b, b->settings);
                if (r == 0)
                        return;
                end_first(b, r);
        }
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
                run_queue(b);
        return 0;
}

void setting_forget_all(Broker *b) {
        while (b->settings) {
                Setting *s = b->settings;

                b->settings = s->next;
                setting_free(s);
        }
}
