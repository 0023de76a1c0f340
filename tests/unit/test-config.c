/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../test.h"
#include "system/config.h"
#include "util/fd.h"

#define DEVICE "[Device]\nAddress=0000:01:00.0\n"
#define CLIENT "[Client]\nUser=root\n"

static Reservation reservation;
static Limits limits;
static Config config;
static char *why;

static int parse(const char *text) {
        reservation_clear(&reservation);
        free(TAKE_PTR(why));
        return config_parse_reservation("test", text, strlen(text), &reservation, &why);
}

/* The message begins with the place and has the words. */
static void assert_says(const char *place, const char *words) {
        if (!why || strncmp(why, place, strlen(place)) != 0 || !strstr(why, words))
                TEST_FAIL("the message is \"%s\", not \"%s ... %s\"", why ? why : "NULL", place, words);
}

static void assert_refused(const char *text, const char *place, const char *words) {
        if (parse(text) != -EBADMSG)
                TEST_FAIL("taken: %s", text);
        assert_says(place, words);
}

TEST(a_full_reservation) {
        ASSERT_OK(parse("# a comment, caf\xc3\xa9\n"
                        "; another\n"
                        "[Device] ; NVMe\n"
                        "Address = 0000:01:00.0 0000:02:00.*  ; two\n"
                        "\tId=8086:* 1af4:10[4-6]1\n"
                        "Id=10de:????\n"
                        "Subsystem=*\n"
                        "Class=0108*\n"
                        "[Client]\n"
                        "User=root 4711\n"
                        "Group=root 36\n"
                        "Unit=qemu@*.service machine-vm\\x2d1.scope\n"
                        "\n"
                        "[Grant]\n"
                        "HandOver=attached none\n"
                        "Driver=vfio-pci\n"
                        "MemoryLock=8G\n"
                        "MemoryAccounting=user\n"
                        "Pasids=16\n"
                        "ForceInUse=yes\n"
                        "KeepDriver=true\nAtDeadline=kill-cgroup\n"));
        ASSERT_STREQ(reservation.name, "test");
        ASSERT_STREQ(reservation.match_address, "0000:01:00.0 0000:02:00.*");
        ASSERT_STREQ(reservation.match_id, "8086:* 1af4:10[4-6]1 10de:????");
        ASSERT_STREQ(reservation.match_subsystem, "*");
        ASSERT_STREQ(reservation.match_class, "0108*");
        ASSERT_TRUE(!reservation.any_user);
        ASSERT_EQ(reservation.n_uids, 2);
        ASSERT_EQ(reservation.uids[0], 0);
        ASSERT_EQ(reservation.uids[1], 4711);
        ASSERT_EQ(reservation.n_gids, 2);
        ASSERT_EQ(reservation.gids[1], 36);
        ASSERT_STREQ(reservation.match_unit, "qemu@*.service machine-vm\\x2d1.scope");
        ASSERT_EQ(reservation.hand_overs, 1u << HAND_OVER_ATTACHED | 1u << HAND_OVER_NONE);
        ASSERT_STREQ(reservation.driver, "vfio-pci");
        ASSERT_EQ(reservation.memlock, 8LL << 30);
        ASSERT_TRUE(reservation.account_user);
        ASSERT_TRUE(reservation.has_pasids);
        ASSERT_EQ(reservation.pasids, 16);
        ASSERT_TRUE(reservation.force_in_use && reservation.keep_driver);
        ASSERT_EQ(reservation.at_deadline, AT_DEADLINE_KILL_CGROUP);
}

TEST(what_is_not_granted_is_not_there) {
        ASSERT_OK(parse(DEVICE "[Client]\nUser=*"));
        ASSERT_TRUE(reservation.any_user);
        ASSERT_EQ(reservation.n_uids, 0);
        ASSERT_EQ(reservation.hand_overs, 0);
        ASSERT_EQ(reservation.memlock, 0);
        ASSERT_TRUE(!reservation.has_pasids);
        ASSERT_TRUE(!reservation.force_in_use && !reservation.keep_driver && !reservation.account_user);
}

