/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "grant.h"
#include "say.h"
#include "util/fd.h"
#include "util/text.h"

static int add_fd(Grant *g, const char *kind, const char *name, int fd) {
        GrantFd *fds = reallocarray(g->fds, g->n_fds + 1, sizeof(*fds)), *f;

        if (!fds)
                return -ENOMEM;
        g->fds = fds;
        f = &fds[g->n_fds];
        if (!text_copy(f->kind, sizeof(f->kind), kind) || !text_copy(f->name, sizeof(f->name), name))
                return -EBADMSG;
        /* The message owns its descriptors and closes them with itself. */
        f->fd = fd_dup(fd);
        if (f->fd < 0)
                return f->fd;
        g->n_fds++;
        return 0;
}

/* a(ssh) fds, a{sa{sv}} found: the end of the replies of Acquire and TakeDevices. */
static int read_fds(Grant *g, sd_bus_message *reply) {
        _cleanup_json_ sd_json_variant *found = NULL;
        const char *kind, *name;
        int fd, r;

        r = sd_bus_message_enter_container(reply, 'a', "(ssh)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(reply, "(ssh)", &kind, &name, &fd)) > 0) {
                r = add_fd(g, kind, name, fd);
                if (r < 0)
                        return r;
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(reply);
        if (r >= 0)
                r = json_read(reply, "", &found);
        return r < 0 ? r : sd_json_variant_merge_object(&g->found, found);
}

static int read_acquired(Grant *g, sd_bus_message *reply) {
        const char *path;
        int r;

        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return r;
        g->path = strdup(path);
        if (!g->path)
                return -ENOMEM;
        g->id = strrchr(g->path, '/') + 1;
        r = read_fds(g, reply);
        if (r < 0)
                return r;
        return grant_fd(g, "lifeline", "") < 0 ? -EBADMSG : 0;
}

static int set_id(Grant *g, const char *id) {
        if (asprintf(&g->path, BUS_LEASES "/%s", id) < 0)
                return say_oom();
        g->id = strrchr(g->path, '/') + 1;
        return 0;
}

static int not_under_run(void) {
        say_error(
                "there is no lease here: run this in what \"iommuctl run\" started, with the descriptors that it got");
        return -ENXIO;
}

int grant_from_environment(Grant *ret) {
        static const char lifeline[] = "lifeline=";
        const char *id = getenv("IOMMUD_LEASE"), *fds = getenv("IOMMUD_FDS");
        _cleanup_grant_ Grant g = {};
        uint64_t fd;
        char number[12];
        int r;

        if (isempty(id) || strspn(id, "0123456789abcdef") != strlen(id) || !fds ||
            strncmp(fds, lifeline, strlen(lifeline)) != 0)
                return not_under_run();
        fds += strlen(lifeline);
        snprintf(number, sizeof(number), "%.*s", (int) strcspn(fds, " "), fds);
        if (text_to_u64(number, INT_MAX, &fd) < 0)
                return not_under_run();
        r = set_id(&g, id);
        if (r < 0)
                return r;
        r = add_fd(&g, "lifeline", "", (int) fd);
        if (r < 0)
                return r == -EBADF ? not_under_run() : bus_fail(r, "cannot take the lifeline");
        *ret = TAKE(g, (Grant) {});
        return 0;
}

static const char *first_missing(const Grant *g, const Request *q) {
        for (size_t i = 0; i < q->devices.n; i++)
                if (grant_fd(g, "device", q->devices.items[i]) < 0)
                        return q->devices.items[i];
        return NULL;
}

/* Has the lease hand over what the request asks for; NULL: what is still to be handed out. */
static int fetch(sd_bus *bus, const char *method, const Request *q, Grant *g) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        int r;

        r = bus_new_call(bus, g->path, BUS_LEASE, method, &call);
        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "h", grant_fd(g, "lifeline", ""));
        if (r >= 0 && !q)
                r = sd_bus_message_append(call, "asa{sv}", 0, 0);
        if (r < 0)
                return bus_fail(r, "cannot write the request");
        r = q ? request_append(q, call) : 0;
        if (r >= 0)
                r = bus_call(bus, call, &reply);
        if (r < 0)
                return r;
        r = read_fds(g, reply);
        return r < 0 ? bus_fail(r, "cannot read what iommud handed over") : 0;
}

int grant_add_devices(sd_bus *bus, const Request *q, Grant *g) {
        return fetch(bus, "AddDevices", q, g);
}

static int take_devices(sd_bus *bus, Grant *g) {
        return fetch(bus, "TakeDevices", NULL, g);
}

/* Groups have no names in the request, so they are fetched until no more come. */
static int take_groups(sd_bus *bus, Grant *g) {
        size_t before;
        int r;

        do {
                before = g->n_fds;
                r = take_devices(bus, g);
        } while (r >= 0 && g->n_fds > before);
        return r;
}

