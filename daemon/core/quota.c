/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fnmatch.h>
#include <inttypes.h>

#include "core/pattern.h"
#include "quota.h"
#include "util/text.h"

void quota_rule_clear(QuotaRule *r) {
        free(r->source);
        free(r->match_cgroup);
        free(r->match_unit);
        free(r->match_slice);
        *r = (QuotaRule) {};
}

void quota_rules_clear(QuotaRules *rules) {
        for (size_t i = 0; i < rules->n; i++)
                quota_rule_clear(&rules->items[i]);
        free(rules->items);
        *rules = (QuotaRules) {};
}

void quota_settings_clear(QuotaSettings *s) {
        for (size_t i = 0; i < s->n; i++)
                free(s->items[i].path);
        free(s->items);
        *s = (QuotaSettings) {};
}

static void free_level(QuotaLevel *level) {
        free(level->path);
        free(level);
}

void quota_clear(Quota *q) {
        for (size_t i = 0; i < q->n_levels; i++)
                free_level(q->levels[i]);
        free(q->levels);
        quota_settings_clear(&q->runtime);
        quota_settings_clear(&q->persistent);
        *q = (Quota) {};
}

/* --- paths --- */

static bool is_dots(const char *name, size_t n) {
        return strspn(name, ".") >= n && n <= 2;
}

bool quota_path_is_valid(const char *path) {
        const char *name = path;

        if (path[0] != '/' || strlen(path) >= QUOTA_PATH_MAX || !text_is_printable(path))
                return false;
        while (path[1] != '\0' && *name) {
                size_t n = strcspn(++name, "/");

                if (is_dots(name, n))
                        return false;
                name += n;
        }
        return true;
}

bool quota_ascend(char *path) {
        char *last = strrchr(path, '/');

        if (path[1] == '\0')
                return false;
        last[last == path ? 1 : 0] = '\0';
        return true;
}

unsigned quota_path_depth(const char *path) {
        unsigned n = 0;

        for (const char *c = path; path[1] != '\0' && *c; c++)
                n += *c == '/';
        return n;
}

