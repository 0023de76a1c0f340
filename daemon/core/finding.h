/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "util/macro.h"

/* What there is to say about a request. Explain shows all of them; Acquire refuses with the first that blocks. And what there is to say
 * about the machine, see core/health.h. */

typedef enum Severity {
        SEVERITY_BLOCK, /* Acquire would be refused */
        SEVERITY_ASK,   /* polkit decides */
        SEVERITY_WARN,  /* it works, but the caller would want to know */
        SEVERITY_INFO,
} Severity;

typedef enum FindingCode {
        FINDING_INVALID,
        FINDING_NO_SUCH_DEVICE,
        FINDING_NOT_AN_ENDPOINT,
        FINDING_NO_GROUP,
        FINDING_NOT_A_MEMBER,
        FINDING_NOT_AUTHORIZED,
        FINDING_LEASED,
        FINDING_RELEASING,
        FINDING_BUSY,
        FINDING_BROKEN,
        FINDING_MEMBER_ON_HOST_DRIVER,
        FINDING_MEMBER_ON_VFIO_DRIVER,
        FINDING_NOIOMMU,
        FINDING_DIRECT_REGION,
        FINDING_NO_ISOLATION,
        FINDING_IN_USE,
        FINDING_DRIVER_MISMATCH,
        FINDING_ODD_OVERRIDE,
        FINDING_LIMIT,
        FINDING_QUOTA,        /* more PASIDs than could ever be had */
        FINDING_QUOTA_BOOKED, /* more than others have left */
        FINDING_NO_IOMMUFD,
        FINDING_NO_LEGACY,
        FINDING_UNSUPPORTED,
        FINDING_NO_HOT_RESET,
        FINDING_HAND_OVER,
        FINDING_WILL_DETACH,
        FINDING_WILL_PARK,
        FINDING_PLAIN_DRIVER,
        FINDING_NO_RESET,
        FINDING_UNCLEAN,
        FINDING_SHARED_RESET,
        FINDING_MEMLOCK,
        FINDING_PASIDS_ENFORCED,
        FINDING_PASIDS_UNENFORCED,
        FINDING_PASIDS_UNBOUNDED,
        FINDING_VF_TOKEN,
        FINDING_NO_IOMMU,
        FINDING_UNSAFE_INTERRUPTS,
        FINDING_CONFIGURATION,
        FINDING_NOT_RELOADED,
        FINDING_RESERVES_NOTHING,
        FINDING_STATE_MODE,
        FINDING_STATE_SET_ASIDE,
        FINDING_STATE_UNTRUSTED,
        FINDING_STATE_UNKNOWN,
        FINDING_STATE_MISSING,
        FINDING_STUCK_WORKER,
        FINDING_NOT_KEPT,
        FINDING_WRONG_DRIVER,
        FINDING_LEFT_HELD,
        FINDING_NO_POLKIT_ACTIONS,
        FINDING_NOT_RUNNING,
        FINDING_NAME_TAKEN,
        FINDING_NO_ANSWER,
        FINDING_OUT_OF_DATE,
        FINDING_CANNOT_TELL,
        _FINDING_CODE_MAX,
} FindingCode;

typedef struct Finding {
        FindingCode code;
        Severity severity;
        char subject[80];        /* an address, "group N", a cgroup, or "" */
        char text[320];          /* what and why */
        char remedy[256];        /* what to do, or "" */
        const char *action;      /* of polkit, for SEVERITY_ASK */
        const char *reservation; /* the device's, with action; NULL: none */
} Finding;

typedef struct Findings {
        Finding *items;
        size_t n;
        bool out_of_memory;
} Findings;

void findings_clear(Findings *f);

/* Adds a finding and returns it for the remedy to be filled in; never NULL (out of memory shows in the list). */
Finding *findings_add(Findings *f, FindingCode code, Severity severity, const char *subject, const char *format, ...)
        _printf_(5, 6);
void finding_set_remedy(Finding *f, const char *format, ...) _printf_(2, 3);

/* The first that blocks, NULL if none does. */
const Finding *findings_first_block(const Findings *f);

const char *severity_to_string(Severity s);
const char *finding_code_to_string(FindingCode c);
/* The D-Bus error with which Acquire refuses for this reason. */
const char *finding_error_name(FindingCode c);
