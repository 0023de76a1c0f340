/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>

#include "core/errors.h"
#include "finding.h"
#include "util/text.h"

static const struct {
        const char *name, *error;
} codes[_FINDING_CODE_MAX] = {
        [FINDING_INVALID] = { "invalid", ERROR_INVALID_ARGUMENT },
        [FINDING_NO_SUCH_DEVICE] = { "no-such-device", ERROR_NO_SUCH_DEVICE },
        [FINDING_NOT_AN_ENDPOINT] = { "not-an-endpoint", ERROR_INVALID_ARGUMENT },
        [FINDING_NO_GROUP] = { "no-iommu-group", ERROR_NO_ISOLATION },
        [FINDING_NOT_A_MEMBER] = { "not-a-member", ERROR_INVALID_ARGUMENT },
        [FINDING_NOT_AUTHORIZED] = { "not-authorized", ERROR_NOT_AUTHORIZED },
        [FINDING_LEASED] = { "leased", ERROR_DEVICE_BUSY },
        [FINDING_RELEASING] = { "releasing", ERROR_DEVICE_BUSY },
        [FINDING_BUSY] = { "busy", ERROR_DEVICE_BUSY },
        [FINDING_BROKEN] = { "broken", ERROR_DEVICE_BROKEN },
        [FINDING_MEMBER_ON_HOST_DRIVER] = { "member-on-host-driver", ERROR_GROUP_NOT_VIABLE },
        [FINDING_MEMBER_ON_VFIO_DRIVER] = { "member-on-vfio-driver", ERROR_GROUP_NOT_VIABLE },
        [FINDING_NOIOMMU] = { "noiommu", ERROR_NO_ISOLATION },
        [FINDING_DIRECT_REGION] = { "direct-reserved-region", ERROR_GROUP_NOT_VIABLE },
        [FINDING_NO_ISOLATION] = { "no-interrupt-isolation", ERROR_NO_ISOLATION },
        [FINDING_IN_USE] = { "in-use", ERROR_DEVICE_IN_USE },
        [FINDING_DRIVER_MISMATCH] = { "driver-mismatch", ERROR_DRIVER_MISMATCH },
        [FINDING_ODD_OVERRIDE] = { "odd-driver-override", ERROR_NOT_SUPPORTED },
        [FINDING_LIMIT] = { "limit", ERROR_LIMIT_EXCEEDED },
        [FINDING_QUOTA] = { "quota", ERROR_QUOTA_EXCEEDED },
        [FINDING_QUOTA_BOOKED] = { "quota-booked", ERROR_QUOTA_EXCEEDED },
        [FINDING_NO_IOMMUFD] = { "no-iommufd", ERROR_NOT_SUPPORTED },
        [FINDING_NO_LEGACY] = { "no-legacy-vfio", ERROR_NOT_SUPPORTED },
        [FINDING_UNSUPPORTED] = { "unsupported", ERROR_NOT_SUPPORTED },
        [FINDING_NO_HOT_RESET] = { "no-hot-reset", ERROR_NOT_SUPPORTED },
        [FINDING_HAND_OVER] = { "hand-over", NULL },
        [FINDING_WILL_DETACH] = { "will-detach", NULL },
        [FINDING_WILL_PARK] = { "will-park", NULL },
        [FINDING_PLAIN_DRIVER] = { "plain-driver", NULL },
        [FINDING_NO_RESET] = { "no-reset", NULL },
        [FINDING_UNCLEAN] = { "unclean", ERROR_DEVICE_NOT_CLEAN },
        [FINDING_SHARED_RESET] = { "shared-reset", NULL },
        [FINDING_MEMLOCK] = { "memlock", NULL },
        [FINDING_PASIDS_ENFORCED] = { "pasids-enforced", NULL },
        [FINDING_PASIDS_UNENFORCED] = { "pasids-unenforced", NULL },
        [FINDING_PASIDS_UNBOUNDED] = { "pasids-unbounded", ERROR_NOT_SUPPORTED },
        [FINDING_VF_TOKEN] = { "vf-token", NULL },
        [FINDING_NO_IOMMU] = { "no-iommu", NULL },
        [FINDING_UNSAFE_INTERRUPTS] = { "unsafe-interrupts", NULL },
        [FINDING_CONFIGURATION] = { "bad-configuration", NULL },
        [FINDING_NOT_RELOADED] = { "not-reloaded", NULL },
        [FINDING_RESERVES_NOTHING] = { "reserves-nothing", NULL },
        [FINDING_STATE_MODE] = { "state-mode", NULL },
        [FINDING_STATE_SET_ASIDE] = { "state-set-aside", NULL },
        [FINDING_STATE_UNTRUSTED] = { "state-untrusted", NULL },
        [FINDING_STATE_UNKNOWN] = { "state-unknown", NULL },
        [FINDING_STATE_MISSING] = { "state-missing", NULL },
        [FINDING_STUCK_WORKER] = { "stuck-worker", NULL },
        [FINDING_NOT_KEPT] = { "not-kept", NULL },
        [FINDING_WRONG_DRIVER] = { "wrong-driver", NULL },
        [FINDING_LEFT_HELD] = { "left-held", NULL },
        [FINDING_NO_POLKIT_ACTIONS] = { "no-polkit-actions", NULL },
        [FINDING_NOT_RUNNING] = { "not-running", NULL },
        [FINDING_NAME_TAKEN] = { "name-taken", NULL },
        [FINDING_NO_ANSWER] = { "no-answer", NULL },
        [FINDING_OUT_OF_DATE] = { "out-of-date", NULL },
        [FINDING_CANNOT_TELL] = { "cannot-tell", NULL },
};

const char *finding_code_to_string(FindingCode c) {
        return c < _FINDING_CODE_MAX ? codes[c].name : "invalid";
}

const char *finding_error_name(FindingCode c) {
        return c < _FINDING_CODE_MAX && codes[c].error ? codes[c].error : ERROR_FAILED;
}

const char *severity_to_string(Severity s) {
        static const char *const names[] = { "block", "ask", "warn", "info" };

        return s < ARRAY_SIZE(names) ? names[s] : "invalid";
}

void findings_clear(Findings *f) {
        free(f->items);
        *f = (Findings) {};
}

Finding *findings_add(Findings *f, FindingCode code, Severity severity, const char *subject, const char *format, ...) {
        /* Without memory there is still an answer, and it blocks: a refusal that cannot be written down stays a refusal. */
        static Finding last_resort;
        Finding *grown = reallocarray(f->items, f->n + 1, sizeof(Finding));
        Finding *item = &last_resort;
        va_list ap;

        if (grown) {
                f->items = grown;
                item = &f->items[f->n++];
        } else
                f->out_of_memory = true;
        *item = (Finding) { .code = code, .severity = severity };
        text_append(item->subject, sizeof(item->subject), "%s", subject);
        va_start(ap, format);
        (void) vsnprintf(item->text, sizeof(item->text), format, ap);
        va_end(ap);
        return item;
}

void finding_set_remedy(Finding *f, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(f->remedy, sizeof(f->remedy), format, ap);
        va_end(ap);
}

const Finding *findings_first_block(const Findings *f) {
        for (size_t i = 0; i < f->n; i++)
                if (f->items[i].severity == SEVERITY_BLOCK)
                        return &f->items[i];
        return NULL;
}
