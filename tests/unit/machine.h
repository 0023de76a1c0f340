/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "../test.h"
#include "core/errors.h"
#include "core/examine.h"
#include "util/text.h"

/* The small machine on which examine() is tested:
 *
 *   group 1   01:00.0 nvme                      group 7   07:00.0 with a direct region
 *   group 2   02:00.0, 02:00.1 e1000e           group 8   08:00.0 without interrupt isolation
 *   group 3   03:00.0, 03:00.1 without driver   group 9   09:00.0 no-IOMMU
 *   group 4   00:1c.0 pcieport, 04:00.0 pci-stub, 04:00.1 vfio-pci, 04:00.2 nvme
 *   group 5   05:00.0 virtio, has a variant     group 10  0a:00.0 with the virtual function 0a:00.1 in group 11
 *   none      06:00.0 nvme */

#define NVME   "0000:01:00.0"
#define NIC0   "0000:02:00.0"
#define NIC1   "0000:02:00.1"
#define GPU    "0000:03:00.0"
#define SOUND  "0000:03:00.1"
#define PORT   "0000:00:1c.0"
#define STUB   "0000:04:00.0"
#define ONVFIO "0000:04:00.1"
#define BEHIND "0000:04:00.2"
#define VIRTIO "0000:05:00.0"
#define BARE   "0000:06:00.0"
#define PF     "0000:0a:00.0"
#define VF     "0000:0a:00.1"

#define ALICE 1000

/* Static, so that a test that ends early leaves nothing dangling; begin() makes it new. */
static struct Machine {
        Inventory inventory;
        Config config;
        VariantTable variants;
        Quota quota;
        Enforcement enforcement;
        Caller caller;
        Usage usage;
        Request request;
        Plan plan;
        Findings findings;
        int result;
} m;

static Address at(const char *text) {
        Address a = {};

        if (address_parse(text, &a) < 0)
                TEST_FAIL("bad address %s in the test", text);
        return a;
}

static Device *device(const char *text) {
        return inventory_device(&m.inventory, at(text));
}

static Group *group(const char *text) {
        return inventory_group_of(&m.inventory, device(text));
}

static void add(const char *address, int group_id, const char *driver, uint32_t class, uint16_t id) {
        DeviceFacts f = { .address = at(address), .vendor = 0x8086, .device = id, .class = class, .group = group_id };
        GroupFacts g = { .id = group_id, .type = "DMA-FQ" };
        Device *d;
        Group *ret;

        (void) snprintf(f.driver, sizeof(f.driver), "%s", driver);
        (void) snprintf(f.reset_methods, sizeof(f.reset_methods), "flr bus");
        (void) snprintf(f.modalias, sizeof(f.modalias), "pci:v00008086d%08Xsv00001AF4sd00001100bc%02Xsc00i00", id,
                        class >> 16);
        f.driver_kind = driver_kind_of(driver, streq(driver, "vfio-pci"));
        ASSERT_EQ(inventory_put_device(&m.inventory, &f, &d), 1);
        d->surveyed = true;
        if (group_id >= 0)
                ASSERT_OK(inventory_put_group(&m.inventory, &g, &ret));
}

static void end(void) {
        inventory_clear(&m.inventory);
        config_clear(&m.config);
        variant_table_clear(&m.variants);
        quota_clear(&m.quota);
        plan_clear(&m.plan);
        findings_clear(&m.findings);
        m = (struct Machine) {};
}

static void begin(void) {
        end();
        add(NVME, 1, "nvme", 0x010802, 0x5845);
        add(NIC0, 2, "e1000e", 0x020000, 0x10d3);
        add(NIC1, 2, "e1000e", 0x020000, 0x10d3);
        add(GPU, 3, "", 0x030000, 0x0001);
        add(SOUND, 3, "", 0x040300, 0x0002);
        add(PORT, 4, "pcieport", 0x060400, 0x0003);
        add(STUB, 4, "pci-stub", 0x088000, 0x0004);
        add(ONVFIO, 4, "vfio-pci", 0x088000, 0x0005);
        add(BEHIND, 4, "nvme", 0x010802, 0x5845);
        add(VIRTIO, 5, "virtio-pci", 0x020000, 0x1041);
        add(BARE, -1, "nvme", 0x010802, 0x5845);
        add("0000:07:00.0", 7, "xhci_hcd", 0x0c0330, 0x0006);
        add("0000:08:00.0", 8, "nvme", 0x010802, 0x5845);
        add("0000:09:00.0", 9, "nvme", 0x010802, 0x5845);
        add(PF, 10, "ixgbe", 0x020000, 0x10fb);
        add(VF, 11, "ixgbevf", 0x020000, 0x10ed);
        group("0000:07:00.0")->facts.n_regions = 1;
        group("0000:07:00.0")->facts.regions[0] = (ReservedRegion) { 0xe0000, 0xeffff, "direct" };
        group("0000:08:00.0")->no_isolation = true;
        group("0000:09:00.0")->facts.noiommu = true;
        device(VF)->facts.virtual_function = true;
        device(VF)->facts.physical_function = at(PF);
        m.inventory.platform = (Platform) { .iommu = true, .iommufd = true, .cdev = true };
        ASSERT_EQ(variant_table_add(&m.variants, "vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci", "vfio-pci"), 1);
        ASSERT_EQ(variant_table_add(&m.variants, "vfio_pci:v00008086d00001041sv*sd*bc*sc*i*", "virtio_vfio_pci",
                                    "virtio_vfio_pci"),
                  1);
        m.config.limits = LIMITS_DEFAULT;
        m.caller = (Caller) { .uid = ALICE,
                              .pid = 4711,
                              .unit = "",
                              .cgroup = "/user.slice/a.scope",
                              .charged = "/user.slice",
                              .memlock = UINT64_MAX };
        m.request.restore = true;
}

