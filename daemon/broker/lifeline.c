/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/lifeline.h"
#include "util/fd.h"

struct Lifeline {
        int fd;
        dev_t device;
        ino_t inode;
        sd_event_source *source;
        lifeline_ended_t ended;
        void *userdata;
};

Lifeline *lifeline_free(Lifeline *l) {
        if (!l)
                return NULL;
        sd_event_source_disable_unref(l->source);
        fd_close(l->fd);
        free(l);
        return NULL;
}
DEFINE_CLEANUP(Lifeline, lifeline_free)

static int open_read_end(const Store *s, const char *id, Lifeline **ret) {
        _cleanup_(lifeline_freep) Lifeline *l = calloc(1, sizeof(*l));
        struct stat st;

        if (!l)
                return -ENOMEM;
        l->fd = openat(s->lifelines, id, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
        if (l->fd < 0)
                return -errno;
        if (fstat(l->fd, &st) < 0)
                return -errno;
        if (!S_ISFIFO(st.st_mode))
                return -EBADF;
        l->device = st.st_dev;
        l->inode = st.st_ino;
        *ret = TAKE_PTR(l);
        return 0;
}

int lifeline_create(const Store *s, const char *id, Lifeline **ret, int *ret_write_end) {
        _cleanup_(lifeline_freep) Lifeline *l = NULL;
        int fd, r;

        if (mkfifoat(s->lifelines, id, 0600) < 0)
                return -errno;
        r = open_read_end(s, id, &l);
        if (r < 0)
                return r;
        fd = openat(s->lifelines, id, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        *ret = TAKE_PTR(l);
        *ret_write_end = fd;
        return 0;
}

int lifeline_reopen(const Store *s, const char *id, Lifeline **ret) {
        _cleanup_(lifeline_freep) Lifeline *l = NULL;
        char waste[4096];
        ssize_t n;
        int r;

        r = open_read_end(s, id, &l);
        if (r < 0)
                return r;
        /* poll() says nothing if the last writer died before the FIFO was opened; read() does, with 0. What a client may have
         * written is in its way. */
        do
                n = read(l->fd, waste, sizeof(waste));
        while (n > 0 || (n < 0 && errno == EINTR));
        if (n < 0 && errno != EAGAIN)
                return -errno;
        *ret = TAKE_PTR(l);
        return n < 0;
}

static int on_hangup(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata) {
        Lifeline *l = userdata;

        l->source = sd_event_source_disable_unref(l->source);
        l->ended(l->userdata);
        return 0;
}

int lifeline_watch(Lifeline *l, sd_event *event, lifeline_ended_t ended, void *userdata) {
        l->ended = ended;
        l->userdata = userdata;
        /* No EPOLLIN: a client that writes must not wake us. EPOLLHUP always comes. */
        return sd_event_add_io(event, &l->source, l->fd, 0, on_hangup, l);
}

bool lifeline_is(const Lifeline *l, int fd) {
        struct stat st;
        int flags = fcntl(fd, F_GETFL);

        /* The inode is root's and 0600, so a write end can only have come from us, by whatever way. O_PATH has no access. */
        if (flags < 0 || (flags & O_PATH) || (flags & O_ACCMODE) != O_WRONLY || fstat(fd, &st) < 0)
                return false;
        return S_ISFIFO(st.st_mode) && st.st_dev == l->device && st.st_ino == l->inode;
}