TEST(it_matches_what_it_says) {
        DeviceFacts f = { .address = { .bus = 1 }, .vendor = 0x8086, .device = 0x5845, .class = 0x010802 };
        Caller root = { .uid = 0, .unit = "" }, other = { .uid = 1, .unit = "" };

        ASSERT_OK(parse("[Device]\nId=8086:58*\nClass=0108??\n" CLIENT));
        ASSERT_TRUE(reservation_matches_device(&reservation, &f));
        f.vendor = 0x8087;
        ASSERT_TRUE(!reservation_matches_device(&reservation, &f));
        ASSERT_TRUE(reservation_matches_caller(&reservation, &root));
        ASSERT_TRUE(!reservation_matches_caller(&reservation, &other));
}

TEST(both_sides_must_be_named) {
        assert_refused("", "test.conf:1: ", "[Device] needs Address=, Id=, Subsystem= or Class=");
        assert_refused(CLIENT, "test.conf:2: ", "[Device] needs");
        assert_refused(DEVICE, "test.conf:2: ", "[Client] needs User=, Group= or Unit=");
        assert_refused(DEVICE "[Client]\n[Grant]\nPasids=1\n", "test.conf:5: ", "[Client] needs");
}

TEST(unknown_things_are_errors) {
        assert_refused(DEVICE CLIENT "[Grants]\n", "test.conf:5: ", "no such section");
        assert_refused(DEVICE CLIENT "[Grants]\nPasids=1\n", "test.conf:5: ", "no such section");
        assert_refused("[Device]\nAdress=0000:01:00.0\n", "test.conf:2: ", "[Device] has no key Adress=");
        assert_refused("[Device]\nUser=root\n", "test.conf:2: ", "[Device] has no key User=");
        assert_refused("Address=0000:01:00.0\n", "test.conf:1: ", "before the first section");
        assert_refused("[Device] Address=0000:01:00.0\n", "test.conf:1: ", "alone on its line");
        assert_refused("[Device\n", "test.conf:1: ", "alone on its line");
        assert_refused("[Device]\n\nnonsense\nAdress=1\n", "test.conf:3: ", "neither [Section] nor Key=value");
        assert_refused("[Device]\nAdress=1\nnonsense\n", "test.conf:2: ", "no key Adress=");
        assert_refused("[Client]\nUser=root nosuchuser.here\n", "test.conf:2: ", "no user \"nosuchuser.here\"");
        assert_refused("[Client]\nGroup=nosuchgroup.here\n", "test.conf:2: ", "no group \"nosuchgroup.here\"");
        assert_refused("[Client]\nUser=4294967295\n", "test.conf:2: ", "no user");
}

TEST(bad_values_say_what_would_be_right) {
        static const char *const bad[][2] = {
                { "HandOver=attached cdev", "\"cdev\" is no hand-over; HandOver= takes unbound" },
                { "HandOver=", "HandOver= is empty" },
                { "Driver=", "Driver=" },
                { "Driver=../evil", "Driver= takes one name" },
                { "Driver=vfio-pci mlx5_vfio_pci", "Driver= takes one name" },
                { "MemoryLock=8GB", "like 512M or 8G" },
                { "MemoryLock=0", "is no size" },
                { "MemoryLock=0K", "is no size" },
                { "MemoryAccounting=cgroup", "process or user" },
                { "Pasids=1048577", "0 to 1048576" },
                { "Pasids=-1", "0 to 1048576" },
                { "ForceInUse=maybe", "yes or no" },
                { "KeepDriver=", "yes or no" },
                { "AtDeadline=yes", "report, kill or kill-cgroup" },
                { "Pasids=1\nPasids=2", "given twice" },
                { "Pasids=\xc3\xa9", "ASCII" },
                { "Pasids=1\x01", "control character 0x01" },
        };

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                char text[256];

                (void) snprintf(text, sizeof(text), "[Grant]\n%s\n", bad[i][0]);
                assert_refused(text, "test.conf:", bad[i][1]);
        }
}

