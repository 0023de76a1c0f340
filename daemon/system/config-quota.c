/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config.h"
#include "core/pattern.h"
#include "system/parser.h"
#include "util/text.h"

/* The files of quota.d. */

#define UNIT_CHARACTERS PARSER_LETTERS PARSER_DIGITS ":_.\\@-"

static const Shape shape_cgroup = { .allowed = UNIT_CHARACTERS "/+,=~",
                                    .min = 1,
                                    .max = PATTERN_WORD_MAX,
                                    .hint = "paths of cgroups like /system.slice or /machine.slice/*.scope" };
static const Shape shape_unit = {
        .allowed = UNIT_CHARACTERS, .min = 1, .max = PATTERN_WORD_MAX, .hint = "services and scopes like qemu@*.service"
};
static const Shape shape_slice = {
        .allowed = UNIT_CHARACTERS, .min = 1, .max = PATTERN_WORD_MAX, .hint = "slices like machine.slice or vm-*.slice"
};

static int take_if(Parser *p, const Key *key, const char *word, bool possible) {
        const Shape *shape = key->shape;

        if (!possible)
                return parser_complain(p, "\"%s\" in %s= matches nothing; it takes %s", word, key->name, shape->hint);
        return parser_take_pattern(p, key, word);
}

static int take_cgroup(Parser *p, const Key *key, const char *word) {
        return take_if(p, key, word, quota_path_is_valid(word));
}

static int take_unit(Parser *p, const Key *key, const char *word) {
        return take_if(p, key, word,
                       text_has_suffix(word, ".service") || text_has_suffix(word, ".scope") ||
                               word[strlen(word) - 1] == '*');
}

static int take_slice(Parser *p, const Key *key, const char *word) {
        return take_if(p, key, word, text_has_suffix(word, ".slice") || word[strlen(word) - 1] == '*');
}

static int set_cgroups(Parser *p, const Key *key, const char *value) {
        return parser_each_word(p, key, value, take_cgroup);
}

static int set_units(Parser *p, const Key *key, const char *value) {
        return parser_each_word(p, key, value, take_unit);
}

static int set_slices(Parser *p, const Key *key, const char *value) {
        return parser_each_word(p, key, value, take_slice);
}

static int set_pasids(Parser *p, const Key *key, const char *value) {
        QuotaRule *r = p->target;

        if (text_to_u64(value, QUOTA_LIMIT_MAX, &r->limit) < 0)
                return parser_complain(p, "\"%s\" is no number of PASIDs; %s= takes 0 to %u", value, key->name,
                                       QUOTA_LIMIT_MAX);
        return 0;
}

static const Key keys[] = {
        { "Quota", "CGroup", set_cgroups, offsetof(QuotaRule, match_cgroup), true, &shape_cgroup },
        { "Quota", "Unit", set_units, offsetof(QuotaRule, match_unit), true, &shape_unit },
        { "Quota", "Slice", set_slices, offsetof(QuotaRule, match_slice), true, &shape_slice },
        { "Quota", "Pasids", set_pasids, 0, false, NULL },
};

int config_quota_parse(const char *name, const char *text, size_t size, QuotaRule *ret, char **why) {
        _cleanup_(quota_rule_clear) QuotaRule rule = {};
        Parser p = { .text = text, .size = size, .keys = keys, .n_keys = ARRAY_SIZE(keys), .target = &rule };

        if (parser_run_rule(&p, "quota", name, rule.name) == 0 &&
            !rule.match_cgroup + !rule.match_unit + !rule.match_slice != 2)
                (void) parser_complain(&p, "[Quota] needs one of CGroup=, Unit= and Slice=, and not two of them");
        else if (p.error == 0 && !parser_has(&p, "Quota", "Pasids"))
                (void) parser_complain(&p, "there is no limit: [Quota] needs Pasids=");
        *why = p.why;
        if (p.error == 0)
                *ret = TAKE(rule, (QuotaRule) {});
        return p.error;
}
