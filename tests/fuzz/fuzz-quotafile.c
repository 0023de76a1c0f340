/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/quotafile.h"
#include "fuzz.h"
#include "util/text.h"

/* What is read can be written, and reads again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(quota_settings_clear) QuotaSettings settings = {};
        _cleanup_free_ char *text = NULL;
        char why[128] = "";
        size_t written;

        if (quotafile_decode((const char *) data, size, &settings, why) < 0) {
                FUZZ_ASSERT(!isempty(why) && text_is_printable(why) && settings.n == 0);
                return 0;
        }
        for (size_t i = 0; i < settings.n; i++)
                FUZZ_ASSERT(quota_path_is_valid(settings.items[i].path) && settings.items[i].limit <= QUOTA_LIMIT_MAX);
        FUZZ_ASSERT(quotafile_encode(&settings, &text, &written) >= 0);
        quota_settings_clear(&settings);
        FUZZ_ASSERT(quotafile_decode(text, written, &settings, why) >= 0);
        return 0;
}
