/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../test.h"
#include "core/leasefile.h"
#include "core/request.h"

static char *text;
static size_t size;
static char why[128];

static Lease *make_lease(size_t n_devices) {
        Lease *l = calloc(1, sizeof(*l));

        ASSERT_TRUE(l);
        *l = (Lease) {
                .id = "0123456789abcdef0123456789abcdef",
                .uid = 1000,
                .pid = 4711,
                .process = UINT64_MAX,
                .unit = strdup("qemu@web.service"),
                .cgroup = strdup("/system.slice/qemu@web.service/vm"),
                .charged = strdup("/system.slice/qemu@web.service"),
                .chain = { { 9000, 4711, 300, 1 }, 4 },
                .reservation = "web",
                .hand_over = HAND_OVER_ATTACHED,
                .state = LEASE_RELEASING,
                .reason = "the lifeline was closed = END=1",
                .restore = true,
                .memlock = UINT64_MAX,
                .pasids = 16,
                .created = UINT64_C(1763690000000000),
                .revoke_deadline = 1,
                .devices = calloc(n_devices + 1, sizeof(LeaseDevice)),
                .n_devices = n_devices,
        };
        ASSERT_TRUE(l->unit && l->cgroup && l->charged && l->devices);
        for (size_t i = 0; i < n_devices; i++)
                l->devices[i] = (LeaseDevice) {
                        .address = { .domain = 0x10000, .bus = (uint8_t) i, .devfn = 9 },
                        .role = ROLE_PARKED,
                        .group = 7,
                        .set = { .domain = 0x10000, .bus = (uint8_t) i },
                        .driver = "vfio-pci",
                        .module = "vfio_pci",
                        .original_driver = "nvme",
                        .original_override = "mine",
                        .opened = true,
                        .closed = true,
                        .watch = -1,
                        .bound = { .devid = 3, .pasid_bits = 20, .can_reset = true, .hot_reset_owned = true },
                        .ioas = 5,
                        .pt = 6,
                        .pulled = i % 2,
                        .released = i % 2,
                };
        return l;
}

/* Leaves the text of such a lease in text. */
static void encode(size_t n_devices) {
        Lease *l = make_lease(n_devices);
        int r;

        free(text);
        text = NULL;
        r = leasefile_encode(l, &text, &size);
        lease_free(l);
        ASSERT_OK(r);
}

static int decode(const char *s, size_t n) {
        Lease *l = NULL;
        int r;

        memset(why, 0, sizeof(why));
        r = leasefile_decode(s, n, &l, why);
        ASSERT_TRUE(r == 0 || !l);
        lease_free(l);
        return r;
}

/* The text with its first "from" replaced must be refused, and the reason must have these words. */
static void assert_refused(const char *from, const char *to, const char *reason) {
        char *place = strstr(text, from);
        _cleanup_free_ char *changed = NULL;
        int n;

        ASSERT_TRUE(place);
        n = asprintf(&changed, "%.*s%s%s", (int) (place - text), text, to, place + strlen(from));
        ASSERT_TRUE(n > 0);
        if (decode(changed, (size_t) n) != -EBADMSG)
                TEST_FAIL("taken with \"%s\" in place of \"%s\"", to, from);
        if (!strstr(why, reason))
                TEST_FAIL("\"%s\" does not say \"%s\"", why, reason);
}

TEST(what_is_written_is_read) {
        Lease *l = make_lease(3), *again = NULL;
        const LeaseDevice *d;

        encode(3);
        ASSERT_OK(leasefile_decode(text, size, &again, why));
        ASSERT_STREQ(again->id, l->id);
        ASSERT_EQ(again->uid, 1000);
        ASSERT_EQ(again->pid, 4711);
        ASSERT_TRUE(again->process == UINT64_MAX);
        ASSERT_STREQ(again->unit, l->unit);
        ASSERT_STREQ(again->cgroup, l->cgroup);
        ASSERT_STREQ(again->charged, l->charged);
        ASSERT_EQ(again->chain.n_levels, 4);
        ASSERT_TRUE(memcmp(&again->chain, &l->chain, sizeof(l->chain)) == 0);
        ASSERT_STREQ(again->reservation, "web");
        ASSERT_EQ(again->hand_over, HAND_OVER_ATTACHED);
        ASSERT_EQ(again->state, LEASE_RELEASING);
        ASSERT_STREQ(again->reason, l->reason);
        ASSERT_TRUE(again->restore && !again->per_process);
        ASSERT_TRUE(again->memlock == UINT64_MAX);
        ASSERT_EQ(again->pasids, 16);
        ASSERT_EQ(again->created, l->created);
        ASSERT_EQ(again->revoke_deadline, 1);
        ASSERT_EQ(again->n_devices, 3);
        d = &again->devices[2];
        ASSERT_STREQ(ADDRESS(d->address), "10000:02:01.1");
        ASSERT_STREQ(ADDRESS(d->set), "10000:02:00.0");
        ASSERT_EQ(d->role, ROLE_PARKED);
        ASSERT_EQ(d->group, 7);
        ASSERT_STREQ(d->driver, "vfio-pci");
        ASSERT_STREQ(d->module, "vfio_pci");
        ASSERT_STREQ(d->original_driver, "nvme");
        ASSERT_STREQ(d->original_override, "mine");
        ASSERT_TRUE(d->opened && !d->taken && d->closed && !d->released && again->devices[1].released);
        ASSERT_TRUE(!d->pulled && again->devices[1].pulled);
        ASSERT_EQ(d->watch, -1);
        ASSERT_EQ(d->bound.devid, 3);
        ASSERT_EQ(d->bound.pasid_bits, 20);
        ASSERT_TRUE(d->bound.can_reset && !d->bound.hot_reset_possible && d->bound.hot_reset_owned);
        ASSERT_EQ(d->ioas, 5);
        ASSERT_EQ(d->pt, 6);
        lease_free(again);
        lease_free(l);
}