TEST(patterns_that_match_nothing_are_errors) {
        static const char *const bad[] = {
                "Address=01:00.0",
                "Address=01:00.*",
                "Address=0000:01:00",
                "Address=0000:01:00.8",
                "Address=0000:0A:00.0",
                "Address=0000:01:00.0,0000:02:00.0",
                "Address=/sys",
                "Address=0000:01:00.[",
                "Address=[]",
                "Address=[!]",
                "Address=0000:01:00.[[:digit:]]",
                "Address=????:??",
                "Address=",
                "Id=8086",
                "Id=8086:10D3",
                "Id=0x8086:0x10d3",
                "Id=80861:0d3",
                "Id=8086:10d31*",
                "Id=808:*",
                "Id=8086 10d3",
                "Id=????",
                "Subsystem=8086:",
                "Class=0108",
                "Class=0x0108*",
                "Class=0108022",
                "Class=nvme",
                "Class=01:08:02",
        };
        static const char *const good[] = {
                "Address=*",
                "Address=0000:*",
                "Address=*:00.0",
                "Address=0000:0[1-3]:00.?",
                "Address=10000:01:00.0",
                "Id=*:10d3",
                "Id=8086:10d[!3]",
                "Id=8086:10d3",
                "Id=????:????",
                "Class=02????",
                "Class=[!0]*",
        };
        char text[256];

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                (void) snprintf(text, sizeof(text), "[Device]\n%s\n" CLIENT, bad[i]);
                if (parse(text) != -EBADMSG)
                        TEST_FAIL("taken: %s", bad[i]);
                assert_says("test.conf:2: ", "");
        }
        for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
                (void) snprintf(text, sizeof(text), "[Device]\n%s\n" CLIENT, good[i]);
                if (parse(text) < 0)
                        TEST_FAIL("%s: %s", good[i], why);
        }
        assert_refused(DEVICE "[Client]\nUnit=a/b\n", "test.conf:4: ", "Unit=");
}

TEST(a_long_line_is_an_error_and_never_cut) {
        char text[1024];

        for (unsigned n = 1; n < 400; n++) {
                int r;

                (void) snprintf(text, sizeof(text), DEVICE "[Client]\nUnit=%0*d\n", (int) n, 0);
                r = parse(text);
                if (r == 0) {
                        ASSERT_EQ(strlen(reservation.match_unit), n);
                        continue;
                }
                ASSERT_ERROR(r, EBADMSG);
                ASSERT_TRUE(n > 150);
                assert_says("test.conf:4: ", "");
        }
        (void) snprintf(text, sizeof(text), ";%0500d\n" DEVICE CLIENT, 0);
        assert_refused(text, "test.conf:1: ", "longer than");
}

TEST(a_text_with_a_nul_is_refused) {
        static const char text[] = DEVICE CLIENT "[Grant]\n\0Pasids=1\n";

        free(TAKE_PTR(why));
        ASSERT_ERROR(config_parse_reservation("test", text, sizeof(text) - 1, &reservation, &why), EBADMSG);
        assert_says("test.conf:6: ", "0x00");
}

TEST(names_of_reservations) {
        static const char *const bad[] = { "", ".hidden", "-x", "a b", "a/b", "caf\xc3\xa9", "a\n" };
        char longest[NAME_MAX_LEN + 1];

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                free(TAKE_PTR(why));
                ASSERT_ERROR(config_parse_reservation(bad[i], DEVICE CLIENT, strlen(DEVICE CLIENT), &reservation, &why),
                             EBADMSG);
                ASSERT_TRUE(strstr(why, "named by letters"));
        }
        (void) snprintf(longest, sizeof(longest), "%0*d", NAME_MAX_LEN, 0);
        free(TAKE_PTR(why));
        ASSERT_ERROR(config_parse_reservation(longest, DEVICE CLIENT, strlen(DEVICE CLIENT), &reservation, &why),
                     EBADMSG);
}

static int parse_limits(const char *text) {
        free(TAKE_PTR(why));
        return config_parse_limits(text, strlen(text), &limits, &why);
}

