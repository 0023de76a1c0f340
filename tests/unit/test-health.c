/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "core/health.h"
#include "util/text.h"

/* A machine with two devices, one of them leased, on which all is well; each test puts one thing wrong. */

#define LEASED "0000:01:00.0"
#define FREE   "0000:02:00.0"
#define ID     "0123456789abcdef0123456789abcdef"

static Ledger ledger;
static Config config;
static Findings findings;
static HealthFacts facts;
static StateEntry entries[16];

static Address at(const char *text) {
        Address a = {};

        ASSERT_OK(address_parse(text, &a));
        return a;
}

static Device *device(const char *text) {
        return inventory_device(&ledger.inventory, at(text));
}

static void add_device(const char *text, int group, const char *driver) {
        DeviceFacts f = { .address = at(text), .vendor = 0x8086, .device = 0x10d3, .group = group };
        GroupFacts g = { .id = group };
        Device *d;
        Group *ret;

        (void) snprintf(f.driver, sizeof(f.driver), "%s", driver);
        ASSERT_OK(inventory_put_device(&ledger.inventory, &f, &d));
        ASSERT_OK(inventory_put_group(&ledger.inventory, &g, &ret));
}

static void add_lease(void) {
        Lease *l = calloc(1, sizeof(*l));

        ASSERT_TRUE(l);
        (void) text_copy(l->id, sizeof(l->id), ID);
        l->unit = strdup("");
        l->cgroup = strdup("/");
        l->charged = strdup("/");
        l->devices = calloc(1, sizeof(LeaseDevice));
        ASSERT_TRUE(l->unit && l->cgroup && l->charged && l->devices);
        l->n_devices = 1;
        l->devices[0] = (LeaseDevice) { .address = at(LEASED), .group = 1, .driver = "vfio-pci" };
        ASSERT_OK(ledger_open(&ledger, l));
        ledger_activate(&ledger, l);
}

static void add_entry(StatePlace place, const char *name, mode_t mode) {
        StateEntry *e = &entries[facts.n_entries++];

        *e = (StateEntry) { .place = place, .uid = 0, .mode = mode };
        (void) text_copy(e->name, sizeof(e->name), name);
}

static void add_reservation(const char *name, const char *address, const char *id) {
        Reservation *r = calloc(1, sizeof(*r));

        ASSERT_TRUE(r && !config.reservations);
        (void) text_copy(r->name, sizeof(r->name), name);
        r->source = strdup("/etc/iommud/reservations.d/x.conf");
        r->match_address = address ? strdup(address) : NULL;
        r->match_id = id ? strdup(id) : NULL;
        config.reservations = r;
        config.n_reservations = 1;
}

static void begin(void) {
        ledger_clear(&ledger);
        config_clear(&config);
        findings_clear(&findings);
        add_device(LEASED, 1, "vfio-pci");
        add_device(FREE, 2, "nvme");
        ledger.inventory.platform = (Platform) {
                .iommu = true, .iommufd = true, .cdev = true, .container = true, .remapping = REMAPPING_ON
        };
        add_lease();
        facts = (HealthFacts) {
                .ledger = &ledger, .config = &config, .reloaded = true, .entries = entries, .polkit_actions = true
        };
        add_entry(STATE_ROOT, "", 040700);
        add_entry(STATE_LEASES, "", 040700);
        add_entry(STATE_LEASES, ID, 0100600);
        add_entry(STATE_LIFELINES, ID, 010600);
        add_entry(STATE_LOCKS, LEASED, 0100600);
        add_entry(STATE_DEVICES, FREE, 0100600);
        add_entry(STATE_ROOT, "configuration", 0100600);
}

static void judge(void) {
        findings_clear(&findings);
        health_judge_machine(&facts, &findings);
        health_judge_state(&facts, &findings);
        ASSERT_TRUE(!findings.out_of_memory);
}

/* Nothing but this is off. */
static void expect(FindingCode code, Severity severity, const char *subject) {
        judge();
        ASSERT_EQ(findings.n, 1);
        ASSERT_STREQ(finding_code_to_string(findings.items[0].code), finding_code_to_string(code));
        ASSERT_STREQ(severity_to_string(findings.items[0].severity), severity_to_string(severity));
        ASSERT_STREQ(findings.items[0].subject, subject);
        ASSERT_EQ(health_is_off(&findings.items[0]), severity != SEVERITY_INFO);
        if (severity != SEVERITY_INFO)
                ASSERT_TRUE(!isempty(findings.items[0].remedy));
}

TEST(a_healthy_machine_is_well) {
        begin();
        judge();
        ASSERT_EQ(findings.n, 0);
}

TEST(kernel) {
        Platform *p = &ledger.inventory.platform;

        begin();
        p->iommu = false;
        expect(FINDING_NO_IOMMU, SEVERITY_BLOCK, "");
        begin();
        p->iommufd = p->cdev = false;
        expect(FINDING_NO_IOMMUFD, SEVERITY_INFO, "");
        p->container = false;
        expect(FINDING_NO_IOMMUFD, SEVERITY_BLOCK, "");
        begin();
        p->unsafe_interrupts = true;
        expect(FINDING_UNSAFE_INTERRUPTS, SEVERITY_WARN, "");
        begin();
        p->remapping = REMAPPING_OFF;
        expect(FINDING_NO_ISOLATION, SEVERITY_WARN, "");
        p->remapping = REMAPPING_UNKNOWN;
        judge();
        ASSERT_EQ(findings.n, 0);
        inventory_group(&ledger.inventory, 2)->facts.noiommu = true;
        expect(FINDING_NOIOMMU, SEVERITY_WARN, "group 2");
}

