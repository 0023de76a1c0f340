/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"
#include "system/config.h"
#include "util/text.h"

/* A rule that is taken names devices and clients; one that is refused says where and why. */
static void fuzz_reservation(const char *text, size_t size) {
        _cleanup_(reservation_clear) Reservation r = {};
        static const gid_t gids[] = { 0 };
        Caller caller = { .gids = gids, .n_gids = 1, .unit = "a.service" };
        DeviceFacts facts = { .vendor = 0x8086 };
        _cleanup_free_ char *why = NULL;

        if (config_parse_reservation("fuzz", text, size, &r, &why) < 0) {
                FUZZ_ASSERT(why && strncmp(why, "fuzz.conf:", 10) == 0 && text_is_printable(why));
                FUZZ_ASSERT(isempty(r.name));
                return;
        }
        FUZZ_ASSERT(!why && streq(r.name, "fuzz"));
        FUZZ_ASSERT(r.match_address || r.match_id || r.match_subsystem || r.match_class);
        FUZZ_ASSERT(r.any_user || r.n_uids || r.n_gids || r.match_unit);
        FUZZ_ASSERT(r.hand_overs < 1u << _HAND_OVER_MAX);
        (void) reservation_matches_device(&r, &facts);
        (void) reservation_matches_caller(&r, &caller);
}

static void fuzz_limits(const char *text, size_t size) {
        _cleanup_free_ char *why = NULL;
        Limits limits = {};

        if (config_parse_limits(text, size, &limits, &why) < 0) {
                FUZZ_ASSERT(why && strncmp(why, "iommud.conf:", 12) == 0 && text_is_printable(why));
                return;
        }
        FUZZ_ASSERT(!why && limits.workers && limits.leases && limits.leases_per_user && limits.devices_per_user &&
                    limits.requests_per_user);
}

static void fuzz_quota(const char *text, size_t size) {
        _cleanup_(quota_rule_clear) QuotaRule r = {};
        QuotaRules rules = { .items = &r, .n = 1 };
        _cleanup_free_ char *why = NULL;
        Quota quota = {};

        if (config_quota_parse("fuzz", text, size, &r, &why) < 0) {
                FUZZ_ASSERT(why && strncmp(why, "fuzz.conf:", 10) == 0 && text_is_printable(why));
                FUZZ_ASSERT(isempty(r.name));
                return;
        }
        FUZZ_ASSERT(!why && streq(r.name, "fuzz") && r.limit <= QUOTA_LIMIT_MAX);
        FUZZ_ASSERT(!r.match_cgroup + !r.match_unit + !r.match_slice == 2);
        (void) quota_limit(&quota, &rules, "/a.slice/b@c.service");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        fuzz_reservation((const char *) data, size);
        fuzz_quota((const char *) data, size);
        fuzz_limits((const char *) data, size);
        return 0;
}
