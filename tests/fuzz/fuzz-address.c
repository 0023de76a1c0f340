/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/address.h"
#include "fuzz.h"

/* What is taken for an address is printed just as it was read: there are no two ways to write one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size);
        Address a;

        if (!text)
                return 0;
        if (address_parse(text, &a) >= 0)
                FUZZ_ASSERT(streq(ADDRESS(a), text));
        return 0;
}
