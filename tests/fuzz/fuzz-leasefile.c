/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/leasefile.h"
#include "fuzz.h"
#include "util/text.h"

/* What is read can be written, and reads the same again; what is refused has a reason that may be shown. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(lease_freep) Lease *first = NULL, *second = NULL;
        _cleanup_free_ char *text = NULL, *again = NULL;
        size_t text_size, again_size;
        char why[128] = "";

        if (leasefile_decode((const char *) data, size, &first, why) < 0) {
                FUZZ_ASSERT(!isempty(why) && text_is_printable(why) && !first);
                return 0;
        }
        FUZZ_ASSERT(leasefile_encode(first, &text, &text_size) >= 0);
        FUZZ_ASSERT(leasefile_decode(text, text_size, &second, why) >= 0);
        FUZZ_ASSERT(leasefile_encode(second, &again, &again_size) >= 0);
        FUZZ_ASSERT(text_size == again_size && memcmp(text, again, text_size) == 0);
        return 0;
}
