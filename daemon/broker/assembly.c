/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/assembly.h"
#include "broker/keep.h"
#include "broker/newcomer.h"
#include "broker/release.h"
#include "broker/revoke.h"
#include "broker/setting.h"
#include "broker/survey.h"
#include "broker/virtual.h"
#include "system/journal.h"

static void on_closed(int wd, void *userdata) {
        Broker *b = userdata;

        if (wd < 0)
                journal_log(LOG_WARNING, "Closes of VFIO devices were missed; looking into /proc instead");
        release_note_closed(b, wd);
}

static void on_device_read(Broker *b, Device *d, bool is_new) {
        newcomer_judge(b, d, is_new);
        if (!d->surveyed)
                survey_start(b);
}

static const BrokerHooks hooks = {
        .device_read = on_device_read,
        .device_gone = newcomer_note_gone,
        .worker_done = newcomer_look_again,
        .release_began = revoke_expect,
};

Broker *assembly_free(Broker *b) {
        if (!b)
                return NULL;
        /* Leases live on in their files: a stop is no end. */
        task_queue_free(b->tasks);
        while (b->runs)
                run_free(b->runs);
        virtual_forget_all(b);
        setting_forget_all(b);
        sd_event_source_disable_unref(b->taken_timer);
        watch_free(b->watch);
        cgroup_tree_free(b->cgroups);
        ledger_clear(&b->ledger);
        config_clear(&b->config);
        variant_table_clear(&b->variants);
        store_close(&b->store);
        free(b->own_cgroup);
        fdstore_free(b->fdstore);
        sd_event_unref(b->event);
        free(b);
        return NULL;
}

static int make_watch(Broker *b) {
        int fd = keep_take_back_watch(b->fdstore), r;

        b->watch_is_new = fd < 0;
        r = watch_new(b->event, fd, on_closed, b, &b->watch);
        if (r >= 0 && b->watch_is_new)
                keep_watch(b->fdstore, b->watch);
        return r;
}

int assembly_new(sd_event *event, Kernel *kernel, BrokerDirectories directories, Config config, VariantTable variants,
                 Broker **ret) {
        _cleanup_(assembly_freep) Broker *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        b->hooks = &hooks;
        b->event = sd_event_ref(event);
        b->kernel = kernel;
        b->config = config;
        b->variants = variants;
        b->store = STORE_EMPTY;
        r = fdstore_new(&b->fdstore);
        if (r >= 0)
                r = make_watch(b);
        if (r < 0)
                return r;
        r = store_open(&b->store, directories.runtime, directories.state);
        if (r < 0)
                return r;
        r = task_queue_new(event, kernel, &b->store, b->config.limits.workers, &b->tasks);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(b);
        return 0;
}
