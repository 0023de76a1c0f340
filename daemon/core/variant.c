/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fnmatch.h>

#include "util/text.h"
#include "variant.h"

#define ALIAS_PREFIX "vfio_pci:"
#define PCI_PREFIX   "pci:"

void variant_table_clear(VariantTable *t) {
        free(t->aliases);
        *t = (VariantTable) {};
}

int variant_table_add(VariantTable *t, const char *pattern, const char *module, const char *driver) {
        VariantAlias a = {}, *grown;

        if (strncmp(pattern, ALIAS_PREFIX, strlen(ALIAS_PREFIX)) != 0)
                return 0;
        if (!text_copy(a.pattern, sizeof(a.pattern), pattern) || !text_copy(a.module, sizeof(a.module), module) ||
            !text_copy(a.driver, sizeof(a.driver), driver))
                return -EINVAL;
        grown = reallocarray(t->aliases, t->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        t->aliases = grown;
        t->aliases[t->n++] = a;
        return 1;
}

static unsigned count_wildcards(const char *pattern) {
        unsigned n = 0;

        for (; *pattern; pattern++)
                n += *pattern == '*';
        return n;
}

/* True if a is the better match of the two. */
static bool better(const VariantAlias *a, const VariantAlias *b) {
        unsigned wa = count_wildcards(a->pattern), wb = count_wildcards(b->pattern);

        return wa != wb ? wa < wb : strcmp(a->driver, b->driver) < 0;
}

static bool matches(const VariantAlias *a, const char *modalias) {
        return strncmp(modalias, PCI_PREFIX, strlen(PCI_PREFIX)) == 0 &&
               fnmatch(a->pattern + strlen(ALIAS_PREFIX), modalias + strlen(PCI_PREFIX), FNM_NOESCAPE) == 0;
}

static const VariantAlias *best(const VariantTable *t, const char *modalias, const char *driver) {
        const VariantAlias *found = NULL;

        for (size_t i = 0; i < t->n; i++) {
                const VariantAlias *a = &t->aliases[i];

                if (driver && !streq(a->driver, driver))
                        continue;
                if (matches(a, modalias) && (!found || better(a, found)))
                        found = a;
        }
        return found;
}

void variant_list(const VariantTable *t, const char *modalias, char *buf, size_t size) {
        const char *last = "", *next;

        buf[0] = '\0';
        do {
                next = NULL;
                for (size_t i = 0; i < t->n; i++) {
                        const char *driver = t->aliases[i].driver;

                        if (strcmp(driver, last) > 0 && (!next || strcmp(driver, next) < 0) &&
                            matches(&t->aliases[i], modalias))
                                next = driver;
                }
                if (next)
                        text_append(buf, size, "%s%s", buf[0] ? " " : "", next);
                last = next;
        } while (last);
}

const VariantAlias *variant_choose(const VariantTable *t, const char *modalias) {
        return best(t, modalias, NULL);
}

const VariantAlias *variant_candidate(const VariantTable *t, const char *modalias, const char *driver) {
        return best(t, modalias, driver);
}

const char *variant_driver_of_module(const char *module) {
        /* Drivers that name themselves by KBUILD_MODNAME have underscores; as of 7.2 these two do not. */
        static const struct {
                const char *module, *driver;
        } hyphenated[] = { { "vfio_pci", "vfio-pci" }, { "xe_vfio_pci", "xe-vfio-pci" } };

        for (size_t i = 0; i < ARRAY_SIZE(hyphenated); i++)
                if (streq(hyphenated[i].module, module))
                        return hyphenated[i].driver;
        return module;
}
