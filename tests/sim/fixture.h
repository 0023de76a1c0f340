/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/ledger.h"
#include "sim/simkernel.h"
#include "test.h"
#include "util/text.h"

/* What the tests of the worker logic share: one small machine, one plan, one job. Included once by each program. */

static Sim *sim;
static Job job;
static LeaseDevice saved[JOB_DEVICES_MAX];
static size_t n_saved;
static uint32_t ioas; /* of the last iommufd */
static bool with_pasids;
static HandOver lent; /* as what the devices were prepared last */

static inline void begin(void) {
        sim_free(sim);
        sim = sim_new(&(SimTopology) {});
}

static inline void add(const char *address, int group, const char *host) {
        sim_probe(sim, sim_add_device(sim, address, group, host));
}

static inline void single(void) {
        begin();
        add("0000:01:00.0", sim_add_group(sim), "nvme");
}

/* Two functions on host drivers and one without any, in one group. */
static inline void trio(void) {
        int group;

        begin();
        group = sim_add_group(sim);
        add("0000:01:00.0", group, "nvme");
        add("0000:01:00.1", group, "e1000e");
        add("0000:01:00.2", group, "");
}

/* The plan: the first device leased, others parked, or held if they have no driver. */
static inline void plan(void) {
        n_saved = sim->n_devices;
        for (size_t i = 0; i < n_saved; i++) {
                const SimDevice *d = &sim->devices[i];
                bool vfio = i == 0 || d->driver >= 0;

                saved[i] = (LeaseDevice) {
                        .address = d->facts.address,
                        .role = i == 0 ? ROLE_LEASED
                                : vfio ? ROLE_PARKED
                                       : ROLE_HELD,
                        .group = sim->groups[d->group].id,
                        .set = inventory_set_key(&d->facts),
                        .watch = -1,
                };
                (void) text_copy(saved[i].driver, NAME_MAX_LEN, vfio ? "vfio-pci" : "");
                (void) text_copy(saved[i].module, NAME_MAX_LEN, vfio ? "vfio_pci" : "");
                (void) text_copy(saved[i].original_driver, NAME_MAX_LEN, sim_driver_name(sim, d));
                (void) text_copy(saved[i].original_override, NAME_MAX_LEN, d->override);
        }
}

static inline SimOutcome run(JobKind kind, HandOver hand_over, int iommufd) {
        job = (Job) { .kind = kind,
                      .hand_over = hand_over,
                      .iommufd = iommufd,
                      .restore = true,
                      .ioas = ioas,
                      .has_pasids = with_pasids };
        for (size_t i = 0; i < n_saved && kind != JOB_IOMMUFD; i++)
                job.devices[job.n_devices++] =
                        (JobDevice) { .lease = saved[i], .fd = -EBADF, .used = saved[i].role == ROLE_LEASED };
        return sim_run(sim, &job);
}

static inline SimOutcome prepare(HandOver hand_over) {
        bool legacy = hand_over_is_legacy(hand_over);
        int iommufd = hand_over == HAND_OVER_ATTACHED ? sim_open_iommufd(sim, SIM_PID_DAEMON)
                      : hand_over == HAND_OVER_GROUP  ? sim_open_container(sim, SIM_PID_DAEMON)
                                                      : -EBADF;

        if (hand_over == HAND_OVER_ATTACHED)
                ASSERT_OK(sim->kernel.ops->alloc_ioas(&sim->kernel, iommufd, &ioas));
        for (size_t i = 0; i < n_saved; i++) {
                if (saved[i].role != ROLE_PARKED)
                        continue;
                (void) text_copy(saved[i].driver, NAME_MAX_LEN, legacy ? STUB_DRIVER : "vfio-pci");
                (void) text_copy(saved[i].module, NAME_MAX_LEN, legacy ? STUB_MODULE : "vfio_pci");
        }
        lent = hand_over;
        return run(JOB_PREPARE, hand_over, iommufd);
}

static inline SimOutcome restore(void) {
        return run(JOB_RESTORE, lent, -EBADF);
}

static inline void assert_as_before(void) {
        for (size_t i = 0; i < n_saved; i++) {
                const SimDevice *d = &sim->devices[i];

                if (!d->present)
                        continue;
                ASSERT_STREQ(sim_driver_name(sim, d), saved[i].original_driver);
                ASSERT_STREQ(d->override, saved[i].original_override);
                ASSERT_EQ(d->n_open, 0);
        }
        ASSERT_EQ(sim->n_breaches[SIM_BREACH_WORKER_LEAK], 0);
        ASSERT_EQ(sim->n_breaches[SIM_BREACH_BAD_CLOSE], 0);
}

static inline void assert_restored(void) {
        ASSERT_EQ(restore(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        for (size_t i = 0; i < job.n_devices; i++)
                ASSERT_TRUE(job.devices[i].lease.released);
        assert_as_before();
}

static inline void close_daemon(void) {
        sim_client_die(sim, SIM_PID_DAEMON);
}

static inline void hand_to_client(void) {
        ASSERT_EQ(prepare(HAND_OVER_UNBOUND), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        sim->fds[job.devices[0].fd].pid = SIM_PID_CLIENT;
}
