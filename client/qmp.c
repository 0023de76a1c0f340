/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bus.h"
#include "qmp.h"
#include "say.h"
#include "util/fd.h"
#include "util/text.h"

void qmp_device_id(const char *address, char ret[static QMP_ID_MAX]) {
        /* QEMU wants letters, digits, '-', '.' and '_', and a letter first. */
        snprintf(ret, QMP_ID_MAX, "iommud-%s", address);
        for (char *c = ret; *c; c++)
                if (*c == ':')
                        *c = '-';
}

void qmp_close(Qmp *q) {
        if (q->stream)
                fclose(q->stream);
        q->stream = NULL;
}

/* What happens to the device may be told before the answer to the command that made it happen. */
static void note_event(Qmp *q, sd_json_variant *message) {
        const char *event = json_text(message, "event");

        if (!streq(json_text(sd_json_variant_by_key(message, "data"), "device"), q->device))
                return;
        q->deleted = q->deleted || streq(event, "DEVICE_DELETED");
        q->kept = q->kept || streq(event, "DEVICE_UNPLUG_GUEST_ERROR");
}

static int read_message(Qmp *q, sd_json_variant **ret) {
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        int r;

        if (getline(&line, &size, q->stream) < 0) {
                say_error("QEMU closed its monitor");
                return -ECONNRESET;
        }
        r = sd_json_parse(line, 0, ret, NULL, NULL);
        if (r < 0)
                return bus_fail(r, "what comes from the socket is not QEMU's monitor");
        note_event(q, *ret);
        return 0;
}

static int send_line(const Qmp *q, const char *line, int fd) {
        struct iovec part = { .iov_base = (char *) line, .iov_len = strlen(line) };
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = { .header = {
                              .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) } };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
        ssize_t n;

        if (fd >= 0) {
                memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
                message.msg_control = &control;
                message.msg_controllen = sizeof(control);
        }
        n = sendmsg(fileno(q->stream), &message, MSG_NOSIGNAL);
        if (n < 0)
                return bus_fail(-errno, "cannot send to QEMU's monitor");
        /* A command is far smaller than a socket's buffer, and only one is under way. */
        return (size_t) n == part.iov_len ? 0 : bus_fail(-EMSGSIZE, "cannot send to QEMU's monitor");
}

/* Consumes arguments. *ret_error is what QEMU has against it, or NULL. */
static int execute(Qmp *q, const char *command, sd_json_variant *arguments, int fd, sd_json_variant **ret_error) {
        _cleanup_json_ sd_json_variant *consumed = arguments, *message = NULL;
        _cleanup_free_ char *line = NULL;
        int r;

        r = sd_json_buildo(&message, SD_JSON_BUILD_PAIR_STRING("execute", command),
                           SD_JSON_BUILD_PAIR_CONDITION(!!consumed, "arguments", SD_JSON_BUILD_VARIANT(consumed)));
        if (r >= 0)
                r = sd_json_variant_format(message, SD_JSON_FORMAT_NEWLINE, &line);
        if (r < 0)
                return bus_fail(r, "cannot make JSON");
        r = send_line(q, line, fd);
        while (r >= 0) {
                _cleanup_json_ sd_json_variant *answer = NULL;

                r = read_message(q, &answer);
                if (r < 0)
                        return r;
                *ret_error = sd_json_variant_ref(sd_json_variant_by_key(answer, "error"));
                if (*ret_error || sd_json_variant_by_key(answer, "return"))
                        return 0;
        }
        return r;
}

int qmp_execute(Qmp *q, const char *command, sd_json_variant *arguments, int fd) {
        _cleanup_json_ sd_json_variant *error = NULL;
        int r;

        r = execute(q, command, arguments, fd, &error);
        if (r < 0 || !error)
                return r;
        say_error("QEMU refuses %s: %s", command, json_text(error, "desc"));
        return -EREMOTE;
}

int qmp_close_fd(Qmp *q, const char *name) {
        _cleanup_json_ sd_json_variant *arguments = NULL, *error = NULL;
        int r;

        r = sd_json_buildo(&arguments, SD_JSON_BUILD_PAIR_STRING("fdname", name));
        return r < 0 ? bus_fail(r, "cannot make JSON") : execute(q, "closefd", TAKE_PTR(arguments), -EBADF, &error);
}

int qmp_wait_deleted(Qmp *q) {
        while (!q->deleted && !q->kept) {
                _cleanup_json_ sd_json_variant *event = NULL;
                int r = read_message(q, &event);

                if (r < 0)
                        return r;
        }
        if (q->deleted)
                return 0;
        say_error("the guest does not let go of %s", q->device);
        return -EBUSY;
}

static int connect_to(const char *path, FILE **ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;
        int r = 0;

        if (!text_copy(address.sun_path, sizeof(address.sun_path), path))
                return bus_fail(-ENAMETOOLONG, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                r = -errno;
        if (r < 0) {
                say_error("cannot connect to QEMU's monitor at %s: %s", path, strerror(-r));
                return r;
        }
        *ret = fdopen(fd, "r");
        if (!*ret)
                return say_oom();
        (void) TAKE_FD(fd);
        return 0;
}

int qmp_open(const char *path, const char *device, Qmp *ret) {
        _cleanup_json_ sd_json_variant *greeting = NULL;
        _cleanup_qmp_ Qmp q = { .device = device };
        int r;

        r = connect_to(path, &q.stream);
        if (r >= 0)
                r = read_message(&q, &greeting);
        if (r >= 0 && !sd_json_variant_by_key(greeting, "QMP"))
                r = bus_fail(-EPROTO, "what comes from the socket is not QEMU's monitor");
        if (r >= 0)
                r = qmp_execute(&q, "qmp_capabilities", NULL, -EBADF);
        if (r < 0)
                return r;
        *ret = TAKE(q, (Qmp) {});
        return 0;
}
