/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <unistd.h>

#include "system/inotify.h"

int inotify_read(int fd, inotify_event_t event, void *userdata) {
        char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t n = read(fd, buffer, sizeof(buffer));

        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        for (char *p = buffer; p < buffer + n;) {
                const struct inotify_event *e = (const struct inotify_event *) p;

                p += sizeof(*e) + e->len;
                event(e, userdata);
        }
        return 0;
}