bool quota_path_is_within(const char *path, const char *above) {
        size_t n = strlen(above);

        return streq(above, "/") || (strncmp(path, above, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

/* --- limits --- */

static QuotaSetting *find_setting(const QuotaSettings *s, const char *path) {
        for (size_t i = 0; i < s->n; i++)
                if (streq(s->items[i].path, path))
                        return &s->items[i];
        return NULL;
}

int quota_settings_put(QuotaSettings *s, const char *path, uint64_t limit) {
        QuotaSetting *found = find_setting(s, path), *grown;
        char *copy;

        if (limit == QUOTA_UNLIMITED) {
                if (!found)
                        return 0;
                free(found->path);
                *found = s->items[--s->n];
                return 0;
        }
        if (found) {
                found->limit = limit;
                return 0;
        }
        grown = reallocarray(s->items, s->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        s->items = grown;
        copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        grown[s->n++] = (QuotaSetting) { .path = copy, .limit = limit };
        return 0;
}

static bool rule_matches(const QuotaRule *r, const char *path) {
        const char *name = strrchr(path, '/') + 1;

        if (r->match_cgroup)
                return pattern_match(r->match_cgroup, path, FNM_PATHNAME);
        if (r->match_slice)
                return text_has_suffix(name, ".slice") && pattern_match(r->match_slice, name, 0);
        return (text_has_suffix(name, ".service") || text_has_suffix(name, ".scope")) &&
               pattern_match(r->match_unit, name, 0);
}

QuotaLimit quota_limit(const Quota *q, const QuotaRules *rules, const char *path) {
        const QuotaSetting *setting = find_setting(&q->runtime, path);

        if (setting)
                return (QuotaLimit) { setting->limit, "runtime" };
        setting = find_setting(&q->persistent, path);
        if (setting)
                return (QuotaLimit) { setting->limit, "persistent" };
        for (size_t i = 0; i < rules->n; i++)
                if (rule_matches(&rules->items[i], path))
                        return (QuotaLimit) { rules->items[i].limit, rules->items[i].source };
        return (QuotaLimit) { QUOTA_UNLIMITED, "" };
}

bool quota_is_named(const Quota *q, const QuotaRules *rules, const char *path) {
        if (path[1] == '\0' || find_setting(&q->runtime, path) || find_setting(&q->persistent, path))
                return true;
        for (size_t i = 0; i < rules->n; i++)
                if (!isempty(rules->items[i].match_cgroup) && text_has_word(rules->items[i].match_cgroup, path))
                        return true;
        return false;
}

bool quota_has_limits(const Quota *q, const QuotaRules *rules) {
        return q->runtime.n > 0 || q->persistent.n > 0 || rules->n > 0;
}

/* --- levels --- */

/* Where the level of this path is, or would be. */
static size_t place_of(const Quota *q, const char *path) {
        size_t low = 0, high = q->n_levels;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(q->levels[middle]->path, path) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

QuotaLevel *quota_level(const Quota *q, const char *path) {
        size_t at = place_of(q, path);

        return at < q->n_levels && streq(q->levels[at]->path, path) ? q->levels[at] : NULL;
}

int quota_add_level(Quota *q, const char *path, QuotaLevel **ret) {
        QuotaLevel *level = quota_level(q, path), **grown;
        size_t at = place_of(q, path);

        *ret = level;
        if (level)
                return 0;
        grown = reallocarray(q->levels, q->n_levels + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        q->levels = grown;
        level = calloc(1, sizeof(*level));
        if (!level)
                return -ENOMEM;
        level->path = strdup(path);
        if (!level->path) {
                free(level);
                return -ENOMEM;
        }
        memmove(grown + at + 1, grown + at, (q->n_levels++ - at) * sizeof(*grown));
        *ret = grown[at] = level;
        return 0;
}

void quota_remove_level(Quota *q, const QuotaLevel *level) {
        size_t at = place_of(q, level->path);

        free_level(q->levels[at]);
        q->n_levels--;
        memmove(q->levels + at, q->levels + at + 1, (q->n_levels - at) * sizeof(*q->levels));
}

int quota_book(Quota *q, const Lease *l) {
        unsigned depth = quota_path_depth(l->charged);
        char path[QUOTA_PATH_MAX];
        QuotaLevel *level;
        int r;

        if (l->pasids == 0)
                return 0;
        /* First they all have to be there: then nothing can fail in the middle. */
        if (!text_copy(path, sizeof(path), l->charged))
                return -EINVAL;
        do {
                r = quota_add_level(q, path, &level);
                if (r < 0)
                        return r;
        } while (quota_ascend(path));
        (void) text_copy(path, sizeof(path), l->charged);
        do {
                level = quota_level(q, path);
                level->booked += l->pasids;
                level->changed = true;
                if (depth < l->chain.n_levels)
                        level->id = l->chain.levels[l->chain.n_levels - 1 - depth];
                depth--;
        } while (quota_ascend(path));
        return 0;
}

void quota_unbook(Quota *q, const Lease *l) {
        char path[QUOTA_PATH_MAX];

        if (l->pasids == 0 || !text_copy(path, sizeof(path), l->charged))
                return;
        do {
                QuotaLevel *level = quota_level(q, path);

                level->booked -= l->pasids;
                level->changed = true;
        } while (quota_ascend(path));
}

/* What a level has. */
typedef struct Taken {
        uint64_t booked, shared;
} Taken;

static void refuse(const char *path, QuotaLimit limit, Taken taken, uint32_t wanted, Findings *findings) {
        uint64_t all = taken.booked + taken.shared, left = all < limit.limit ? limit.limit - all : 0;
        bool never = wanted > limit.limit;
        char shared[64] = "";
        Finding *f;

        if (taken.shared > 0)
                text_append(shared, sizeof(shared), ", %" PRIu64 " taken by SVA", taken.shared);
        f = findings_add(findings, never ? FINDING_QUOTA : FINDING_QUOTA_BOOKED, SEVERITY_BLOCK, path,
                         "%u PASIDs were asked for; %" PRIu64 " are booked%s and %" PRIu64
                         " are left under the limit of %" PRIu64 " (%s) of cgroup %s",
                         wanted, taken.booked, shared, left, limit.limit, limit.source, path);
        finding_set_remedy(f, "ask for fewer,%s or raise the limit: iommuctl quota set %s NUMBER",
                           never ? "" : " end other leases, wait with \"wait\",", path);
}

bool quota_judge(const Quota *q, const QuotaRules *rules, const char *charged,
                 const uint64_t shared[static PASID_LEVELS_MAX], uint32_t wanted, Findings *findings) {
        unsigned depth = quota_path_depth(charged);
        char path[QUOTA_PATH_MAX];
        bool limited = false;

        (void) text_copy(path, sizeof(path), charged);
        do {
                QuotaLimit limit = quota_limit(q, rules, path);
                const QuotaLevel *level = quota_level(q, path);
                Taken taken = { level ? level->booked : 0, depth < PASID_LEVELS_MAX ? shared[depth] : 0 };

                depth--;
                if (limit.limit == QUOTA_UNLIMITED)
                        continue;
                limited = true;
                if (taken.booked + taken.shared + wanted > limit.limit)
                        refuse(path, limit, taken, wanted, findings);
        } while (quota_ascend(path));
        return limited;
}

const char *quota_check(const Quota *q, Lease *const *leases, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (leases[i]->pasids > 0 && !quota_level(q, leases[i]->charged))
                        return "a lease has booked PASIDs in a cgroup that is not there";
        for (size_t i = 0; i < q->n_levels; i++) {
                uint64_t booked = 0;

                for (size_t j = 0; j < n; j++)
                        if (quota_path_is_within(leases[j]->charged, q->levels[i]->path))
                                booked += leases[j]->pasids;
                if (booked != q->levels[i]->booked)
                        return "what is booked in a cgroup is not what the leases below it have";
        }
        return NULL;
}
