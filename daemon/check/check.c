/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "broker/enforce.h"
#include "broker/inspect.h"
#include "broker/store.h"
#include "check/ask.h"
#include "check/check.h"
#include "system/config.h"
#include "system/polkit.h"
#include "util/fd.h"
#include "util/text.h"

typedef struct Check {
        const char *config_root, *runtime_directory;
        Kernel *kernel;
        sd_bus *bus;
        Owner owner; /* of the daemon's name */
        Ledger ledger;
        Config config;
        Findings findings; /* our own */
        unsigned n_off, n_unknown;
        size_t n_leases;
} Check;

static void check_clear(Check *c) {
        sd_bus_flush_close_unref(c->bus);
        kernel_linux_free(c->kernel);
        ledger_clear(&c->ledger);
        config_clear(&c->config);
        findings_clear(&c->findings);
}

static void cannot_tell(Check *c, int r, const char *what) {
        (void) findings_add(&c->findings, FINDING_CANNOT_TELL, SEVERITY_WARN, "", "cannot %s: %s", what, strerror(-r));
}

/* --- what there is --- */

static int read_devices(Kernel *k, Inventory *inv) {
        _cleanup_free_ Address *list = NULL;
        size_t n;
        int r = k->ops->read_platform(k, &inv->platform);

        if (r >= 0)
                r = k->ops->list_devices(k, &list, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                DeviceFacts facts;
                GroupFacts group;
                Device *d;
                Group *g;

                r = k->ops->read_device(k, list[i], &facts);
                if (r >= 0 && facts.group >= 0)
                        r = k->ops->read_group(k, facts.group, &group);
                if (r >= 0 && facts.group >= 0)
                        r = inventory_put_group(inv, &group, &g);
                if (r >= 0)
                        r = inventory_put_device(inv, &facts, &d);
                if (r == -ENODEV)
                        r = 0; /* it has just gone */
        }
        return r < 0 ? r : 0;
}

static void read_lease(Check *c, int leases_fd, const char *name) {
        char path[80] = "", why[128] = "";
        Lease *l = NULL;
        int r = store_read_lease(leases_fd, name, &l, why);

        text_append(path, sizeof(path), "leases/%s", text_is_printable(name) ? name : "(unprintable)");
        if (r < 0)
                (void) findings_add(&c->findings, FINDING_STATE_UNTRUSTED, SEVERITY_WARN, path,
                                    "iommud will set this file aside, since it cannot be trusted: %s",
                                    isempty(why) ? strerror(-r) : why);
        else if (!streq(l->id, name) || ledger_open(&c->ledger, l) < 0) {
                (void) findings_add(&c->findings, FINDING_STATE_UNTRUSTED, SEVERITY_WARN, path,
                                    "what this file claims, another lease has");
                lease_free(l);
        }
}

