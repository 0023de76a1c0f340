/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "core/ledger.h"

/* Whatever happens in whatever order, nothing has two owners and nothing is lost. A machine of thousands of devices
 * lives through a long pseudo-random life; the seed is fixed, so that what failed once fails again. */

#define GROUPS      1500
#define GROUP_SIZE  3
#define STEPS       20000
#define CHECK_EVERY 50

static Ledger ledger;
static uint64_t seed;

/* xorshift64: the same on every machine, unlike rand(). */
static unsigned pick(unsigned n) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (unsigned) (seed % n);
}

static Address address_of(unsigned group, unsigned member) {
        return (Address) { .domain = group >> 8, .bus = (uint8_t) group, .devfn = (uint8_t) member };
}

static void plug(unsigned group, unsigned member) {
        DeviceFacts f = { .address = address_of(group, member), .group = (int) group };
        GroupFacts g = { .id = (int) group };
        Device *d;
        Group *ret;

        ASSERT_OK(inventory_put_device(&ledger.inventory, &f, &d));
        ASSERT_OK(inventory_put_group(&ledger.inventory, &g, &ret));
}

static void begin(unsigned groups) {
        ledger_clear(&ledger);
        seed = UINT64_C(0x9e3779b97f4a7c15);
        for (unsigned g = 0; g < groups; g++)
                for (unsigned i = 0; i < GROUP_SIZE; i++)
                        plug(g, i);
}

/* A lease of n groups, with all of their members but now and then the last. */
static Lease *make_lease(uid_t uid, const unsigned *groups, size_t n) {
        static unsigned counter;
        Lease *l = calloc(1, sizeof(*l));

        ASSERT_TRUE(l);
        (void) snprintf(l->id, sizeof(l->id), "%032x", ++counter);
        l->uid = uid;
        l->unit = strdup("");
        l->cgroup = strdup("/");
        l->charged = strdup("/");
        l->devices = calloc(n * GROUP_SIZE, sizeof(LeaseDevice));
        ASSERT_TRUE(l->unit && l->cgroup && l->charged && l->devices);
        for (size_t g = 0; g < n; g++) {
                unsigned members = GROUP_SIZE - (pick(4) == 0);

                for (unsigned i = 0; i < members; i++)
                        l->devices[l->n_devices++] = (LeaseDevice) {
                                .address = address_of(groups[g], i),
                                .group = (int) groups[g],
                                .role = i == 0 ? ROLE_LEASED : ROLE_PARKED,
                                .watch = -1,
                        };
        }
        return l;
}

static void assert_sound(void) {
        const char *why = ledger_check(&ledger);

        if (why)
                TEST_FAIL("%s (%zu leases)", why, ledger.n_leases);
}

static bool any_leased(const unsigned *groups, size_t n) {
        for (size_t i = 0; i < n; i++) {
                const Group *g = inventory_group(&ledger.inventory, (int) groups[i]);

                if (g && g->lease)
                        return true;
        }
        return false;
}

static void try_open(void) {
        unsigned groups[4];
        size_t n = 1 + pick(ARRAY_SIZE(groups)), before = ledger.n_leases;
        Lease *l;
        int r;

        for (size_t i = 0; i < n; i++)
                groups[i] = i == 0 ? pick(GROUPS) : (groups[0] + (unsigned) i) % GROUPS;
        l = make_lease(1000 + pick(8), groups, n);
        bool taken = any_leased(groups, n);
        r = ledger_open(&ledger, l);
        ASSERT_EQ(r, taken ? -EBUSY : 0);
        ASSERT_EQ(ledger.n_leases, before + !taken);
        if (r < 0)
                lease_free(l);
}

static void release_some(Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                if (l->devices[i].released || pick(2))
                        continue;
                ledger_device_released(&ledger, l, &l->devices[i]);
                if (pick(16) == 0)
                        ledger_device_broken(&ledger, l, &l->devices[i], "the reset failed");
        }
        if (lease_all_released(l))
                ledger_close(&ledger, l);
}

static void step(void) {
        Lease *l = ledger.n_leases ? ledger.leases[pick((unsigned) ledger.n_leases)] : NULL;
        unsigned group = pick(GROUPS), member = pick(GROUP_SIZE);

        switch (pick(8)) {
        case 0:
                if (l && l->state == LEASE_PREPARING)
                        ledger_activate(&ledger, l);
                break;
        case 1:
        case 2:
                if (l && l->state != LEASE_RELEASING)
                        ledger_begin_release(&ledger, l, "the lifeline was closed");
                else if (l)
                        release_some(l);
                break;
        case 3:
                (void) inventory_remove_device(&ledger.inventory, address_of(group, member));
                break;
        case 4:
                plug(group, member);
                break;
        default:
                try_open();
        }
}