/* A reservation for alice alone. */
static _unused_ Reservation *reserve(const char *name, const char *address) {
        Reservation *grown = reallocarray(m.config.reservations, m.config.n_reservations + 1, sizeof(*grown)), *r;

        ASSERT_TRUE(grown);
        m.config.reservations = grown;
        r = &grown[m.config.n_reservations++];
        *r = (Reservation) { .match_address = strdup(address), .uids = malloc(sizeof(uid_t)), .n_uids = 1 };
        (void) snprintf(r->name, sizeof(r->name), "%s", name);
        ASSERT_TRUE(r->match_address && r->uids);
        r->uids[0] = ALICE;
        return r;
}

static _unused_ void lend(const char *address, Lease *l) {
        device(address)->lease = l;
        device(address)->state = DEVICE_LEASED;
        group(address)->lease = l;
}

static _unused_ void use(const char *address, const char *text) {
        HostUses *uses = &device(address)->uses;

        (void) snprintf(uses->uses[uses->n].kind, sizeof(uses->uses[0].kind), "disk");
        (void) snprintf(uses->uses[uses->n++].text, sizeof(uses->uses[0].text), "%s", text);
}

/* Everything that examine() may look at, as bytes. */
static size_t snapshot(char **ret) {
        size_t size;
        const Device *d;
        const Group *g;
        FILE *f = open_memstream(ret, &size);

        ASSERT_TRUE(f);
        INVENTORY_FOREACH_DEVICE (&m.inventory, d)
                (void) fwrite(d, sizeof(*d), 1, f);
        INVENTORY_FOREACH_GROUP (&m.inventory, g)
                (void) fwrite(g, sizeof(*g), 1, f);
        for (size_t i = 0; i < m.config.n_reservations; i++)
                (void) fwrite(&m.config.reservations[i], sizeof(Reservation), 1, f);
        (void) fwrite(&m.config.limits, sizeof(m.config.limits), 1, f);
        (void) fwrite(&m.usage, sizeof(m.usage), 1, f);
        (void) fwrite(&m.request, sizeof(m.request), 1, f);
        (void) fwrite(&m.inventory, sizeof(m.inventory), 1, f);
        ASSERT_EQ(fclose(f), 0);
        return size;
}

/* Judges the request as it stands; each and every time it is seen that nothing was changed by it. */
static void judge(void) {
        World world = { &m.inventory, &m.config, &m.variants, &m.quota, m.enforcement };
        _cleanup_free_ char *before = NULL, *after = NULL;
        size_t size = snapshot(&before);

        plan_clear(&m.plan);
        findings_clear(&m.findings);
        m.result = examine(&world, &m.caller, &m.usage, &m.request, &m.plan, &m.findings);
        if (snapshot(&after) != size || memcmp(before, after, size) != 0)
                TEST_FAIL("examine() changed what it only had to look at");
        ASSERT_OK(m.result);
}

static void name_devices(AddressList *list, const char *words) {
        const char *word;
        size_t length;

        *list = (AddressList) {};
        while (text_next_word(&words, &word, &length)) {
                char buf[32] = "";

                memcpy(buf, word, length);
                ASSERT_OK(address_list_add(list, at(buf)));
        }
}

static _unused_ void ask(const char *devices, const char *members) {
        name_devices(&m.request.devices, devices);
        name_devices(&m.request.members, members);
        judge();
}

static const Finding *find(FindingCode code, const char *subject) {
        for (size_t i = 0; i < m.findings.n; i++)
                if (m.findings.items[i].code == code && (!subject || streq(m.findings.items[i].subject, subject)))
                        return &m.findings.items[i];
        return NULL;
}

static void print_findings(void) {
        for (size_t i = 0; i < m.findings.n; i++)
                printf("  %s %s %s: %s\n", severity_to_string(m.findings.items[i].severity),
                       finding_code_to_string(m.findings.items[i].code), m.findings.items[i].subject,
                       m.findings.items[i].text);
}

/* There is such a finding, and its text has all of the words that a user needs to go on. */
static _unused_ const Finding *expect(FindingCode code, Severity severity, const char *subject,
                                      const char *const *words) {
        const Finding *f = find(code, subject);

        if (!f || f->severity != severity) {
                print_findings();
                TEST_FAIL("no finding %s %s for \"%s\"", severity_to_string(severity), finding_code_to_string(code),
                          subject);
        }
        for (; words && *words; words++)
                if (!strstr(f->text, *words) && !strstr(f->remedy, *words))
                        TEST_FAIL("\"%s\" (%s) does not say \"%s\"", f->text, f->remedy, *words);
        return f;
}

#define WORDS(...) ((const char *const[]) { __VA_ARGS__, NULL })

/* Nothing blocks; polkit is asked for this action, or for nothing with NULL. */
static _unused_ void expect_possible(const char *action) {
        const Finding *block = findings_first_block(&m.findings);

        if (block)
                TEST_FAIL("refused: %s", block->text);
        for (size_t i = 0; i < m.findings.n; i++)
                if (m.findings.items[i].severity == SEVERITY_ASK &&
                    (!action || !streq(m.findings.items[i].action, action)))
                        TEST_FAIL("polkit would be asked for %s", m.findings.items[i].action);
        if (action)
                ASSERT_TRUE(find(FINDING_NOT_AUTHORIZED, NULL));
}

static _unused_ const LeaseDevice *planned(const char *address) {
        for (size_t i = 0; i < m.plan.n_devices; i++)
                if (address_equal(m.plan.devices[i].address, at(address)))
                        return &m.plan.devices[i];
        TEST_FAIL("%s is not in the plan", address);
}
