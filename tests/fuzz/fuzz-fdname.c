/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/fdname.h"
#include "fuzz.h"

/* What is taken for the name of a stored descriptor is written just as it was read. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size);
        char again[FDNAME_MAX];
        FdName n;

        if (!text || fdname_decode(text, &n) < 0)
                return 0;
        FUZZ_ASSERT(strlen(n.lease) == LEASE_ID_LEN && n.kind < _FD_KIND_MAX);
        fdname_encode(&n, again);
        FUZZ_ASSERT(streq(again, text));
        return 0;
}