TEST(the_file_has_its_frame) {
        static const char head[] = "# iommud lease, private: do not edit\nVERSION=1\nID=";

        encode(1);
        ASSERT_EQ(strlen(text), size);
        ASSERT_TRUE(strncmp(text, head, strlen(head)) == 0);
        ASSERT_STREQ(text + size - strlen("\nEND=1\n"), "\nEND=1\n");
        encode(0);
        ASSERT_OK(decode(text, size));
}

TEST(every_cut_is_noticed) {
        encode(2);
        for (size_t n = 0; n < size; n++)
                if (decode(text, n) != -EBADMSG)
                        TEST_FAIL("taken after %zu of %zu bytes", n, size);
        ASSERT_OK(decode(text, size));
}

TEST(every_lost_line_is_noticed) {
        encode(1);
        for (const char *line = text; *line;) {
                const char *next = strchr(line, '\n') + 1;
                _cleanup_free_ char *rest = NULL;

                ASSERT_TRUE(asprintf(&rest, "%.*s%s", (int) (line - text), text, next) > 0);
                if (decode(rest, strlen(rest)) != -EBADMSG)
                        TEST_FAIL("taken without \"%.*s\"", (int) (next - line - 1), line);
                line = next;
        }
}

TEST(every_doubled_line_is_noticed) {
        encode(1);
        for (const char *line = text; *line;) {
                const char *next = strchr(line, '\n') + 1;
                _cleanup_free_ char *doubled = NULL;

                ASSERT_TRUE(asprintf(&doubled, "%.*s%s", (int) (next - text), text, line) > 0);
                if (decode(doubled, strlen(doubled)) != -EBADMSG)
                        TEST_FAIL("taken with \"%.*s\" twice", (int) (next - line - 1), line);
                line = next;
        }
}

TEST(a_forged_id_is_refused) {
        encode(1);
        assert_refused("ID=0", "ID=", "ID");
        assert_refused("ID=0", "ID=00", "ID");
        assert_refused("ID=0", "ID=A", "ID");
        assert_refused("ID=0", "ID=/", "ID");
        assert_refused("ID=0123456789abcdef0123456789abcdef", "ID=../../../../../../../../etc/shadow", "ID");
}

TEST(what_is_out_of_range_is_refused) {
        encode(1);
        assert_refused("VERSION=1", "VERSION=2", "version 2");
        assert_refused("UID=1000", "UID=4294967295", "UID");
        assert_refused("UID=1000", "UID=-1", "UID");
        assert_refused("PID=4711", "PID=2147483648", "PID");
        assert_refused("PID=4711", "PID= 4711", "PID");
        assert_refused("PID=4711", "PID=", "PID");
        assert_refused("PASIDS=16", "PASIDS=1048577", "PASIDS");
        assert_refused("MEMLOCK=18446744073709551615", "MEMLOCK=18446744073709551616", "MEMLOCK");
        assert_refused("RESTORE=1", "RESTORE=yes", "RESTORE");
        assert_refused("STATE=releasing", "STATE=free", "STATE");
        assert_refused("HAND_OVER=attached", "HAND_OVER=", "HAND_OVER");
        assert_refused("ROLE=parked", "ROLE=owner", "ROLE");
        assert_refused("GROUP=7", "GROUP=-1", "GROUP");
        assert_refused("SET=10000:00:00.0", "SET=0", "SET");
        assert_refused("CHARGED=/system", "CHARGED=system", "CHARGED");
        assert_refused("CHARGED=/system", "CHARGED=/../system", "CHARGED");
        assert_refused("LEVELS=9000", "LEVELS=-1", "LEVELS");
        assert_refused("LEVELS=9000", "LEVELS=99999999999999999999", "LEVELS");
        assert_refused("LEVELS=9000",
                       "LEVELS=1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30",
                       "LEVELS");
        assert_refused("WATCH=-1", "WATCH=-2", "WATCH");
        assert_refused("PASID_BITS=20", "PASID_BITS=21", "PASID_BITS");
        assert_refused("DEVICE=10000:00:01.1", "DEVICE=10000:00:01.9", "DEVICE");
        assert_refused("\nDRIVER=vfio-pci", "\nDRIVER=../../evil", "DRIVER");
        assert_refused("\nDRIVER=vfio-pci", "\nDRIVER=..", "DRIVER");
}

