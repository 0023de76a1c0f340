/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdio.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "broker/assembly.h"
#include "broker/enforce.h"
#include "broker/limit.h"
#include "broker/quota.h"
#include "broker/recover.h"
#include "broker/reread.h"
#include "broker/revoke.h"
#include "bus/bus.h"
#include "manager.h"
#include "system/aliases.h"
#include "system/config.h"
#include "system/hotplug.h"
#include "system/journal.h"
#include "system/polkit.h"
#include "util/fd.h"

/* Starting up, in this order:
 *
 *   manager_new       configuration, aliases, broker, and the watch for hotplug: what comes from here on is not missed
 *   on_setup          the modules are loaded (in a worker): the devices are read, the leases of an earlier daemon taken up
 *   announce          the name on the bus is taken, READY=1
 */

struct Manager {
        ManagerOptions options;
        sd_event *event;
        Kernel *kernel;
        Broker *broker;
        Hotplug *hotplug;
        Bus bus;
};

/* What Health is to tell, and iommud --check to compare with. */
static void note_configuration(Manager *m) {
        int r = store_save_digest(&m->broker->store, m->broker->config.digest);

        if (r < 0)
                journal_log(LOG_WARNING, "Cannot write down which configuration this is: %s", strerror(-r));
        m->broker->is_behind = false;
        m->broker->polkit_actions = polkit_has_actions(m->options.config_root);
}

static int reload(void *userdata, char **why) {
        VariantTable variants = {};
        Manager *m = userdata;
        Config config = {};
        Group *g;
        int r;

        r = config_load(m->options.config_root, &config, why);
        m->broker->is_behind = r < 0;
        if (r < 0)
                return r;
        r = aliases_read("", &variants);
        if (r < 0) {
                config_clear(&config);
                return r;
        }
        config_clear(&m->broker->config);
        variant_table_clear(&m->broker->variants);
        m->broker->config = config;
        m->broker->variants = variants;
        note_configuration(m);
        /* An administrator may have overridden the kernel's check since. */
        INVENTORY_FOREACH_GROUP (&m->broker->ledger.inventory, g)
                g->no_isolation = false;
        quota_note_limits(m->broker);
        journal_log(LOG_INFO, "Configuration reloaded, %zu reservations and %zu limits of PASIDs",
                    config.n_reservations, config.quotas.n);
        return 0;
}

static int on_reload_signal(_unused_ sd_event_source *s, _unused_ const struct signalfd_siginfo *si, void *userdata) {
        _cleanup_free_ char *why = NULL;
        int r = reload(userdata, &why);

        if (r < 0)
                journal_log(LOG_ERR, "Configuration not reloaded, the old one stays: %s", why ? why : strerror(-r));
        return 0;
}

static void on_hotplug(HotplugEvent event, Address a, void *userdata) {
        Manager *m = userdata;
        int r;

        switch (event) {
        case HOTPLUG_CHANGED:
                reread_device(m->broker, a);
                break;
        case HOTPLUG_REMOVED:
                reread_removed(m->broker, a);
                break;
        case HOTPLUG_UNREGISTERED:
                revoke_note_unregistered(m->broker, a);
                break;
        case HOTPLUG_LOST:
                journal_log(LOG_WARNING, "Events of devices were lost; looking at all of them");
                r = reread_all(m->broker);
                if (r < 0)
                        journal_log(LOG_ERR, "Cannot read the devices: %s", strerror(-r));
                break;
        }
        limit_note_nodes(m->broker);
}

static int announce(Manager *m) {
        int r = sd_bus_request_name(m->bus.bus, BUS_NAME, 0);

        if (r < 0)
                return journal_error(r, "Cannot take the name %s on the bus: %s", BUS_NAME, strerror(-r));
        bus_listen(&m->bus);
        (void) sd_notifyf(0, "READY=1\nSTATUS=%zu devices, %zu leases", m->broker->ledger.inventory.n_devices,
                          m->broker->ledger.n_leases);
        journal_log(LOG_INFO, "iommud %s: %zu devices in %zu groups, %zu leases, %zu reservations", IOMMUD_VERSION,
                    m->broker->ledger.inventory.n_devices, m->broker->ledger.inventory.n_groups,
                    m->broker->ledger.n_leases, m->broker->config.n_reservations);
        return 0;
}

static void on_setup(Job *job, void *userdata) {
        Manager *m = userdata;
        int r;

        /* Modules that were loaded just now have told their drivers' names. */
        variant_table_clear(&m->broker->variants);
        r = aliases_read("", &m->broker->variants);
        if (r >= 0)
                r = reread_all(m->broker);
        if (r < 0)
                (void) journal_error(r, "Cannot read the devices: %s", strerror(-r));
        enforce_begin(m->broker, job->result);
        if (r >= 0)
                r = recover_leases(m->broker);
        if (r >= 0)
                r = announce(m);
        if (r < 0)
                (void) sd_event_exit(m->event, r);
}

