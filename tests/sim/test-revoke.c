/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/fixture.h"

/* Revocations over the simulated machine: whoever has the device open, and whatever goes wrong, nobody ends who is to be spared. */

#define ALICE   1000
#define BOB     1001
#define SCOPE   "/alice/vm.scope"
#define OUTSIDE "/alice/shell.scope"
#define CLIENT  SIM_PID_CLIENT
#define CHILD   (SIM_PID_CLIENT + 1)
#define OTHER   (SIM_PID_CLIENT + 2)
#define OPS_MAX 60

static int device_fd;

/* The client has the device, bound to an iommufd of its own. */
static void lend(void) {
        BoundFacts bound;

        single();
        plan();
        hand_to_client();
        device_fd = job.devices[0].fd;
        saved[0] = job.devices[0].lease;
        ASSERT_OK(sim_bind(sim, device_fd, sim_open_iommufd(sim, CLIENT), &bound));
        sim_add_process(sim, CLIENT, ALICE, 9, SCOPE);
}

/* Another process gets a copy of the descriptor. */
static SimProcess *plant(int pid, uid_t uid, const char *cgroup) {
        ASSERT_OK(sim_client_dup(sim, device_fd, pid));
        return sim_add_process(sim, pid, uid, (uint64_t) pid + 1000, cgroup);
}

static void aim(const char *cgroup, bool whole) {
        n_saved = 1;
        job = (Job) { .kind = JOB_KILL, .iommufd = -EBADF, .n_devices = 1, .whole_cgroup = whole };
        job.devices[0] = (JobDevice) { .lease = saved[0], .fd = -EBADF };
        job.rule = (RevokeRule) { .uid = ALICE, .pid = CLIENT, .process = 9, .own_cgroup = "/iommud" };
        (void) text_copy(job.rule.cgroup, sizeof(job.rule.cgroup), cgroup);
        job.rule.cgroup_id = sim_cgroup_id(cgroup);
        job.rule.spared[0] = SIM_PID_DAEMON;
}

static SimOutcome shoot(void) {
        aim(SCOPE, false);
        return sim_run(sim, &job);
}

static bool lives(int pid) {
        const SimProcess *p = sim_process(sim, pid);

        ASSERT_TRUE(p);
        return !p->killed;
}

static SimOutcome request(void) {
        n_saved = 1;
        return run(JOB_REQUEST, HAND_OVER_UNBOUND, -EBADF);
}

/* --- asking --- */

