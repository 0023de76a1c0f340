/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fnmatch.h>

#include "../unit/tree.h"
#include "core/pattern.h"
#include "core/quota.h"
#include "fuzz.h"
#include "system/cgroup.h"
#include "util/text.h"

/* A cgroup's path, which its user can choose below what is delegated; after a newline, patterns for such a path or for a unit. */

static void begin(void) {
        tree_begin();
        put("cgroup.controllers", "pids\n");
        put_directory("a.slice/b@c.service/d");
        (void) atexit(tree_end);
}

static void check_path(const char *path) {
        _cleanup_free_ CGroup *c = malloc(sizeof(*c));
        char up[QUOTA_PATH_MAX];

        if (c && cgroup_read(root, path, c) >= 0) {
                FUZZ_ASSERT(quota_path_is_valid(c->path) && quota_path_is_valid(c->charged));
                FUZZ_ASSERT(strncmp(c->path, c->charged, strlen(c->charged)) == 0);
                FUZZ_ASSERT(c->chain.n_levels >= 1 && c->chain.n_levels <= PASID_LEVELS_MAX);
        }
        if (!quota_path_is_valid(path) || !text_copy(up, sizeof(up), path))
                return;
        while (quota_ascend(up))
                FUZZ_ASSERT(quota_path_is_valid(up) && strlen(up) < strlen(path));
        FUZZ_ASSERT(streq(up, "/"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = strndup((const char *) data, size);
        char *patterns;

        if (!text)
                return 0;
        if (!kernel)
                begin();
        patterns = strchr(text, '\n');
        if (patterns)
                *patterns++ = '\0';
        check_path(text);
        FUZZ_ASSERT(pattern_match("", text, 0) && pattern_match("x *", text, 0));
        if (patterns && !pattern_match(patterns, text, FNM_PATHNAME))
                FUZZ_ASSERT(!isempty(patterns));
        return 0;
}
