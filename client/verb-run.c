/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fill.h"
#include "grant.h"
#include "say.h"
#include "util/text.h"
#include "verb.h"

static const char help[] =
        "iommuctl run -d DEVICE [-d DEVICE]... [OPTIONS] [--] COMMAND [ARGUMENT]...\n\n"
        "Acquire devices and run COMMAND, which inherits their descriptors and the lifeline. In every ARGUMENT the\n"
        "placeholders {iommufd}, {container}, {group}, {lifeline}, {0}, {1} ... (the devices in the order of -d) become\n"
        "descriptor numbers and {ioas} the id of an attached address space, unless behind a \"$\". All other braces stay.\n"
        "IOMMUD_LEASE holds the lease's id, IOMMUD_FDS the descriptors.\n"
        "Exit status: that of COMMAND; 1 not acquired, 2 wrong usage, 126 COMMAND cannot run, 127 COMMAND not "
        "found.\n\n"
        "  -d, --device ADDRESS       a device to acquire\n" REQUEST_HELP
        "      --wait SECONDS         wait so long for devices that are leased or being released\n"
        "  -h, --help                 this text\n";

/* As a shell exits. */
enum {
        EXIT_CANNOT_RUN = 126,
        EXIT_NOT_FOUND = 127,
};

static bool is_program(const char *path, bool *found) {
        struct stat st;

        if (stat(path, &st) < 0)
                return false;
        *found = true;
        return S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* Where execvp would find the command. Returns 0, or the exit status with the error said. */
static int find_command(const char *name, char *ret, size_t size) {
        const char *path = getenv("PATH"), *directory;
        bool found = false;

        if (strchr(name, '/')) {
                if (!text_copy(ret, size, name))
                        return say_usage("the command's path is too long");
                if (is_program(ret, &found))
                        return 0;
        }
        for (directory = path ? path : "/usr/bin:/bin"; directory && !strchr(name, '/');) {
                size_t n = strcspn(directory, ":");
                int length = snprintf(ret, size, "%.*s%s%s", (int) n, directory, n > 0 ? "/" : "./", name);

                if (length > 0 && (size_t) length < size && name[0] && is_program(ret, &found))
                        return 0;
                directory = directory[n] ? directory + n + 1 : NULL;
        }
        if (!found)
                say_error("command not found: %s; nothing was acquired", name);
        else
                say_error("%s is not a program that you may run; nothing was acquired", name);
        return found ? EXIT_CANNOT_RUN : EXIT_NOT_FOUND;
}

static int set_environment(const Grant *g) {
        _cleanup_free_ char *fds = NULL;
        int r;

        r = grant_to_environment(g, &fds);
        if (r < 0)
                return r;
        if (setenv("IOMMUD_LEASE", g->id, true) < 0 || setenv("IOMMUD_FDS", fds, true) < 0)
                return say_oom();
        return 0;
}

/* The lease is without a bus connection from here on: it hangs on the lifeline alone. */
static int acquire(const Request *q, Grant *ret) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(&bus);
        return r < 0 ? r : grant_acquire(bus, q, ret);
}

static int run(const Request *q, char **command) {
        _cleanup_grant_ Grant g = {};
        _cleanup_(fill_freep) char **filled = NULL;
        char program[4096];
        int r;

        r = find_command(command[0], program, sizeof(program));
        if (r != 0)
                return r;
        r = fill_check(command, q);
        if (r != 0)
                return r;
        r = acquire(q, &g);
        if (r < 0)
                return r;
        r = fill_command(command, q, &g, &filled);
        if (r < 0)
                return r;
        r = set_environment(&g);
        if (r < 0)
                return r;
        r = grant_inherit(&g);
        if (r < 0)
                return r;
        execv(program, filled);
        r = errno;
        say_error("cannot run %s: %s; the lease ends", program, strerror(r));
        return r == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

int verb_run(int argc, char **argv) {
        static const struct option options[] = {
                REQUEST_OPTIONS,
                { "device", required_argument, NULL, 'd' },
                { "wait", required_argument, NULL, REQUEST_WAIT },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        Request q = {};
        int c, r;

        while ((c = getopt_long(argc, argv, "+d:h", options, NULL)) >= 0) {
                if (c == 'h')
                        return say_help(help);
                if (c == '?')
                        return VERB_USAGE;
                r = c == 'd' ? request_add_device(&q, optarg) : request_option(&q, c, optarg);
                if (r != 0)
                        return r;
        }
        if (q.devices.n == 0)
                return say_usage("run wants at least one -d DEVICE");
        if (optind == argc)
                return say_usage("run wants a command");
        return run(&q, argv + optind);
}
