/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libkmod.h>
#include <stdio.h>
#include <syslog.h>
#include <systemd/sd-bus.h>

#include "kernel/module.h"
#include "kernel/sysfs.h"
#include "util/text.h"

DEFINE_CLEANUP(struct kmod_ctx, kmod_unref)
DEFINE_CLEANUP(struct kmod_module, kmod_module_unref)

#define SYSTEMD         "org.freedesktop.systemd1"
#define SYSTEMD_PATH    "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER "org.freedesktop.systemd1.Manager"

/* The kernel takes '-' and '_' in the name of a module for the same. */
static char fold(char c) {
        return c == '-' ? '_' : c;
}

static bool begins_like(const char *name, const char *module) {
        for (; *module; name++, module++)
                if (fold(*name) != fold(*module))
                        return false;
        return true;
}

/* True if a is the better answer: first those that begin like the module, then in the order of the alphabet. */
static bool is_better(const char *a, const char *b, const char *module) {
        if (b[0] == '\0')
                return true;
        if (begins_like(a, module) != begins_like(b, module))
                return begins_like(a, module);
        return strcmp(a, b) < 0;
}

/* The name of a driver is not the name of its module: vfio_pci has "vfio-pci", but mlx5_vfio_pci "mlx5_vfio_pci". Only
 * the loaded module tells. -ENOENT: it has no PCI driver, or is not loaded. */
static int find_driver(int root_fd, const char *module, char driver[NAME_MAX_LEN]) {
        _cleanup_closedir_ DIR *dir = NULL;
        char folded[NAME_MAX_LEN], path[256];
        const char *name;
        size_t i;
        int r;

        for (i = 0; module[i] != '\0'; i++)
                folded[i] = fold(module[i]);
        folded[i] = '\0';

        (void) snprintf(path, sizeof(path), "sys/module/%s/drivers", folded);
        r = sysfs_open_directory(root_fd, path, &dir);
        if (r < 0)
                return r;

        while ((r = sysfs_next(dir, &name)) > 0) {
                if (strncmp(name, "pci:", 4) != 0 || !is_better(name + 4, driver, module))
                        continue;
                if (!text_copy(driver, NAME_MAX_LEN, name + 4))
                        return -ENAMETOOLONG;
        }
        if (r < 0)
                return r;
        return driver[0] == '\0' ? -ENOENT : 0;
}

/* As modprobe does with the name of a module: "blacklist" in modprobe.d is about aliases and does not apply, "install"
 * does. */
static int insert(const char *name) {
        _cleanup_(kmod_unrefp) struct kmod_ctx *ctx = kmod_new(NULL, NULL);
        _cleanup_(kmod_module_unrefp) struct kmod_module *module = NULL;
        int r;

        if (!ctx)
                return -ENOMEM;
        kmod_set_log_priority(ctx, LOG_EMERG); /* else it complains on stderr about what we return */
        r = kmod_module_new_from_name(ctx, name, &module);
        if (r < 0)
                return r;
        r = kmod_module_probe_insert_module(module, 0, NULL, NULL, NULL, NULL);
        return r > 0 ? -EPERM : r;
}

static int on_removed(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error) {
        char *job = userdata;
        const char *path;

        if (sd_bus_message_read(m, "uo", NULL, &path) >= 0 && streq(path, job))
                job[0] = '\0';
        return 0;
}

#define SYSTEMD_WAIT_USEC (UINT64_C(30) * 1000000)

/* Waits for the end of a job of systemd's, whose path becomes "". */
static int wait_for_job(sd_bus *bus, const char *job) {
        int r = 0;

        while (r >= 0 && job[0] != '\0') {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, SYSTEMD_WAIT_USEC);
                if (r == 0)
                        r = -ETIMEDOUT;
        }
        return r < 0 ? r : 0;
}

/* As a service we may not load modules; systemd's modprobe@.service does, as for other units. Whether there is such a module shows
 * afterwards. */
static int ask_systemd(const char *name) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        char unit[NAME_MAX_LEN + 32], job[128] = "-";
        const char *path;
        int r;

        (void) snprintf(unit, sizeof(unit), "modprobe@%s.service", name);
        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_match_signal(bus, NULL, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "JobRemoved", on_removed,
                                        job);
        if (r >= 0)
                r = sd_bus_call_method(bus, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "StartUnit", NULL, &reply, "ss",
                                       unit, "replace");
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0 && !text_copy(job, sizeof(job), path))
                r = -ENAMETOOLONG;
        return r < 0 ? r : wait_for_job(bus, job);
}

int module_load(int root_fd, bool may_load, const char *module, char driver[NAME_MAX_LEN]) {
        int r;

        driver[0] = '\0';
        if (!sysfs_name_is_valid(module))
                return -EINVAL;

        /* A module that is there needs no loading, and a kernel with everything built in may have no /lib/modules to
         * ask. */
        r = find_driver(root_fd, module, driver);
        if (r != -ENOENT || !may_load)
                return r;

        r = insert(module);
        if (r == -EPERM)
                r = ask_systemd(module);
        if (r < 0)
                return r;
        return find_driver(root_fd, module, driver);
}