static void assert_counts(void) {
        uint32_t leases = 0, devices = 0, all_devices = 0;

        for (uid_t uid = 1000; uid < 1008; uid++) {
                Usage usage = ledger_usage(&ledger, uid);

                ASSERT_EQ(usage.all_leases, ledger.n_leases);
                leases += usage.leases;
                devices += usage.devices;
        }
        for (size_t i = 0; i < ledger.n_leases; i++)
                all_devices += (uint32_t) ledger.leases[i]->n_devices;
        ASSERT_EQ(leases, ledger.n_leases);
        ASSERT_EQ(devices, all_devices);
}

TEST(a_long_life) {
        size_t most = 0;

        begin(GROUPS);
        ASSERT_EQ(ledger.inventory.n_devices, GROUPS * GROUP_SIZE);
        for (unsigned i = 0; i < STEPS; i++) {
                step();
                most = ledger.n_leases > most ? ledger.n_leases : most;
                if (i % CHECK_EVERY == 0) {
                        assert_sound();
                        assert_counts();
                }
        }
        assert_sound();
        ASSERT_TRUE(most > 100); /* or the life was not much of one */

        while (ledger.n_leases > 0) {
                Lease *l = ledger.leases[0];

                for (size_t i = 0; i < l->n_devices; i++)
                        ledger_device_released(&ledger, l, &l->devices[i]);
                ledger_close(&ledger, l);
        }
        assert_sound();
        for (size_t i = 0; i < ledger.inventory.n_devices; i++) {
                const Device *d = ledger.inventory.devices[i];

                ASSERT_TRUE(!d->lease && !d->gone && (d->state == DEVICE_FREE || d->state == DEVICE_BROKEN));
        }
        for (size_t i = 0; i < ledger.inventory.n_groups; i++)
                ASSERT_TRUE(!ledger.inventory.groups[i]->lease);
}

TEST(devices_follow_their_lease) {
        unsigned group = 1;
        Device *leased, *parked;
        Lease *l;

        begin(2);
        l = make_lease(1000, &group, 1);
        ASSERT_OK(ledger_open(&ledger, l));
        ASSERT_TRUE(ledger_lease(&ledger, l->id) == l);
        leased = inventory_device(&ledger.inventory, address_of(1, 0));
        parked = inventory_device(&ledger.inventory, address_of(1, 1));
        ASSERT_EQ(leased->state, DEVICE_PREPARING);
        ledger_activate(&ledger, l);
        ASSERT_EQ(leased->state, DEVICE_LEASED);
        ASSERT_EQ(parked->state, DEVICE_PARKED);
        ledger_begin_release(&ledger, l, "the lifeline was closed");
        ASSERT_STREQ(l->reason, "the lifeline was closed");
        ASSERT_EQ(leased->state, DEVICE_RELEASING);

        /* Until the last device is proven free, the lease counts and the group is not free. */
        ledger_device_released(&ledger, l, &l->devices[0]);
        ASSERT_TRUE(!lease_all_released(l));
        ASSERT_TRUE(leased->lease == l);
        ASSERT_EQ(ledger_usage(&ledger, 1000).leases, 1);
        ASSERT_EQ(ledger_usage(&ledger, 1000).devices, l->n_devices);
        for (size_t i = 1; i < l->n_devices; i++)
                ledger_device_released(&ledger, l, &l->devices[i]);
        ASSERT_TRUE(lease_all_released(l));
        ledger_close(&ledger, l);
        ASSERT_EQ(leased->state, DEVICE_FREE);
        ASSERT_EQ(ledger_usage(&ledger, 1000).leases, 0);
        assert_sound();
}

TEST(what_is_taken_stays_with_its_owner) {
        unsigned both[] = { 1, 0 };
        Lease *first, *second;

        begin(2);
        first = make_lease(1000, &both[0], 1);
        ASSERT_OK(ledger_open(&ledger, first));
        second = make_lease(1001, both, 2);
        ASSERT_ERROR(ledger_open(&ledger, second), EBUSY);
        lease_free(second);
        /* All or nothing: the free group stayed free. */
        ASSERT_TRUE(!inventory_group(&ledger.inventory, 0)->lease);
        ASSERT_TRUE(inventory_group(&ledger.inventory, 1)->lease == first);
        ASSERT_EQ(ledger.n_leases, 1);
        assert_sound();
}

