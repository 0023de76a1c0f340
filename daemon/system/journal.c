/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <stdarg.h>
#include <stdio.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <systemd/sd-messages.h>

#include "system/journal.h"
#include "util/text.h"

/* Of our own; "journalctl MESSAGE_ID=..." finds all of a kind. */
#define MESSAGE_GRANTED  "MESSAGE_ID=8388a09f5d62aae41f1e53c4da3f0e0f"
#define MESSAGE_REFUSED  "MESSAGE_ID=efa4966e001b7490516bde2e78946a69"
#define MESSAGE_ENDED    "MESSAGE_ID=8ae287df2f36cc63adecf50d9a1952b6"
#define MESSAGE_RETURNED "MESSAGE_ID=08d9cf5874f1441f7862e03d75166d91"
#define MESSAGE_VIRTUAL  "MESSAGE_ID=03f03aec40aa4b6b8cde3c044ca94a26"
#define MESSAGE_BROKEN   "MESSAGE_ID=1ebd6099988286991e8bcd2d54dd4953"

/* Without a journal (a plain boot, a test) standard error has to do, with the priority in front as systemd reads it. */
static bool has_journal(void) {
        return getenv("JOURNAL_STREAM") != NULL;
}

static void log_line(int priority, const char *text) {
        if (has_journal())
                (void) sd_journal_print(priority, "%s", text);
        else
                (void) fprintf(stderr, "<%d>%s\n", priority, text);
}

static void log_va(int priority, const char *format, va_list ap) {
        char text[1024];

        (void) vsnprintf(text, sizeof(text), format, ap);
        log_line(priority, text);
}

void journal_log(int priority, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        log_va(priority, format, ap);
        va_end(ap);
}

int journal_error(int r, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        log_va(LOG_ERR, format, ap);
        va_end(ap);
        return r;
}

static void device_names(const Lease *l, char *buf, size_t size) {
        buf[0] = '\0';
        for (size_t i = 0; i < l->n_devices; i++)
                if (l->devices[i].role == ROLE_LEASED)
                        text_append(buf, size, "%s%s", buf[0] ? " " : "", ADDRESS(l->devices[i].address));
}

static void send_lease(int priority, const char *id, const Lease *l, const char *devices, const char *text) {
        if (!has_journal()) {
                log_line(priority, text);
                return;
        }
        (void) sd_journal_send("MESSAGE=%s", text, "PRIORITY=%i", priority, "%s", id, "IOMMUD_LEASE=%s", l->id,
                               "IOMMUD_UID=%u", l->uid, "IOMMUD_PID=%i", (int) l->pid, "IOMMUD_UNIT=%s", l->unit,
                               "IOMMUD_CGROUP=%s", l->cgroup, "IOMMUD_DEVICE=%s", devices, "IOMMUD_HAND_OVER=%s",
                               hand_over_to_string(l->hand_over), NULL);
}

void journal_granted(const Lease *l) {
        char devices[512], text[800];

        device_names(l, devices, sizeof(devices));
        (void) snprintf(text, sizeof(text), "Lease %s: granted %s to uid %u, pid %i (%s)", l->id, devices, l->uid,
                        (int) l->pid, hand_over_to_string(l->hand_over));
        send_lease(LOG_NOTICE, MESSAGE_GRANTED, l, devices, text);
}

void journal_refused(uid_t uid, pid_t pid, const char *error_name, const char *why) {
        char text[900];

        (void) snprintf(text, sizeof(text), "Refused uid %u, pid %i: %s", uid, (int) pid, why);
        if (!has_journal())
                log_line(LOG_NOTICE, text);
        else
                (void) sd_journal_send("MESSAGE=%s", text, "PRIORITY=%i", LOG_NOTICE, "%s", MESSAGE_REFUSED,
                                       "IOMMUD_UID=%u", uid, "IOMMUD_PID=%i", (int) pid, "IOMMUD_ERROR=%s", error_name,
                                       NULL);
}

void journal_virtual_functions(const Caller *caller, Address a, uint32_t n) {
        char text[160];

        (void) snprintf(text, sizeof(text), "%s is to have %u virtual functions, for uid %u, pid %i", ADDRESS(a), n,
                        caller->uid, (int) caller->pid);
        if (!has_journal())
                log_line(LOG_NOTICE, text);
        else
                (void) sd_journal_send("MESSAGE=%s", text, "PRIORITY=%i", LOG_NOTICE, "%s", MESSAGE_VIRTUAL,
                                       "IOMMUD_UID=%u", caller->uid, "IOMMUD_PID=%i", (int) caller->pid,
                                       "IOMMUD_DEVICE=%s", ADDRESS(a), NULL);
}

void journal_lease_ended(const Lease *l, const char *reason) {
        char devices[512], text[900];

        device_names(l, devices, sizeof(devices));
        (void) snprintf(text, sizeof(text), "Lease %s: ended (%s), %s free", l->id, reason, devices);
        send_lease(LOG_NOTICE, MESSAGE_ENDED, l, devices, text);
}

void journal_device_returned(const Lease *l, const LeaseDevice *d, const char *driver) {
        char text[400];

        (void) snprintf(text, sizeof(text), "Lease %s: %s returned to %s", l->id, ADDRESS(d->address),
                        isempty(driver) ? "no driver" : driver);
        send_lease(LOG_INFO, MESSAGE_RETURNED, l, ADDRESS(d->address), text);
}

void journal_device_broken(const Lease *l, const LeaseDevice *d, const char *reason) {
        char text[700];

        (void) snprintf(text, sizeof(text), "Lease %s: %s is broken: %s", l->id, ADDRESS(d->address), reason);
        send_lease(LOG_ERR, MESSAGE_BROKEN, l, ADDRESS(d->address), text);
}