/* Without a daemon nobody else writes the files, and they are all that is known of leases. */
static void read_leases(Check *c, int root_fd, const StateEntry *entries, size_t n) {
        _cleanup_close_ int fd =
                openat(root_fd, state_place_to_string(STATE_LEASES), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        for (size_t i = 0; fd >= 0 && i < n; i++)
                if (entries[i].place == STATE_LEASES && !isempty(entries[i].name) &&
                    !text_has_suffix(entries[i].name, ".bad"))
                        read_lease(c, fd, entries[i].name);
        c->n_leases = c->ledger.n_leases;
}

static void judge_absence(Check *c) {
        bool waiting = c->n_leases > 0;
        Finding *f =
                findings_add(&c->findings, FINDING_NOT_RUNNING, waiting ? SEVERITY_WARN : SEVERITY_INFO, "",
                             "iommud is not running%s", waiting ? ", and there are leases to be looked after" : "");

        finding_set_remedy(f, "%s", waiting ? "systemctl start iommud" : "the first call starts it");
}

/* --- judging --- */

static void judge_configuration(Check *c, int root_fd, HealthFacts *facts, char **why) {
        uint64_t digest;
        int r = config_load(c->config_root, &c->config, why);

        facts->reloaded = true;
        if (r < 0) {
                facts->complaint = *why ? *why : strerror(-r);
                return;
        }
        facts->config = &c->config;
        if (c->owner.there && root_fd >= 0 && store_load_digest(root_fd, &digest) >= 0)
                facts->reloaded = digest == c->config.digest;
}

static void judge_alone(Check *c, HealthFacts *facts, int root_fd) {
        _cleanup_free_ StateEntry *entries = NULL;
        int r = root_fd >= 0 ? inspect_state(root_fd, &entries, &facts->n_entries) : 0;

        if (r < 0)
                cannot_tell(c, r, "look into /run/iommud");
        read_leases(c, root_fd, entries, facts->n_entries);
        judge_absence(c);
        facts->entries = entries;
        health_judge_state(facts, &c->findings);
        r = c->kernel->ops->gate_open(c->kernel);
        facts->gate_why = r < 0 && r != -ENOENT ? enforce_why_not(r) : NULL; /* the daemon brings it along */
}

static void judge(Check *c) {
        _cleanup_close_ int root_fd = open(c->runtime_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_free_ char *why = NULL;
        HealthFacts facts = {
                .ledger = &c->ledger,
                .owner = geteuid(),
                .polkit_actions = polkit_has_actions(c->config_root),
        };

        if (root_fd < 0 && errno != ENOENT)
                cannot_tell(c, -errno, "look into /run/iommud");
        judge_configuration(c, root_fd, &facts, &why);
        if (!c->owner.there)
                judge_alone(c, &facts, root_fd);
        health_judge_machine(&facts, &c->findings);
}

/* --- telling --- */

static void tell(Check *c, const char *code, const char *severity, const char *subject, const char *text,
                 const char *remedy) {
        bool unknown = streq(code, finding_code_to_string(FINDING_CANNOT_TELL));

        c->n_unknown += unknown;
        c->n_off += !unknown && !streq(severity, severity_to_string(SEVERITY_INFO));
        (void) printf("%-5s  %s%s%s%s%s [%s]\n", unknown ? "?" : severity, subject, isempty(subject) ? "" : ": ", text,
                      isempty(remedy) ? "" : "; ", remedy, code);
}

/* What both see is told once. */
static void on_told(const char *code, const char *severity, const char *subject, const char *text, const char *remedy,
                    void *userdata) {
        Check *c = userdata;

        for (size_t i = 0; i < c->findings.n; i++)
                if (streq(finding_code_to_string(c->findings.items[i].code), code) &&
                    streq(c->findings.items[i].subject, subject))
                        return;
        tell(c, code, severity, subject, text, remedy);
}

static void no_answer(Check *c, int r) {
        finding_set_remedy(findings_add(&c->findings, FINDING_NO_ANSWER, SEVERITY_BLOCK, "",
                                        "iommud (pid %d) does not answer: %s", c->owner.pid, strerror(-r)),
                           "systemctl status iommud; if it hangs, restart it: leases go on");
}

static void compare(Check *c) {
        Findings first = {};
        int r = ask_devices(c->bus, &c->ledger.inventory, &first, &c->n_leases);

        /* A device may have changed while we looked: what counts is what is so twice. */
        if (r >= 0 && first.n > 0) {
                inventory_clear(&c->ledger.inventory);
                r = read_devices(c->kernel, &c->ledger.inventory);
                if (r >= 0)
                        r = ask_devices(c->bus, &c->ledger.inventory, &c->findings, &c->n_leases);
        }
        if (r < 0)
                no_answer(c, r);
        findings_clear(&first);
}

static int find_daemon(Check *c) {
        int r = sd_bus_open_system(&c->bus);

        if (r >= 0)
                r = ask_owner(c->bus, &c->owner);
        if (r < 0)
                cannot_tell(c, r, "ask the system bus");
        else if (c->owner.there && c->owner.uid != geteuid()) {
                finding_set_remedy(
                        findings_add(&c->findings, FINDING_NAME_TAKEN, SEVERITY_BLOCK, "",
                                     "the name org.iommud1 is taken by pid %d of uid %u", c->owner.pid, c->owner.uid),
                        "install org.iommud1.conf into /usr/share/dbus-1/system.d: it lets root alone have it");
                c->owner.there = false;
        }
        return r;
}

static int conclude(const Check *c) {
        const char *daemon = c->owner.there ? "iommud runs" : "iommud does not run";

        if (c->n_off > 0)
                return CHECK_OFF;
        if (c->n_unknown > 0)
                return CHECK_CANNOT_TELL;
        (void) printf("all well: %zu devices in %zu groups, %zu leases, %zu reservations; %s\n",
                      c->ledger.inventory.n_devices, c->ledger.inventory.n_groups, c->n_leases,
                      c->config.n_reservations, daemon);
        return CHECK_WELL;
}

int check_run(const char *config_root, const char *runtime_directory) {
        _cleanup_(check_clear) Check c = { .config_root = config_root, .runtime_directory = runtime_directory };
        int r = kernel_linux_new("", &c.kernel);

        if (r >= 0)
                r = read_devices(c.kernel, &c.ledger.inventory);
        if (r < 0)
                cannot_tell(&c, r, "read the devices");
        else if (find_daemon(&c) >= 0) {
                judge(&c);
                if (c.owner.there)
                        compare(&c);
        }
        for (size_t i = 0; i < c.findings.n; i++) {
                const Finding *f = &c.findings.items[i];

                tell(&c, finding_code_to_string(f->code), severity_to_string(f->severity), f->subject, f->text,
                     f->remedy);
        }
        r = c.owner.there ? ask_health(c.bus, on_told, &c) : 0;
        if (r < 0)
                tell(&c, finding_code_to_string(FINDING_NO_ANSWER), severity_to_string(SEVERITY_BLOCK), "",
                     "iommud does not tell of its health", strerror(-r));
        return conclude(&c);
}
