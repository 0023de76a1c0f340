/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* What libFuzzer calls, and corpus.c where there is no libFuzzer. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Survives NDEBUG, unlike assert(). */
#define FUZZ_ASSERT(condition)                                                                                         \
        do {                                                                                                           \
                if (!(condition))                                                                                      \
                        abort();                                                                                       \
        } while (0)
