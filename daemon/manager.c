/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdio.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "broker/recover.h"
#include "bus/bus.h"
#include "manager.h"
#include "system/aliases.h"
#include "system/config.h"
#include "system/hotplug.h"
#include "system/journal.h"
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
        Task *setup;
};

/* The name of the inotify descriptor in systemd's fd store. */
#define WATCH_FD_NAME "watch"

static int reload(void *userdata, char **why) {
        VariantTable variants = {};
        Manager *m = userdata;
        Config config = {};
        int r;

        r = config_load(m->options.config_root, &config, why);
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
        journal_log(LOG_INFO, "Configuration reloaded, %zu reservations", config.n_reservations);
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
                broker_refresh(m->broker, a);
                break;
        case HOTPLUG_REMOVED:
                broker_forget(m->broker, a);
                break;
        case HOTPLUG_LOST:
                journal_log(LOG_WARNING, "Events of devices were lost; looking at all of them");
                r = broker_enumerate(m->broker);
                if (r < 0)
                        journal_log(LOG_ERR, "Cannot read the devices: %s", strerror(-r));
                break;
        }
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

static void on_setup(_unused_ Job *job, void *userdata) {
        Manager *m = userdata;
        int r;

        m->setup = NULL;
        /* Modules that were loaded just now have told their drivers' names. */
        variant_table_clear(&m->broker->variants);
        r = aliases_read("", &m->broker->variants);
        if (r >= 0)
                r = broker_enumerate(m->broker);
        if (r < 0)
                (void) journal_error(r, "Cannot read the devices: %s", strerror(-r));
        if (r >= 0)
                r = recover_leases(m->broker);
        if (r >= 0)
                r = announce(m);
        if (r < 0)
                (void) sd_event_exit(m->event, r);
}

/* The watch of an earlier daemon comes back from systemd's fd store; everything else that may be there is closed. */
static int take_stored_watch(void) {
        char **names = NULL;
        int n = sd_listen_fds_with_names(true, &names), watch = -EBADF;

        for (int i = 0; i < n; i++) {
                int fd = SD_LISTEN_FDS_START + i;

                if (streq(names[i], WATCH_FD_NAME) && watch < 0 && watch_is(fd))
                        watch = fd;
                else {
                        journal_log(LOG_WARNING, "Closing an unknown descriptor of the fd store: %s", names[i]);
                        fd_close(fd);
                }
                free(names[i]);
        }
        free(names);
        return watch;
}

static void store_watch(const Manager *m) {
        int fd = watch_fd(m->broker->watch);
        int r = sd_pid_notify_with_fds(0, false, "FDSTORE=1\nFDNAME=" WATCH_FD_NAME, &fd, 1);

        if (r < 0)
                journal_log(LOG_WARNING, "systemd does not keep the watch over a restart: %s", strerror(-r));
}

static int make_broker(Manager *m) {
        VariantTable variants = {};
        _cleanup_free_ char *why = NULL;
        int r, watch;
        Config config = {};

        r = config_load(m->options.config_root, &config, &why);
        if (r < 0)
                return journal_error(r, "Bad configuration: %s", why ? why : strerror(-r));
        r = aliases_read("", &variants);
        if (r < 0) {
                config_clear(&config);
                return journal_error(r, "Cannot read the modules' aliases: %s", strerror(-r));
        }
        watch = take_stored_watch();
        r = broker_new(m->event, m->kernel, m->options.runtime_directory, config, variants, watch, &m->broker);
        if (r < 0)
                return journal_error(r, "Cannot set up %s: %s", m->options.runtime_directory, strerror(-r));
        if (watch < 0)
                store_watch(m);
        return 0;
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
        m->bus.reload = reload;
        m->bus.reload_userdata = m;
        return 0;
}

static int begin_setup(Manager *m) {
        _cleanup_free_ Job *job = calloc(1, sizeof(*job));

        if (!job)
                return -ENOMEM;
        job->kind = JOB_SETUP;
        job->iommufd = job->inotify_fd = -EBADF;
        return task_start(m->broker->tasks, job, on_setup, m, &m->setup);
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
        broker_free(m->broker);
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