TEST(a_broken_device_stays_broken_and_says_why) {
        unsigned group = 0;
        Device *d;
        Lease *l;

        begin(1);
        l = make_lease(1000, &group, 1);
        ASSERT_OK(ledger_open(&ledger, l));
        ledger_begin_release(&ledger, l, "");
        ledger_device_broken(&ledger, l, &l->devices[0], "the reset failed");
        d = inventory_device(&ledger.inventory, address_of(0, 0));
        ASSERT_STREQ(d->reason, "the reset failed");
        ledger_close(&ledger, l);
        ASSERT_EQ(d->state, DEVICE_BROKEN);
        ASSERT_STREQ(d->reason, "the reset failed");
        ASSERT_TRUE(!d->lease);
        assert_sound();
}

TEST(a_lease_is_broken_until_its_holder_lets_go) {
        unsigned group = 0;
        Device *d;
        Lease *l;

        begin(1);
        l = make_lease(1000, &group, 1);
        ASSERT_OK(ledger_open(&ledger, l));
        ledger_activate(&ledger, l);
        ledger_begin_release(&ledger, l, "revoked");
        ledger_device_released(&ledger, l, &l->devices[1]);
        ledger_lease_broken(&ledger, l, "pid 7 has it open");
        ASSERT_EQ(l->state, LEASE_BROKEN);
        ASSERT_TRUE(lease_is_ending(l));
        ASSERT_STREQ(l->reason, "pid 7 has it open");
        d = inventory_device(&ledger.inventory, l->devices[0].address);
        ASSERT_EQ(d->state, DEVICE_BROKEN);
        ASSERT_STREQ(d->reason, "pid 7 has it open");
        ASSERT_TRUE(d->lease == l);
        ASSERT_EQ(inventory_device(&ledger.inventory, l->devices[1].address)->state, DEVICE_RELEASING);
        assert_sound();
        for (size_t i = 0; i < l->n_devices; i++)
                ledger_device_released(&ledger, l, &l->devices[i]);
        ASSERT_EQ(d->state, DEVICE_RELEASING);
        ASSERT_STREQ(d->reason, "");
        ledger_close(&ledger, l);
        ASSERT_EQ(d->state, DEVICE_FREE);
        assert_sound();
}

TEST(a_device_that_was_pulled_is_forgotten_at_the_end) {
        unsigned group = 0;
        Lease *l;

        begin(1);
        l = make_lease(1000, &group, 1);
        ASSERT_OK(ledger_open(&ledger, l));
        for (unsigned i = 0; i < GROUP_SIZE; i++)
                (void) inventory_remove_device(&ledger.inventory, address_of(0, i));
        ASSERT_TRUE(inventory_device(&ledger.inventory, address_of(0, 0))->gone);
        assert_sound();
        ledger_close(&ledger, l);
        ASSERT_EQ(ledger.inventory.n_devices, 0);
        ASSERT_EQ(ledger.inventory.n_groups, 0);
        assert_sound();
}

TEST(a_device_that_was_missing_at_the_restart_comes_back_to_its_owner) {
        unsigned group = 0;
        Lease *l, *other;

        begin(1);
        for (unsigned i = 0; i < GROUP_SIZE; i++)
                ASSERT_TRUE(inventory_remove_device(&ledger.inventory, address_of(0, i)));
        l = make_lease(1000, &group, 1);
        ASSERT_OK(ledger_open(&ledger, l));
        ASSERT_TRUE(inventory_device(&ledger.inventory, address_of(0, 0))->gone);
        plug(0, 0);
        ASSERT_TRUE(!inventory_device(&ledger.inventory, address_of(0, 0))->gone);
        assert_sound();
        other = make_lease(1001, &group, 1);
        ASSERT_ERROR(ledger_open(&ledger, other), EBUSY);
        lease_free(other);
        ledger_close(&ledger, l);
        ASSERT_EQ(ledger.inventory.n_devices, 1);
        ASSERT_EQ(inventory_device(&ledger.inventory, address_of(0, 0))->state, DEVICE_FREE);
        assert_sound();
}

