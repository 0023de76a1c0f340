/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "util/macro.h"

/* What there is to say about a request. Explain shows all of them; Acquire refuses with the first that blocks. */

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
        FINDING_NOIOMMU,
        FINDING_DIRECT_REGION,
        FINDING_NO_ISOLATION,
        FINDING_IN_USE,
        FINDING_DRIVER_MISMATCH,
        FINDING_LIMIT,
        FINDING_QUOTA,
        FINDING_NO_IOMMUFD,
        FINDING_UNSUPPORTED,
        FINDING_NO_HOT_RESET,
        FINDING_WILL_DETACH,
        FINDING_WILL_PARK,
        FINDING_NO_RESET,
        FINDING_SHARED_RESET,
        FINDING_MEMLOCK,
        FINDING_PASIDS_UNENFORCED,
        _FINDING_CODE_MAX,
} FindingCode;

typedef struct Finding {
        FindingCode code;
        Severity severity;
        char subject[80];   /* an address, "group N", a cgroup, or "" */
        char text[320];     /* what and why */
        char remedy[256];   /* what to do, or "" */
        const char *action; /* of polkit, for SEVERITY_ASK */
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
