/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "json.h"

/* What the daemon has to say about a request or about the machine: code, severity, subject, text and details. */

/* The worst first; those of one severity stay in the daemon's order. */
int finding_sort(sd_json_variant *findings, sd_json_variant **ret);
void finding_print_all(sd_json_variant *findings);
