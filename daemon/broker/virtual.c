/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/random.h>

#include "broker/blame.h"
#include "broker/reread.h"
#include "broker/taken.h"
#include "broker/virtual.h"
#include "core/errors.h"
#include "core/virtual.h"
#include "util/text.h"

struct VirtualChange {
        VirtualChange *next; /* Broker::changes */
        Broker *broker;
        Address address;
        uint32_t n;
        virtual_done_t done;
        void *userdata;
};

/* Of a device, whose virtual functions may be more or fewer than the inventory knows. */
static void list_functions(const Broker *b, Address a, AddressList *ret) {
        const Inventory *inv = &b->ledger.inventory;
        const Device *pf = inventory_device(inv, a), *vf;
        Address address;

        *ret = (AddressList) {};
        if (pf)
                VIRTUAL_FOREACH (inv, pf, vf)
                        (void) address_list_add(ret, vf->facts.address);
        for (unsigned i = 0; b->kernel->ops->virtual_function(b->kernel, a, i, &address) >= 0; i++)
                (void) address_list_add(ret, address);
}

void virtual_refresh(Broker *b, Address a) {
        AddressList functions;

        list_functions(b, a, &functions);
        for (size_t i = 0; i < functions.n; i++)
                reread_device(b, functions.items[i]);
        /* It comes last: who hears that it has more knows them. */
        reread_device(b, a);
}

static void judge_result(const VirtualChange *c, const Job *job, JobFailure *ret) {
        const Device *pf = inventory_device(&c->broker->ledger.inventory, c->address);

        if (job->result < 0)
                blame_job(c->broker, NULL, job, ret);
        else if (!pf || pf->facts.virtual_functions != c->n)
                blame_text(ret, ERROR_KERNEL_REFUSED,
                           "%s was to have %u virtual functions, and its driver %s has left it with %u",
                           ADDRESS(c->address), c->n, job->devices[0].lease.driver,
                           pf ? pf->facts.virtual_functions : 0);
}

static void on_changed(Job *job, void *userdata) {
        VirtualChange *c = userdata, **link = &c->broker->changes;
        Device *pf = inventory_device(&c->broker->ledger.inventory, c->address);
        JobFailure failure = {};

        while (*link != c)
                link = &(*link)->next;
        *link = c->next;
        if (pf)
                pf->changing = false;
        virtual_refresh(c->broker, c->address);
        taken_settle(c->broker, job);
        judge_result(c, job, &failure);
        c->done(failure.set ? failure.error_name : NULL, failure.text, c->userdata);
        free(c);
}

static void add_device(Job *job, const Device *d) {
        JobDevice *jd = &job->devices[job->n_devices++];

        *jd = (JobDevice) {
                .lease = { .address = d->facts.address, .group = d->facts.group, .set = inventory_set_key(&d->facts) },
                .fd = -EBADF,
        };
        (void) text_copy(jd->lease.driver, sizeof(jd->lease.driver), d->facts.driver);
        (void) text_copy(jd->lease.original_driver, sizeof(jd->lease.original_driver), d->facts.driver);
        (void) text_copy(jd->lease.original_override, sizeof(jd->lease.original_override), d->facts.driver_override);
}

int virtual_start(Broker *b, Address a, uint32_t n, virtual_done_t done, void *userdata) {
        Device *pf = inventory_device(&b->ledger.inventory, a), *vf;
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        _cleanup_free_ VirtualChange *c = calloc(1, sizeof(*c));
        int r;

        if (!pf)
                return -ENODEV;
        if (!job || !c)
                return -ENOMEM;
        job_init(job, JOB_VIRTUAL_FUNCTIONS);
        job->virtual_functions = n;
        job->restore = true;
        add_device(job, pf);
        VIRTUAL_FOREACH (&b->ledger.inventory, pf, vf)
                if (job->n_devices < JOB_DEVICES_MAX)
                        add_device(job, vf);
        *c = (VirtualChange) {
                .next = b->changes, .broker = b, .address = a, .n = n, .done = done, .userdata = userdata
        };
        r = taken_start(b, job, on_changed, c, NULL);
        if (r < 0)
                return r;
        b->changes = TAKE_PTR(c);
        pf->changing = true;
        broker_device_changed(b, pf);
        return 0;
}

int virtual_check(Broker *b, Address a, uint32_t n) {
        const Device *pf = inventory_device(&b->ledger.inventory, a);
        int r = pf ? task_check_set(b->tasks, inventory_set_key(&pf->facts)) : -ENODEV;

        if (r < 0)
                return r;
        if (pf->state == DEVICE_PREPARING || pf->state == DEVICE_RELEASING)
                return -EWOULDBLOCK; /* it leaves its driver, perhaps with its functions */
        virtual_refresh(b, a);
        pf = inventory_device(&b->ledger.inventory, a);
        return pf && pf->facts.virtual_functions == n ? 0 : -EWOULDBLOCK;
}

void virtual_forget_all(Broker *b) {
        while (b->changes) {
                VirtualChange *c = b->changes;

                b->changes = c->next;
                free(c);
        }
}

/* --- tokens --- */

/* A random UUID, as version 4 of RFC 9562 has it. */
static int make_token(char ret[static VF_TOKEN_MAX]) {
        unsigned char b[16];
        ssize_t n = getrandom(b, sizeof(b), 0);

        if (n < 0)
                return -errno;
        if (n != (ssize_t) sizeof(b))
                return -EIO;
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        (void) snprintf(ret, VF_TOKEN_MAX, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                        b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
        return 0;
}

int virtual_give_tokens(const Broker *b, LeaseDevice *devices, size_t n) {
        const Inventory *inv = &b->ledger.inventory;

        for (size_t i = 0; i < n; i++) {
                const Device *d = inventory_device(inv, devices[i].address);
                const Device *pf = d ? virtual_physical(inv, d) : NULL;
                const LeaseDevice *of_pf = pf && pf->lease ? lease_device(pf->lease, pf->facts.address) : NULL;
                int r = 0;

                if (of_pf)
                        (void) text_copy(devices[i].vf_token, sizeof(devices[i].vf_token), of_pf->vf_token);
                else if (d && d->facts.virtual_functions_max > 0)
                        r = make_token(devices[i].vf_token);
                if (r < 0)
                        return r;
        }
        return 0;
}
