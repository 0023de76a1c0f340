/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>

#include "manager.h"

/* iommud: lends PCI devices to sandboxed programs. Started by systemd (iommud.service) or by hand as root. */

static int usage(FILE *to, int status) {
        (void) fputs("Usage: iommud [OPTION]...\n"
                     "Lends PCI devices to sandboxed programs; see iommud(8).\n\n"
                     "  --runtime-directory=DIR  leases, lifelines and locks (/run/iommud)\n"
                     "  --config-root=DIR        read DIR/etc/iommud instead of /etc/iommud\n"
                     "  --version                print the version\n"
                     "  --help                   print this\n",
                     to);
        return status;
}

int main(int argc, char *argv[]) {
        static const struct option options[] = {
                { "runtime-directory", required_argument, NULL, 'r' },
                { "config-root", required_argument, NULL, 'c' },
                { "version", no_argument, NULL, 'V' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        ManagerOptions manager_options = { .config_root = "", .runtime_directory = "/run/iommud" };
        _cleanup_(manager_freep) Manager *m = NULL;
        int c, r;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                switch (c) {
                case 'r':
                        manager_options.runtime_directory = optarg;
                        break;
                case 'c':
                        manager_options.config_root = optarg;
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

        r = manager_new(&manager_options, &m);
        if (r < 0)
                return EXIT_FAILURE;
        return manager_run(m) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
