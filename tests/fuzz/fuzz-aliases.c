/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"
#include "system/aliases.h"

/* modules.alias and modules.builtin.modinfo, and a device whose driver is chosen by them. */

static void check(const VariantTable *t) {
        static const char modalias[] = "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00";
        const VariantAlias *best = variant_choose(t, modalias);
        char names[256];

        for (size_t i = 0; i < t->n; i++)
                FUZZ_ASSERT(strncmp(t->aliases[i].pattern, "vfio_pci:", 9) == 0 && t->aliases[i].driver[0] != '\0');
        FUZZ_ASSERT(!best || variant_candidate(t, modalias, best->driver));
        variant_list(t, modalias, names, sizeof(names));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size), *whole = malloc(size + 1);
        VariantTable loadable = {}, builtin = {};

        if (!text || !whole)
                return 0;
        (void) memcpy(whole, data, size);
        whole[size] = '\0';
        (void) aliases_parse("/nowhere", text, &loadable);
        check(&loadable);
        variant_table_clear(&loadable);
        (void) aliases_parse_builtin("/nowhere", whole, size, &builtin);
        check(&builtin);
        variant_table_clear(&builtin);
        return 0;
}