TEST(a_device_that_comes_back_in_another_group_takes_it_along) {
        DeviceFacts f = { .address = address_of(0, 0), .group = 7 };
        GroupFacts gf = { .id = 7 };
        unsigned group = 0;
        Device *d;
        Group *g;
        Lease *l;

        begin(1);
        l = make_lease(1000, &group, 1);
        ASSERT_OK(ledger_open(&ledger, l));
        ASSERT_TRUE(!inventory_remove_device(&ledger.inventory, f.address));
        ASSERT_OK(inventory_put_group(&ledger.inventory, &gf, &g));
        ASSERT_OK(inventory_put_device(&ledger.inventory, &f, &d));
        ASSERT_TRUE(g->lease == l);
        assert_sound();
        ledger_close(&ledger, l);
        ASSERT_TRUE(!g->lease);
        assert_sound();
}

/* A check that cannot fail proves nothing: each of these breaks the ledger behind its back. */
TEST(pasids_are_booked_as_long_as_the_lease_is_there) {
        unsigned first[] = { 1 }, second[] = { 2 };
        Lease *l, *refused;

        begin(3);
        l = make_lease(1000, first, 1);
        l->pasids = 5;
        ASSERT_OK(ledger_open(&ledger, l));
        ASSERT_EQ(quota_level(&ledger.quota, "/")->booked, 5);
        refused = make_lease(1000, first, 1);
        refused->pasids = 7;
        ASSERT_ERROR(ledger_open(&ledger, refused), EBUSY);
        lease_free(refused);
        ASSERT_EQ(quota_level(&ledger.quota, "/")->booked, 5);
        /* On its way out it goes on counting. */
        ledger_activate(&ledger, l);
        ledger_begin_release(&ledger, l, "test");
        assert_sound();
        ASSERT_EQ(quota_level(&ledger.quota, "/")->booked, 5);
        for (size_t i = 0; i < l->n_devices; i++)
                ledger_device_released(&ledger, l, &l->devices[i]);
        ledger_close(&ledger, l);
        assert_sound();
        ASSERT_EQ(quota_level(&ledger.quota, "/")->booked, 0);
        l = make_lease(1000, second, 1);
        l->pasids = 1;
        ASSERT_OK(ledger_open(&ledger, l));
        l->pasids = 2;
        ASSERT_TRUE(ledger_check(&ledger));
        l->pasids = 1;
}

TEST(a_broken_ledger_is_found_out) {
        unsigned groups[] = { 0, 1 };
        Lease *a, *b, stranger = {};
        Device *d, *other;
        Group *g;

        begin(3);
        a = make_lease(1000, &groups[0], 1);
        b = make_lease(1001, &groups[1], 1);
        ASSERT_OK(ledger_open(&ledger, a));
        ASSERT_OK(ledger_open(&ledger, b));
        assert_sound();
        d = inventory_device(&ledger.inventory, address_of(0, 0));
        other = inventory_device(&ledger.inventory, address_of(2, 0));
        g = inventory_group(&ledger.inventory, 0);

        d->lease = NULL; /* lost its owner */
        ASSERT_TRUE(ledger_check(&ledger));
        d->lease = b; /* changed hands */
        ASSERT_TRUE(ledger_check(&ledger));
        d->lease = &stranger;
        ASSERT_TRUE(ledger_check(&ledger));
        d->lease = a;
        assert_sound();

        d->state = DEVICE_FREE;
        ASSERT_TRUE(ledger_check(&ledger));
        d->state = DEVICE_LEASED;
        assert_sound();

        g->lease = NULL; /* a group without its owner could be taken by another */
        ASSERT_TRUE(ledger_check(&ledger));
        g->lease = b;
        ASSERT_TRUE(ledger_check(&ledger));
        g->lease = a;
        assert_sound();

        g = inventory_group(&ledger.inventory, 2);
        g->lease = &stranger;
        ASSERT_TRUE(ledger_check(&ledger));
        g->lease = NULL;
        other->state = DEVICE_LEASED; /* leased by nobody */
        ASSERT_TRUE(ledger_check(&ledger));
        other->state = DEVICE_FREE;
        other->lease = a; /* a lease that does not know of it */
        ASSERT_TRUE(ledger_check(&ledger));
        other->lease = NULL;
        assert_sound();

        a->devices[0].address = b->devices[0].address; /* one device in two leases */
        ASSERT_TRUE(ledger_check(&ledger));
        a->devices[0].address = d->facts.address;
        assert_sound();

        ledger.n_leases--; /* a lease that nobody counts */
        ASSERT_TRUE(ledger_check(&ledger));
        ledger.n_leases++;
        assert_sound();
        ledger_clear(&ledger);
}