TEST(the_gate_matters_where_there_can_be_pasids) {
        begin();
        facts.gate_why = "the kernel is locked down";
        expect(FINDING_PASIDS_UNENFORCED, SEVERITY_INFO, "");
        device(FREE)->pasid_bits = 20;
        expect(FINDING_PASIDS_UNENFORCED, SEVERITY_WARN, "");
}

TEST(configuration) {
        begin();
        facts.complaint = "iommud.conf:3: what is this?";
        expect(FINDING_CONFIGURATION, SEVERITY_WARN, "");
        facts.config = NULL;
        expect(FINDING_CONFIGURATION, SEVERITY_BLOCK, "");
        begin();
        facts.reloaded = false;
        expect(FINDING_NOT_RELOADED, SEVERITY_WARN, "");
        begin();
        facts.polkit_actions = false;
        expect(FINDING_NO_POLKIT_ACTIONS, SEVERITY_WARN, "");
}

TEST(reservations_that_name_no_device) {
        begin();
        add_reservation("gone", LEASED " 0000:0b:00.0", NULL);
        expect(FINDING_RESERVES_NOTHING, SEVERITY_WARN, "0000:0b:00.0");
        begin();
        add_reservation("renumbered", FREE, "1234:5678");
        expect(FINDING_RESERVES_NOTHING, SEVERITY_WARN, "");
        begin();
        add_reservation("nowhere", "0000:0b:*", NULL);
        expect(FINDING_RESERVES_NOTHING, SEVERITY_WARN, "");
        /* By its kind: there may be one some day. */
        begin();
        add_reservation("kind", NULL, "1234:5678");
        judge();
        ASSERT_EQ(findings.n, 0);
}

TEST(devices) {
        begin();
        (void) text_copy(device(LEASED)->facts.driver, NAME_MAX_LEN, "nvme");
        expect(FINDING_WRONG_DRIVER, SEVERITY_WARN, LEASED);
        ledger.leases[0]->devices[0].leaving = true;
        judge();
        ASSERT_EQ(findings.n, 0);
        begin();
        device(FREE)->state = DEVICE_BROKEN;
        expect(FINDING_BROKEN, SEVERITY_WARN, FREE);
        begin();
        (void) text_copy(device(FREE)->facts.driver_override, NAME_MAX_LEN, LEASE_HELD_OVERRIDE);
        expect(FINDING_LEFT_HELD, SEVERITY_WARN, FREE);
}

TEST(files) {
        begin();
        add_entry(STATE_LEASES, "ffffffffffffffffffffffffffffffff", 0100600);
        expect(FINDING_STATE_UNKNOWN, SEVERITY_WARN, "leases/ffffffffffffffffffffffffffffffff");
        begin();
        add_entry(STATE_LIFELINES, "ffffffffffffffffffffffffffffffff", 010600);
        expect(FINDING_STATE_UNKNOWN, SEVERITY_WARN, "lifelines/ffffffffffffffffffffffffffffffff");
        /* Set aside with its lease, it is told of once. */
        add_entry(STATE_LEASES, "ffffffffffffffffffffffffffffffff.bad", 0100600);
        expect(FINDING_STATE_SET_ASIDE, SEVERITY_WARN, "leases/ffffffffffffffffffffffffffffffff.bad");
        begin();
        add_entry(STATE_DEVICES, "0000:0b:00.0", 0100600);
        expect(FINDING_STATE_UNKNOWN, SEVERITY_WARN, "devices/0000:0b:00.0");
        begin();
        add_entry(STATE_LOCKS, "x", 0100600);
        expect(FINDING_STATE_UNKNOWN, SEVERITY_WARN, "locks/x");
        begin();
        add_entry(STATE_ROOT, "\x1b[2J", 0100600);
        expect(FINDING_STATE_UNKNOWN, SEVERITY_WARN, "(unprintable)");
        begin();
        entries[2].name[0] = 'x';
        judge();
        ASSERT_EQ(findings.n, 2); /* one is missing, and one is unknown */
        ASSERT_STREQ(finding_code_to_string(findings.items[0].code), "state-missing");
        ASSERT_STREQ(findings.items[0].subject, ID);
}

TEST(owners_and_modes) {
        begin();
        entries[0].mode = 040755;
        expect(FINDING_STATE_MODE, SEVERITY_WARN, "/run/iommud");
        begin();
        entries[2].uid = 1000;
        expect(FINDING_STATE_MODE, SEVERITY_WARN, "leases/" ID);
        begin();
        entries[3].mode = 010620;
        expect(FINDING_STATE_MODE, SEVERITY_WARN, "lifelines/" ID);
}

TEST(workers_of_an_earlier_daemon) {
        begin();
        entries[4].locked = true;
        expect(FINDING_STUCK_WORKER, SEVERITY_WARN, LEASED);
}
