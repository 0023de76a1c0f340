/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ending.h"
#include "verb.h"

static const char help[] = "iommuctl release [OPTIONS] LEASE\n\n"
                           "End a lease (by id, a unique beginning of it, or object path) and wait until its devices "
                           "are free. You may end your\n"
                           "own; others if polkit lets you.\n\n"
                           "      --reason TEXT  what the leaseholder and the journal are told\n"
                           "      --no-wait      return when the end has begun\n"
                           "  -h, --help         this text\n";

int verb_release(int argc, char **argv) {
        static const struct option options[] = { ENDING_OPTIONS, {} };

        /* At once: whoever asks for the end of a lease has talked to its holder, or cannot. */
        return ending_run(argc, argv, options, help, "release", 0);
}
