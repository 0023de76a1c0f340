/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/mark.h"
#include "fuzz.h"
#include "util/text.h"

/* What is read can be written, and reads the same again; what is refused changes nothing. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Device first = {}, second = {};
        char text[MARK_MAX], again[MARK_MAX];

        if (size >= sizeof(text) || memchr(data, '\0', size))
                return 0;
        (void) memcpy(text, data, size);
        text[size] = '\0';
        if (mark_decode(text, &first) < 0) {
                FUZZ_ASSERT(first.state == DEVICE_FREE && !first.unclean);
                return 0;
        }
        FUZZ_ASSERT(text_is_printable(first.reason));
        (void) mark_encode(&first, text);
        FUZZ_ASSERT(mark_decode(text, &second) >= 0);
        (void) mark_encode(&second, again);
        FUZZ_ASSERT(streq(text, again));
        return 0;
}