static int begin_setup(Manager *m) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));

        if (!job)
                return -ENOMEM;
        job_init(job, JOB_SETUP);
        return task_start(m->broker->tasks, job, on_setup, m, NULL);
}

static int make_broker(Manager *m) {
        VariantTable variants = {};
        _cleanup_free_ char *why = NULL;
        int r;
        Config config = {};

        r = config_load(m->options.config_root, &config, &why);
        if (r < 0)
                return journal_error(r, "Bad configuration: %s", why ? why : strerror(-r));
        r = aliases_read("", &variants);
        if (r < 0) {
                config_clear(&config);
                return journal_error(r, "Cannot read the modules' aliases: %s", strerror(-r));
        }
        r = assembly_new(m->event, m->kernel,
                         (BrokerDirectories) { m->options.runtime_directory, m->options.state_directory }, config,
                         variants, &m->broker);
        if (r < 0)
                return journal_error(r, "Cannot set up %s: %s", m->options.runtime_directory, strerror(-r));
        note_configuration(m);
        if (sd_pid_get_cgroup(0, &m->broker->own_cgroup) < 0)
                m->broker->own_cgroup = NULL; /* no unified hierarchy, and so no cgroup of a lease either */
        return 0;
}

/* 0 if it does not say: then its uid and its cgroup have to keep it safe. */
static int bus_pid(sd_bus *bus) {
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
        pid_t pid = 0;

        if (sd_bus_get_name_creds(bus, "org.freedesktop.DBus", SD_BUS_CREDS_PID, &creds) >= 0)
                (void) sd_bus_creds_get_pid(creds, &pid);
        return pid;
}

static int connect_bus(Manager *m) {
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        int r;

        r = sd_bus_open_system(&bus);
        if (r < 0)
                return journal_error(r, "Cannot connect to the system bus: %s", strerror(-r));
        r = sd_bus_attach_event(bus, m->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(bus, true);
        if (r >= 0)
                r = bus_export(&m->bus, bus, m->broker);
        if (r < 0)
                return journal_error(r, "Cannot export the objects: %s", strerror(-r));
        m->broker->bus_pid = bus_pid(bus);
        m->bus.reload = reload;
        m->bus.reload_userdata = m;
        return 0;
}

static int setup_signals(Manager *m) {
        sigset_t set;
        int r;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        (void) sigaddset(&set, SIGHUP);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        r = sd_event_set_signal_exit(m->event, true);
        return r < 0 ? r : sd_event_add_signal(m->event, NULL, SIGHUP, on_reload_signal, m);
}

Manager *manager_free(Manager *m) {
        if (!m)
                return NULL;
        bus_clear(&m->bus);
        hotplug_free(m->hotplug);
        assembly_free(m->broker);
        kernel_linux_free(m->kernel);
        sd_event_unref(m->event);
        free(m);
        return NULL;
}

int manager_new(const ManagerOptions *options, Manager **ret) {
        _cleanup_(manager_freep) Manager *m = calloc(1, sizeof(*m));
        int r;

        if (!m)
                return -ENOMEM;
        m->options = *options;
        r = sd_event_default(&m->event);
        if (r >= 0)
                r = setup_signals(m);
        if (r < 0)
                return journal_error(r, "Cannot set up the event loop: %s", strerror(-r));
        (void) sd_event_set_watchdog(m->event, true);
        r = kernel_linux_new("", &m->kernel);
        if (r < 0)
                return journal_error(r, "Cannot open sysfs: %s", strerror(-r));
        r = make_broker(m);
        if (r < 0)
                return r;
        r = hotplug_new(m->event, on_hotplug, m, &m->hotplug);
        if (r < 0)
                return journal_error(r, "Cannot watch udev's events: %s", strerror(-r));
        r = connect_bus(m);
        if (r < 0)
                return r;
        r = begin_setup(m);
        if (r < 0)
                return journal_error(r, "Cannot start a worker: %s", strerror(-r));
        *ret = TAKE_PTR(m);
        return 0;
}

int manager_run(Manager *m) {
        int r = sd_event_loop(m->event);

        (void) sd_notify(0, "STOPPING=1");
        return r;
}

int manager_unload_gate(void) {
        Kernel *k;
        int r = kernel_linux_new("", &k);

        if (r >= 0) {
                r = k->ops->gate_unload(k);
                kernel_linux_free(k);
        }
        if (r == -EBUSY)
                return journal_error(r, "A lease depends on the gate, or iommud is running: end both first");
        if (r == -ENOENT)
                return journal_error(r, "There is no gate");
        return r < 0 ? journal_error(r, "Cannot unload the gate: %s", strerror(-r)) : 0;
}