TEST(what_is_unknown_or_too_long_is_refused) {
        char longest[LEASEFILE_CGROUP_MAX + 16];

        encode(1);
        assert_refused("PID=", "COLOUR=blue\nPID=", "unknown key COLOUR");
        assert_refused("PID=", "pid=", "unknown key pid");
        assert_refused("PID=4711", "", "no KEY=value");
        assert_refused("ROLE=", "UID=1\nROLE=", "unknown key UID");
        assert_refused("\nEND=1\n", "\nEND=1\nEND=1\n", "END=1 is not the end");
        assert_refused("\nEND=1\n", "\nEND=0\n", "END=1");
        assert_refused("\nEND=1\n", "\nEND=1", "cut short");
        (void) snprintf(longest, sizeof(longest), "CGROUP=%0*d", LEASEFILE_CGROUP_MAX, 0);
        assert_refused("CGROUP=", longest, "CGROUP");
        (void) snprintf(longest, sizeof(longest), "UNIT=%0*d", LEASEFILE_UNIT_MAX, 0);
        assert_refused("UNIT=", longest, "UNIT");
        (void) snprintf(longest, sizeof(longest), "MODULE=%0*d", NAME_MAX_LEN, 0);
        assert_refused("MODULE=", longest, "MODULE");
}

TEST(what_is_not_printable_is_refused) {
        encode(1);
        assert_refused("REASON=", "REASON=\x1b[2J", "0x1b");
        assert_refused("REASON=", "REASON=\t", "0x09");
        assert_refused("REASON=", "REASON=\xc3\xa9", "0xc3");
        assert_refused("REASON=", "REASON=\r", "0x0d");
        text[size / 2] = '\0';
        ASSERT_ERROR(decode(text, size), EBADMSG);
        ASSERT_TRUE(strstr(why, "0x00"));
}

TEST(a_device_is_in_it_once_and_there_are_not_too_many) {
        _cleanup_free_ char *huge = NULL;
        Lease *l;

        encode(REQUEST_DEVICES_MAX);
        ASSERT_OK(decode(text, size));
        assert_refused("DEVICE=10000:05:01.1", "DEVICE=10000:06:01.1", "twice");

        l = make_lease(REQUEST_DEVICES_MAX + 1);
        ASSERT_ERROR(leasefile_encode(l, &text, &size), E2BIG);
        lease_free(l);

        huge = calloc(1, LEASEFILE_SIZE_MAX + 1);
        ASSERT_TRUE(huge);
        memset(huge, '\n', LEASEFILE_SIZE_MAX + 1);
        ASSERT_ERROR(decode(huge, LEASEFILE_SIZE_MAX + 1), EBADMSG);
        ASSERT_TRUE(strstr(why, "longer"));
}

static void assert_not_encoded(Lease *l) {
        char *ret = NULL;
        size_t n;
        int r = leasefile_encode(l, &ret, &n);

        lease_free(l);
        ASSERT_ERROR(r, EINVAL);
        ASSERT_TRUE(!ret);
}

TEST(what_could_not_be_read_back_is_not_written) {
        Lease *l = make_lease(1);

        (void) snprintf(l->reason, sizeof(l->reason), "over\nEND=1");
        assert_not_encoded(l);
        l = make_lease(1);
        free(l->cgroup);
        l->cgroup = strdup("/user.slice/a\nUID=0");
        assert_not_encoded(l);
        l = make_lease(1);
        (void) snprintf(l->devices[0].original_driver, NAME_MAX_LEN, "nvme\n");
        assert_not_encoded(l);
        l = make_lease(1);
        (void) snprintf(l->id, sizeof(l->id), "short");
        assert_not_encoded(l);
        l = make_lease(1);
        l->devices[0].group = -1;
        assert_not_encoded(l);
        l = make_lease(1);
        l->state = _LEASE_STATE_MAX;
        assert_not_encoded(l);
        l = make_lease(2);
        l->devices[1].address = l->devices[0].address;
        assert_not_encoded(l);
        free(text);
        text = NULL;
}
