/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <syslog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "system/fdstore.h"
#include "system/journal.h"
#include "util/fd.h"
#include "util/text.h"

/* FDPOLL=0: systemd shall not drop a descriptor because poll() finds something wrong with it. */
#define PUT "FDSTORE=1\nFDPOLL=0\nFDNAME=%s"

FdStore *fdstore_free(FdStore *s) {
        if (!s)
                return NULL;
        for (size_t i = 0; i < s->n_back; i++) {
                fd_close(s->back[i].fd);
                free(s->back[i].name);
        }
        free(s->back);
        free(s);
        return NULL;
}
DEFINE_CLEANUP(FdStore, fdstore_free)

int fdstore_new(FdStore **ret) {
        _cleanup_(fdstore_freep) FdStore *s = calloc(1, sizeof(*s));
        const char *max = getenv("FDSTORE");
        _cleanup_free_ char **names = NULL;
        uint64_t limit = 0;
        int n;

        if (!s)
                return -ENOMEM;
        if (max && text_to_u64(max, UINT32_MAX, &limit) >= 0)
                s->max = limit;
        n = sd_listen_fds_with_names(true, &names);
        if (n < 0)
                return n;
        s->back = calloc((size_t) n + 1, sizeof(*s->back));
        if (!s->back)
                return -ENOMEM;
        for (; s->n_back < (size_t) n; s->n_back++)
                s->back[s->n_back] =
                        (StoredFd) { .name = names[s->n_back], .fd = SD_LISTEN_FDS_START + (int) s->n_back };
        s->n = s->n_back;
        *ret = TAKE_PTR(s);
        return 0;
}

int fdstore_put(FdStore *s, const char *name, int fd) {
        char text[256];
        int r;

        if (s->max == 0)
                return -EOPNOTSUPP;
        if (s->n >= s->max) {
                if (!s->told_full)
                        journal_log(LOG_WARNING,
                                    "systemd keeps no more descriptors for iommud (FileDescriptorStoreMax=%zu); "
                                    "some will be lost when it is restarted",
                                    s->max);
                s->told_full = true;
                return -ENOSPC;
        }
        (void) snprintf(text, sizeof(text), PUT, name);
        r = sd_pid_notify_with_fds(0, false, text, &fd, 1);
        if (r < 0)
                return r;
        if (r == 0)
                return -EOPNOTSUPP;
        s->n++;
        return 0;
}

void fdstore_remove(FdStore *s, const char *name) {
        int r;

        if (s->n > 0)
                s->n--;
        s->told_full = false;
        r = sd_notifyf(false, "FDSTOREREMOVE=1\nFDNAME=%s", name);
        if (r < 0)
                journal_log(LOG_WARNING, "systemd keeps the descriptor %s, of which there is no need: %s", name,
                            strerror(-r));
}

int fdstore_barrier(void) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        ours = fds[0];
        theirs = fds[1];
        r = sd_pid_notify_with_fds(0, false, "BARRIER=1", &theirs, 1);
        return r < 0 ? r : TAKE_FD(ours);
}
