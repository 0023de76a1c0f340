/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "broker/watch.h"
#include "system/inotify.h"
#include "util/fd.h"

struct Watch {
        int fd;
        sd_event_source *source;
        watch_closed_t closed;
        void *userdata;
};

Watch *watch_free(Watch *w) {
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->source);
        fd_close(w->fd);
        free(w);
        return NULL;
}
DEFINE_CLEANUP(Watch, watch_free)

static void on_event(const struct inotify_event *e, void *userdata) {
        Watch *w = userdata;

        if (e->mask & IN_Q_OVERFLOW)
                w->closed(-1, w->userdata);
        else if (e->mask & IN_CLOSE_WRITE)
                w->closed(e->wd, w->userdata);
        /* IN_IGNORED: the node went with its driver, which only a worker of ours brings about. */
}

static int on_readable(_unused_ sd_event_source *s, int fd, _unused_ uint32_t revents, void *userdata) {
        return inotify_read(fd, on_event, userdata);
}

int watch_new(sd_event *event, int fd, watch_closed_t closed, void *userdata, Watch **ret) {
        _cleanup_(watch_freep) Watch *w = calloc(1, sizeof(*w));
        int r;

        if (!w) {
                fd_close(fd);
                return -ENOMEM;
        }
        w->fd = fd >= 0 ? fd : inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (w->fd < 0)
                return -errno;
        w->closed = closed;
        w->userdata = userdata;
        r = sd_event_add_io(event, &w->source, w->fd, EPOLLIN, on_readable, w);
        if (r < 0)
                return r;
        /* What a close tells must be known before a request is judged that could go to the same device. */
        r = sd_event_source_set_priority(w->source, SD_EVENT_PRIORITY_IMPORTANT);
        if (r >= 0)
                r = sd_event_source_set_enabled(w->source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

int watch_begin(Watch *w) {
        return sd_event_source_set_enabled(w->source, SD_EVENT_ON);
}

bool watch_is(int fd) {
        char path[64], target[64];
        ssize_t n;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return false;
        target[n] = '\0';
        return streq(target, "anon_inode:inotify");
}

int watch_fd(const Watch *w) {
        return w->fd;
}

void watch_remove(Watch *w, int wd) {
        /* EINVAL: the node is gone, and the watch with it. */
        if (wd >= 0)
                (void) inotify_rm_watch(w->fd, wd);
}
