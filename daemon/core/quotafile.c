/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "quotafile.h"
#include "util/text.h"

#define HEAD "# iommud limits of PASIDs, version 1, private: do not edit"

int quotafile_encode(const QuotaSettings *s, char **ret, size_t *ret_size) {
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        if (!f)
                return -ENOMEM;
        (void) fputs(HEAD "\n", f);
        for (size_t i = 0; i < s->n; i++)
                (void) fprintf(f, "%" PRIu64 " %s\n", s->items[i].limit, s->items[i].path);
        (void) fputs("END\n", f);
        if (fclose(f) != 0)
                return -ENOMEM;
        if (size > QUOTAFILE_SIZE_MAX)
                return -E2BIG;
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

static int _printf_(2, 3) bad(char why[static 128], const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(why, 128, format, ap);
        va_end(ap);
        return -EBADMSG;
}

static int read_line(char *line, QuotaSettings *ret, char why[static 128]) {
        char *path = strchr(line, ' ');
        size_t n = ret->n;
        uint64_t limit;

        if (!path)
                return bad(why, "there is a line without a path");
        *path++ = '\0';
        if (text_to_u64(line, QUOTA_LIMIT_MAX, &limit) < 0)
                return bad(why, "%.32s is no limit", text_is_printable(line) ? line : "(unprintable)");
        if (!quota_path_is_valid(path))
                return bad(why, "there is something that is no path of a cgroup");
        if (quota_settings_put(ret, path, limit) < 0) {
                (void) bad(why, "out of memory");
                return -ENOMEM;
        }
        return ret->n > n ? 0 : bad(why, "%.64s is there twice", path);
}

int quotafile_decode(const char *text, size_t size, QuotaSettings *ret, char why[static 128]) {
        _cleanup_(quota_settings_clear) QuotaSettings settings = {};
        _cleanup_free_ char *copy = NULL;
        char *line, *end;
        int r;

        if (size > QUOTAFILE_SIZE_MAX || memchr(text, '\0', size))
                return bad(why, "it is too long, or has a NUL");
        copy = strndup(text, size);
        if (!copy) {
                (void) bad(why, "out of memory");
                return -ENOMEM;
        }
        if (strncmp(copy, HEAD "\n", strlen(HEAD) + 1) != 0)
                return bad(why, "it has no limits of this version");
        for (line = copy + strlen(HEAD) + 1; (end = strchr(line, '\n')); line = end + 1) {
                *end = '\0';
                if (streq(line, "END"))
                        break;
                r = read_line(line, &settings, why);
                if (r < 0)
                        return r;
        }
        if (!end || end[1] != '\0')
                return bad(why, "it does not end with END");
        *ret = TAKE(settings, (QuotaSettings) {});
        return 0;
}