TEST(limits_of_the_daemon) {
        ASSERT_OK(parse_limits(""));
        ASSERT_EQ(limits.leases_per_user, LIMITS_DEFAULT.leases_per_user);
        ASSERT_OK(
                parse_limits("[Limits]\nLeasesPerUser=1\nDevicesPerUser=2\nRequestsPerUser=3\nLeases=4\nWorkers=5\n"));
        ASSERT_EQ(limits.leases_per_user, 1);
        ASSERT_EQ(limits.devices_per_user, 2);
        ASSERT_EQ(limits.requests_per_user, 3);
        ASSERT_EQ(limits.leases, 4);
        ASSERT_EQ(limits.workers, 5);
        ASSERT_TRUE(!limits.report_newcomers);
        ASSERT_OK(parse_limits("[Groups]\nNewcomers=report\n"));
        ASSERT_TRUE(limits.report_newcomers);
        ASSERT_ERROR(parse_limits("[Groups]\nNewcomers=ignore\n"), EBADMSG);
        assert_says("iommud.conf:2: ", "park or report");
        ASSERT_TRUE(!limits.refuse_ungated);
        ASSERT_OK(parse_limits("[Pasids]\nWithoutGate=refuse\n"));
        ASSERT_TRUE(limits.refuse_ungated);
        ASSERT_OK(parse_limits("[Pasids]\nWithoutGate=group\n"));
        ASSERT_TRUE(!limits.refuse_ungated);
        ASSERT_ERROR(parse_limits("[Pasids]\nWithoutGate=no\n"), EBADMSG);
        assert_says("iommud.conf:2: ", "group or refuse");
        ASSERT_EQ(limits.at_deadline, AT_DEADLINE_UNSAID);
        ASSERT_OK(parse_limits("[Revocation]\nAtDeadline=kill\n"));
        ASSERT_EQ(limits.at_deadline, AT_DEADLINE_KILL);
        ASSERT_OK(parse_limits("[Revocation]\nAtDeadline=report\n"));
        ASSERT_EQ(limits.at_deadline, AT_DEADLINE_REPORT);
        ASSERT_ERROR(parse_limits("[Revocation]\nAtDeadline=kill-cgroup\n"), EBADMSG);
        assert_says("iommud.conf:2: ", "report or kill here");
        ASSERT_OK(parse_limits("[Limits]\nWorkers=5\n"));
        ASSERT_ERROR(parse_limits("[Limits]\nWorkers=0\n"), EBADMSG);
        assert_says("iommud.conf:2: ", "1 to 65536");
        ASSERT_ERROR(parse_limits("[Limits]\nWorkers=65537\n"), EBADMSG);
        ASSERT_ERROR(parse_limits("[Limits]\nWorkers=two\n"), EBADMSG);
        ASSERT_ERROR(parse_limits("[Device]\n"), EBADMSG);
        assert_says("iommud.conf:1: ", "[Limits]");
        ASSERT_EQ(limits.workers, 5);
}

/* --- files --- */

#define ETC "/etc/iommud/reservations.d/"
#define USR "/usr/lib/iommud/reservations.d/"

static char root[64];

static int remove_one(const char *path, const struct stat *st _unused_, int type _unused_, struct FTW *ftw _unused_) {
        return remove(path);
}

static void begin(void) {
        static const char *const directories[] = {
                "/etc",     "/etc/iommud",     "/etc/iommud/reservations.d",    "/usr",
                "/usr/lib", "/usr/lib/iommud", "/usr/lib/iommud/reservations.d"
        };
        char path[256];

        if (root[0] != '\0')
                (void) nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        (void) snprintf(root, sizeof(root), "/tmp/test-config.XXXXXX");
        ASSERT_TRUE(mkdtemp(root));
        (void) umask(022);
        for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
                (void) snprintf(path, sizeof(path), "%s%s", root, directories[i]);
                ASSERT_OK(mkdir(path, 0755));
        }
}

static const char *below(const char *directory, const char *name) {
        static char path[512];

        (void) snprintf(path, sizeof(path), "%s%s%s", root, directory, name);
        return path;
}

