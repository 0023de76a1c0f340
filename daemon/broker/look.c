/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/mman.h>

#include "broker/look.h"
#include "broker/reread.h"
#include "core/examine.h"

struct Look {
        Broker *broker;
        HostUses *uses; /* shared with the worker */
        size_t n;
        look_done_t done;
        void *userdata;
};

static Look *look_free(Look *l) {
        if (!l)
                return NULL;
        if (l->uses)
                (void) munmap(l->uses, l->n * sizeof(HostUses));
        free(l);
        return NULL;
}
DEFINE_CLEANUP(Look, look_free)

static void on_looked(Job *job, void *userdata) {
        _cleanup_(look_freep) Look *l = userdata;

        for (size_t i = 0; i < job->n_devices && job->result >= 0; i++) {
                Device *d = inventory_device(&l->broker->ledger.inventory, job->devices[i].lease.address);

                if (d)
                        d->uses = l->uses[i];
        }
        l->done(job->result, l->userdata);
}

/* Renews the facts and picks the devices that the host can be using. What is leased is not the host's. */
static void pick(Broker *b, const AddressList *scope, Job *job) {
        for (size_t i = 0; i < scope->n; i++) {
                Device *d = inventory_device(&b->ledger.inventory, scope->items[i]);

                if (!d || d->lease)
                        continue;
                reread_device(b, scope->items[i]);
                d = inventory_device(&b->ledger.inventory, scope->items[i]);
                if (!d)
                        continue;
                /* What is known stays until the worker knows better: another call may be judged by it meanwhile. */
                if (d->facts.driver_kind == DRIVER_HOST && !facts_is_bridge(&d->facts))
                        job->devices[job->n_devices++] =
                                (JobDevice) { .lease.address = d->facts.address, .fd = -EBADF };
                else
                        d->uses = (HostUses) {};
        }
}

int look_start(Broker *b, const Request *request, look_done_t done, void *userdata) {
        _cleanup_free_ AddressList *scope = malloc(sizeof(*scope));
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        _cleanup_(look_freep) Look *l = calloc(1, sizeof(*l));
        int r;

        if (!scope || !job || !l)
                return -ENOMEM;
        r = examine_scope(&b->ledger.inventory, request, scope);
        if (r < 0)
                return r;
        job_init(job, JOB_USES);
        pick(b, scope, job);
        if (job->n_devices == 0)
                return 1;
        l->broker = b;
        l->done = done;
        l->userdata = userdata;
        l->n = job->n_devices;
        l->uses = mmap(NULL, l->n * sizeof(HostUses), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (l->uses == MAP_FAILED) {
                l->uses = NULL;
                return -errno;
        }
        job->uses = l->uses;
        r = task_start(b->tasks, job, on_looked, l, NULL);
        if (r < 0)
                return r;
        TAKE_PTR(l);
        return 0;
}