TEST(whoever_listens_is_asked_once) {
        lend();
        (void) plant(CHILD, ALICE, SCOPE);
        ASSERT_EQ(request(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_TRUE(!job.devices[0].requested);
        sim->devices[0].listened = true;
        ASSERT_EQ(request(), SIM_DONE);
        ASSERT_TRUE(job.devices[0].requested);
        ASSERT_EQ(sim->devices[0].n_requests, 1);
        /* Also by way of a process of somebody else: it is the device that is asked for. */
        sim_client_die(sim, CLIENT);
        sim_client_die(sim, CHILD);
        ASSERT_EQ(sim->devices[0].n_open, 0);
        ASSERT_EQ(request(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_TRUE(!job.devices[0].requested);
        assert_restored();
}

/* --- killing --- */

TEST(the_client_and_its_children_end) {
        lend();
        (void) plant(CHILD, ALICE, SCOPE "/inner");
        ASSERT_EQ(shoot(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_TRUE(!lives(CLIENT) && !lives(CHILD));
        ASSERT_STREQ(job.killed, " 100 101");
        assert_restored();
}

TEST(more_than_one_look_finds_end_too) {
        lend();
        for (int i = 0; i < 2 * HOLDERS_MAX + 3; i++)
                (void) plant(CHILD + i, ALICE, SCOPE);
        ASSERT_EQ(shoot(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_TRUE(!lives(CLIENT));
        for (int i = 0; i < 2 * HOLDERS_MAX + 3; i++)
                ASSERT_TRUE(!lives(CHILD + i));
        assert_restored();
}

TEST(planted_descriptors_kill_nobody) {
        lend();
        (void) plant(OTHER, BOB, SCOPE);
        (void) plant(CHILD, ALICE, OUTSIDE);
        (void) plant(1, 0, SCOPE);
        ASSERT_EQ(shoot(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_TRUE(!lives(CLIENT) && lives(OTHER) && lives(CHILD) && lives(1));
        ASSERT_EQ(job.devices[0].holders.n, 3);
        ASSERT_EQ(restore(), SIM_DONE);
        ASSERT_EQ(job.result, -EBUSY);
}

TEST(who_acquired_ends_although_he_is_not_seen_with_it) {
        lend();
        ASSERT_EQ(sim_client_dup(sim, device_fd, SIM_PID_FLIGHT) >= 0, true);
        sim_client_die(sim, CLIENT);
        ASSERT_EQ(shoot(), SIM_DONE);
        ASSERT_TRUE(!lives(CLIENT));
}

TEST(a_number_that_was_given_out_again_is_spared) {
        lend();
        (void) plant(CHILD, ALICE, SCOPE);
        sim_client_die(sim, CLIENT);
        sim_add_process(sim, CLIENT, ALICE, 10, OUTSIDE);
        ASSERT_EQ(shoot(), SIM_DONE);
        ASSERT_TRUE(lives(CLIENT) && !lives(CHILD));
        assert_restored();
}

TEST(what_does_not_die_is_reported) {
        lend();
        sim_process(sim, CLIENT)->immortal = true;
        ASSERT_EQ(shoot(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_STREQ(job.killed, " 100");
        ASSERT_EQ(job.devices[0].holders.n, 1);
        /* A second shot hits nobody. */
        ASSERT_EQ(shoot(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_STREQ(job.killed, "");
        sim_client_die(sim, CLIENT);
        assert_restored();
}

TEST(a_cgroup_ends_as_a_whole) {
        lend();
        (void) plant(CHILD, ALICE, SCOPE "/inner");
        sim_add_process(sim, OTHER, BOB, 5, SCOPE);
        aim(SCOPE, true);
        ASSERT_EQ(sim_run(sim, &job), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_EQ(job.cgroup_spared, REVOKE_CGROUP_MAY);
        ASSERT_STREQ(sim->killed_cgroup, SCOPE);
        ASSERT_TRUE(!lives(CLIENT) && !lives(CHILD));
        assert_restored();
}

TEST(a_cgroup_with_a_strangers_holder_does_not) {
        lend();
        (void) plant(OTHER, BOB, SCOPE "/inner");
        aim(SCOPE, true);
        ASSERT_EQ(sim_run(sim, &job), SIM_DONE);
        ASSERT_EQ(job.cgroup_spared, REVOKE_CGROUP_OTHERS);
        ASSERT_STREQ(sim->killed_cgroup, "");
        ASSERT_TRUE(lives(CLIENT) && lives(OTHER));
}

TEST(nor_one_that_is_no_services_own_though_the_device_is_pulled) {
        lend();
        sim_vanish(sim, &sim->devices[0]);
        aim("/alice/session-1.scope", true);
        ASSERT_EQ(sim_run(sim, &job), SIM_DONE);
        ASSERT_EQ(job.cgroup_spared, REVOKE_CGROUP_SESSION);
        ASSERT_STREQ(sim->killed_cgroup, "");
}

TEST(nor_one_that_came_after_it) {
        lend();
        aim(SCOPE, true);
        job.rule.cgroup_id++;
        ASSERT_EQ(sim_run(sim, &job), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_STREQ(job.killed, "");
        ASSERT_STREQ(sim->killed_cgroup, "");
        ASSERT_TRUE(lives(CLIENT));
}

/* --- what goes wrong --- */

TEST(whatever_fails_nobody_else_is_hit_and_nothing_is_left_open) {
        static const SimFault faults[] = { SIM_FAULT_ERRNO, SIM_FAULT_DEATH };

        for (unsigned whole = 0; whole < 2; whole++)
                for (size_t f = 0; f < ARRAY_SIZE(faults); f++)
                        for (unsigned at = 1; at < OPS_MAX; at++) {
                                lend();
                                (void) plant(OTHER, BOB, OUTSIDE);
                                (void) plant(CHILD, ALICE, SCOPE);
                                aim(SCOPE, whole);
                                sim_plan_fault(sim, at, faults[f], -EIO);
                                (void) sim_run(sim, &job);
                                sim_plan_fault(sim, 0, SIM_FAULT_NONE, 0);
                                ASSERT_TRUE(lives(OTHER));
                                ASSERT_EQ(sim_count_fds(sim, SIM_PID_WORKER), 0);
                                ASSERT_EQ(sim->n_breaches[SIM_BREACH_WORKER_LEAK], 0);
                                ASSERT_EQ(sim->n_breaches[SIM_BREACH_BAD_CLOSE], 0);
                                /* The next attempt does what is left. */
                                ASSERT_EQ(shoot(), SIM_DONE);
                                ASSERT_EQ(job.result, 0);
                                ASSERT_TRUE(!lives(CLIENT) && !lives(CHILD) && lives(OTHER));
                                sim_client_die(sim, OTHER);
                                assert_restored();
                        }
}

TEST(a_device_that_was_pulled_is_no_failure) {
        lend();
        (void) plant(CHILD, ALICE, SCOPE);
        sim_vanish(sim, &sim->devices[0]);
        ASSERT_EQ(shoot(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
        ASSERT_TRUE(!lives(CLIENT));
        ASSERT_EQ(request(), SIM_DONE);
        ASSERT_EQ(job.result, 0);
}