static void put(const char *directory, const char *name, const char *text) {
        _cleanup_close_ int dirfd = open(below(directory, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        ASSERT_OK(dirfd);
        ASSERT_OK(fd_replace_file(dirfd, name, text, strlen(text), 0644));
}

static int load(void) {
        config_clear(&config);
        free(TAKE_PTR(why));
        return config_load(root, &config, &why);
}

static const char *loaded_names(void) {
        static char names[256];

        names[0] = '\0';
        for (size_t i = 0; i < config.n_reservations; i++)
                (void) snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%s", i ? " " : "",
                                config.reservations[i].name);
        return names;
}

TEST(nothing_configured) {
        begin();
        ASSERT_OK(load());
        ASSERT_EQ(config.n_reservations, 0);
        ASSERT_EQ(config.limits.workers, LIMITS_DEFAULT.workers);
        (void) nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        ASSERT_OK(load());
        ASSERT_EQ(config.limits.workers, LIMITS_DEFAULT.workers);
}

TEST(both_directories_in_the_order_of_names) {
        begin();
        put(USR, "b.conf", DEVICE CLIENT);
        put(ETC, "c.conf", DEVICE CLIENT);
        put(USR, "d.conf", DEVICE CLIENT);
        put(ETC, "a.conf", DEVICE CLIENT);
        put(ETC, "a.conf~", "nonsense");
        put(ETC, ".hidden.conf", "nonsense");
        put(ETC, "README", "nonsense");
        put("/etc/iommud/", "iommud.conf", "[Limits]\nWorkers=7\n");
        ASSERT_OK(load());
        ASSERT_STREQ(loaded_names(), "a b c d");
        ASSERT_EQ(config.limits.workers, 7);
        ASSERT_STREQ(config.reservations[1].source, below(USR, "b.conf"));
        ASSERT_TRUE(config_reservation(&config, "c"));
}

TEST(the_administrator_masks_the_vendor) {
        begin();
        put(USR, "a.conf", DEVICE CLIENT);
        put(ETC, "a.conf", DEVICE CLIENT "[Grant]\nPasids=5\n");
        put(USR, "b.conf", "what is masked is not even read");
        ASSERT_OK(symlink("/dev/null", below(ETC, "b.conf")));
        put(USR, "c.conf", DEVICE CLIENT);
        ASSERT_OK(load());
        ASSERT_STREQ(loaded_names(), "a c");
        ASSERT_EQ(config.reservations[0].pasids, 5);
}

TEST(one_mistake_and_nothing_is_used) {
        begin();
        put(ETC, "a.conf", DEVICE CLIENT);
        put(ETC, "b.conf", DEVICE CLIENT "[Grant]\nPasids=many\n");
        ASSERT_ERROR(load(), EBADMSG);
        assert_says(below(ETC, "b.conf:6: "), "Pasids=");
        ASSERT_EQ(config.n_reservations, 0);
        put(ETC, "b.conf", DEVICE CLIENT);
        put("/etc/iommud/", "iommud.conf", "[Limits]\nWorker=7\n");
        ASSERT_ERROR(load(), EBADMSG);
        assert_says(below("/etc/iommud/", "iommud.conf:2: "), "no key Worker=");
        put("/etc/iommud/", "iommud.conf", "");
        put(ETC, "a b.conf", DEVICE CLIENT);
        ASSERT_ERROR(load(), EBADMSG);
        assert_says(below(ETC, "a b.conf:1: "), "named by letters");
}

TEST(files_that_others_may_write_are_refused) {
        begin();
        put(ETC, "a.conf", DEVICE CLIENT);
        ASSERT_OK(chmod(below(ETC, "a.conf"), 0664));
        ASSERT_ERROR(load(), EBADMSG);
        assert_says(below(ETC, "a.conf: "), "chmod go-w");
        ASSERT_OK(chmod(below(ETC, "a.conf"), 0646));
        ASSERT_ERROR(load(), EBADMSG);
        ASSERT_OK(chmod(below(ETC, "a.conf"), 0600));
        ASSERT_OK(load());
        ASSERT_OK(chmod(below(ETC, ""), 01777));
        ASSERT_ERROR(load(), EBADMSG);
        assert_says(below("/etc/iommud/reservations.d", "/: "), "chmod go-w");
}

TEST(files_of_others_are_refused) {
        begin();
        put(ETC, "a.conf", DEVICE CLIENT);
        if (geteuid() != 0) {
                printf("(not root: nothing can be given away)\n");
                return;
        }
        ASSERT_OK(chown(below(ETC, "a.conf"), 4711, 0));
        ASSERT_ERROR(load(), EBADMSG);
        assert_says(below(ETC, "a.conf: "), "uid 4711");
}

TEST(what_is_no_file_is_refused) {
        char big[65 * 1024];

        begin();
        ASSERT_OK(mkfifo(below(ETC, "a.conf"), 0644));
        ASSERT_ERROR(load(), EBADMSG); /* and does not wait for a writer */
        assert_says(below(ETC, "a.conf: "), "no regular file");
        ASSERT_OK(unlink(below(ETC, "a.conf")));
        ASSERT_OK(symlink("nowhere", below(ETC, "a.conf")));
        ASSERT_ERROR(load(), EBADMSG);
        assert_says(below(ETC, "a.conf: "), "cannot be read");
        ASSERT_OK(unlink(below(ETC, "a.conf")));
        memset(big, '\n', sizeof(big));
        big[sizeof(big) - 1] = '\0';
        put(ETC, "a.conf", big);
        ASSERT_ERROR(load(), EBADMSG);
        assert_says(below(ETC, "a.conf: "), "64 KiB");
        (void) nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        reservation_clear(&reservation);
        free(TAKE_PTR(why));
}