/* A message of dbus-daemon carries at most 16 descriptors. */
static int take_missing(sd_bus *bus, const Request *q, Grant *g) {
        const char *missing;
        size_t before;
        int r;

        if (grant_fd(g, "container", "") >= 0)
                return take_groups(bus, g);
        /* The other hand-overs without an iommufd hand out nothing more. */
        if (grant_fd(g, "iommufd", "") < 0)
                return 0;
        while ((missing = first_missing(g, q))) {
                before = g->n_fds;
                r = take_devices(bus, g);
                if (r < 0)
                        return r;
                if (g->n_fds == before) {
                        say_error("iommud handed out no descriptor for %s; the lease is given up", missing);
                        return -ENODEV;
                }
        }
        return 0;
}

int grant_acquire(sd_bus *bus, const Request *q, Grant *ret) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_grant_ Grant g = {};
        int r;

        r = bus_new_call(bus, BUS_ROOT, BUS_MANAGER, "Acquire", &call);
        if (r < 0)
                return r;
        r = request_append(q, call);
        if (r < 0)
                return r;
        r = bus_call(bus, call, &reply);
        if (r < 0)
                return r;
        r = read_acquired(&g, reply);
        if (r < 0)
                return bus_fail(r, "cannot read what iommud handed over");
        r = take_missing(bus, q, &g);
        if (r < 0)
                return r;
        *ret = TAKE(g, (Grant) {});
        return 0;
}

void grant_close(Grant *g) {
        for (size_t i = 0; i < g->n_fds; i++)
                g->fds[i].fd = fd_close(g->fds[i].fd);
        g->n_fds = 0;
}

void grant_done(Grant *g) {
        grant_close(g);
        free(g->fds);
        free(g->path);
        sd_json_variant_unref(g->found);
}

int grant_fd(const Grant *g, const char *kind, const char *name) {
        for (size_t i = 0; i < g->n_fds; i++)
                if (streq(g->fds[i].kind, kind) && streq(g->fds[i].name, name))
                        return g->fds[i].fd;
        return -EBADF;
}

int grant_ioas(const Grant *g) {
        sd_json_variant *found;
        uint64_t ioas;

        /* All devices of a lease have the same. */
        for (size_t i = 0; i < json_members(g->found); i++) {
                json_member(g->found, i, &found);
                ioas = json_number(found, "ioas");
                if (ioas > 0 && ioas <= INT_MAX)
                        return (int) ioas;
        }
        return -ENODATA;
}

int grant_first_group(const Grant *g) {
        for (size_t i = 0; i < g->n_fds; i++)
                if (streq(g->fds[i].kind, "group"))
                        return g->fds[i].fd;
        return -EBADF;
}

int grant_inherit(const Grant *g) {
        for (size_t i = 0; i < g->n_fds; i++) {
                if (fcntl(g->fds[i].fd, F_SETFD, 0) < 0)
                        return bus_fail(-errno, "cannot leave a descriptor open for the command");
        }
        return 0;
}

int grant_to_environment(const Grant *g, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return say_oom();
        for (size_t i = 0; i < g->n_fds; i++) {
                const GrantFd *x = &g->fds[i];

                /* An address says "device" well enough; any other kind is named first. */
                fprintf(f, "%s%s%s%s=%d", i > 0 ? " " : "", streq(x->kind, "device") ? "" : x->kind,
                        streq(x->kind, "device") || isempty(x->name) ? "" : ":", x->name, x->fd);
        }
        if (fclose(f) != 0)
                return say_oom();
        *ret = TAKE_PTR(text);
        return 0;
}

int grant_to_json(const Grant *g, sd_json_variant **ret) {
        _cleanup_json_ sd_json_variant *fds = NULL;
        int r;

        r = sd_json_variant_new_array(&fds, NULL, 0);
        for (size_t i = 0; r >= 0 && i < g->n_fds; i++)
                r = sd_json_variant_append_arraybo(&fds, SD_JSON_BUILD_PAIR_STRING("kind", g->fds[i].kind),
                                                   SD_JSON_BUILD_PAIR_STRING("name", g->fds[i].name),
                                                   SD_JSON_BUILD_PAIR_INTEGER("fd", g->fds[i].fd));
        if (r >= 0)
                r = sd_json_buildo(ret, SD_JSON_BUILD_PAIR_STRING("lease", g->id),
                                   SD_JSON_BUILD_PAIR_STRING("path", g->path),
                                   SD_JSON_BUILD_PAIR_INTEGER("pid", getpid()), SD_JSON_BUILD_PAIR_VARIANT("fds", fds),
                                   SD_JSON_BUILD_PAIR_VARIANT("found", g->found));
        return r < 0 ? bus_fail(r, "cannot make JSON") : 0;
}
