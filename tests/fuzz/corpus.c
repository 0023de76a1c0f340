/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fuzz.h"
#include "util/fd.h"

/* Stands in for libFuzzer where the compiler has none: runs the target over each file of a corpus, given as a
 * directory, so that what was once found stays fixed. */

#define INPUT_MAX (1 << 20)

static int run_file(int dirfd, const char *name) {
        _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *buf = malloc(INPUT_MAX);
        _cleanup_(freep) uint8_t *exact = NULL;
        FILE *f;
        size_t n;

        if (fd < 0 || !buf)
                return -errno;
        f = fdopen(fd_dup(fd), "r");
        if (!f)
                return -errno;
        n = fread(buf, 1, INPUT_MAX, f);
        (void) fclose(f);
        /* A buffer of just this size, so that the sanitizer sees each byte that is read beyond. */
        exact = malloc(n ? n : 1);
        if (!exact)
                return -ENOMEM;
        memcpy(exact, buf, n);
        (void) LLVMFuzzerTestOneInput(exact, n);
        return 0;
}

int main(int argc, char **argv) {
        unsigned ran = 0;

        for (int i = 1; i < argc; i++) {
                DIR *d = opendir(argv[i]);

                for (struct dirent *e; d && (e = readdir(d));) {
                        if (e->d_name[0] == '.')
                                continue;
                        if (run_file(dirfd(d), e->d_name) < 0) {
                                fprintf(stderr, "cannot read %s/%s: %m\n", argv[i], e->d_name);
                                return 1;
                        }
                        ran++;
                }
                if (d)
                        (void) closedir(d);
        }
        printf("%u inputs\n", ran);
        return ran == 0;
}
