/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <locale.h>
#include <stdio.h>

#include "say.h"
#include "verb.h"

static const struct {
        const char *name, *summary;
        int (*run)(int argc, char **argv);
} verbs[] = {
        { "list", "List devices, groups or leases", verb_list },
        { "tree", "Show the groups with their devices and what blocks them", verb_tree },
        { "show", "Show all about devices, groups or leases", verb_show },
        { "explain", "Say whether devices can be acquired, and why not", verb_explain },
        { "acquire", "Acquire devices and hold them until a signal", verb_acquire },
        { "run", "Acquire devices and run a command that inherits them", verb_run },
        { "plug", "Add a device to a lease and to a running QEMU", verb_plug },
        { "unplug", "Take a device out of a running QEMU and its lease", verb_unplug },
        { "release", "End a lease", verb_release },
        { "revoke", "Take a lease back from a client", verb_revoke },
        { "vfs", "Set how many virtual functions a device has", verb_vfs },
        { "quota", "Show and set how many PASIDs cgroups may have", verb_quota },
        { "health", "Say what is off with the machine, its configuration and the leases", verb_health },
        { "monitor", "Print what happens", verb_monitor },
};

/* What getopt's complaints begin with. */
static char program[] = "iommuctl";

static int help(void) {
        puts("iommuctl [OPTIONS] VERB ...\n\nLend PCI devices to unprivileged programs, through iommud.\n\nVerbs:");
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                printf("  %-9s %s\n", verbs[i].name, verbs[i].summary);
        puts("\nOptions:\n  -h, --help     this text; behind a verb, that verb's\n      --version  the version\n\n"
             "See iommuctl(1).");
        return 0;
}

static int run_verb(int argc, char **argv) {
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
                if (!streq(verbs[i].name, argv[0]))
                        continue;
                /* The verb parses its own options. */
                optind = 0;
                argv[0] = program;
                return verbs[i].run(argc, argv);
        }
        return say_usage("unknown verb \"%s\"; see: iommuctl --help", argv[0]);
}

static int parse(int argc, char **argv) {
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },
                {},
        };

        if (argc > 0)
                argv[0] = program;
        switch (getopt_long(argc, argv, "+h", options, NULL)) {
        case 'h':
                return help();
        case 'V':
                puts("iommuctl " IOMMUCTL_VERSION);
                return 0;
        case -1:
                break;
        default:
                return VERB_USAGE;
        }
        if (optind == argc)
                return say_usage("a verb is missing; see: iommuctl --help");
        return run_verb(argc - optind, argv + optind);
}

int main(int argc, char **argv) {
        int r;

        setlocale(LC_ALL, "");
        /* Whole lines, so that those of several processes on one terminal do not mix. */
        setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
        r = parse(argc, argv);
        if (fflush(stdout) != 0 || ferror(stdout)) {
                say_error("cannot write to standard output");
                return EXIT_FAILURE;
        }
        return r < 0 ? EXIT_FAILURE : r;
}
