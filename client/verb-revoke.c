/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ending.h"
#include "verb.h"

#define DEADLINE_DEFAULT 30 /* seconds */

static const char help[] = "iommuctl revoke [OPTIONS] LEASE\n\n"
                           "Take a lease (by id, a unique beginning of it, or object path) back: its client is asked "
                           "to let go, and at the\n"
                           "deadline it ends all the same. Waits until its devices are free, or broken since somebody "
                           "does not let go.\n\n"
                           "      --deadline SECONDS  how long the client is given (default: 30)\n"
                           "      --reason TEXT       what the leaseholder and the journal are told\n"
                           "      --no-wait           return when the client is being asked\n"
                           "  -h, --help              this text\n";

int verb_revoke(int argc, char **argv) {
        static const struct option options[] = {
                { "deadline", required_argument, NULL, ENDING_DEADLINE },
                ENDING_OPTIONS,
                {},
        };

        return ending_run(argc, argv, options, help, "revoke", DEADLINE_DEFAULT);
}
