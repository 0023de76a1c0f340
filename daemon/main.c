/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>

#include "check/check.h"
#include "manager.h"

/* iommud: lends PCI devices to sandboxed programs. Started by systemd (iommud.service) or by hand as root. */

static int usage(FILE *to, int status) {
        (void) fputs("Usage: iommud [OPTION]...\n"
                     "Lends PCI devices to sandboxed programs; see iommud(8).\n\n"
                     "  --runtime-directory=DIR  leases, lifelines and locks (/run/iommud)\n"
                     "  --state-directory=DIR    limits that were set (/var/lib/iommud)\n"
                     "  --config-root=DIR        read DIR/etc/iommud instead of /etc/iommud\n"
                     "  --unload-gate            take the gate of PASIDs out of the kernel, and end\n"
                     "  --check                  say what is off with kernel, configuration, /run and bus, and end\n"
                     "  --version                print the version\n"
                     "  --help                   print this\n",
                     to);
        return status;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "runtime-directory", required_argument, NULL, 'r' },
                { "state-directory", required_argument, NULL, 's' },
                { "config-root", required_argument, NULL, 'c' },
                { "unload-gate", no_argument, NULL, 'u' },
                { "check", no_argument, NULL, 'C' },
                { "version", no_argument, NULL, 'V' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        ManagerOptions manager_options = { .config_root = "",
                                           .runtime_directory = "/run/iommud",
                                           .state_directory = "/var/lib/iommud" };
        _cleanup_(manager_freep) Manager *m = NULL;
        bool check = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                switch (c) {
                case 'r':
                        manager_options.runtime_directory = optarg;
                        break;
                case 's':
                        manager_options.state_directory = optarg;
                        break;
                case 'c':
                        manager_options.config_root = optarg;
                        break;
                case 'u':
                        return manager_unload_gate() < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
                case 'C':
                        check = true;
                        break;
                case 'V':
                        (void) puts("iommud " IOMMUD_VERSION);
                        return EXIT_SUCCESS;
                case 'h':
                        return usage(stdout, EXIT_SUCCESS);
                default:
                        return usage(stderr, 2);
                }
        }
        if (optind < argc)
                return usage(stderr, 2);
        if (check)
                return check_run(manager_options.config_root, manager_options.runtime_directory);

        r = manager_new(&manager_options, &m);
        if (r < 0)
                return EXIT_FAILURE;
        return manager_run(m) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
