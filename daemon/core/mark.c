/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "mark.h"
#include "util/text.h"

size_t mark_encode(const Device *d, char buf[static MARK_MAX]) {
        buf[0] = '\0';
        if (d->state == DEVICE_BROKEN && !d->lease)
                text_append(buf, MARK_MAX, "broken %s\n", d->reason);
        if (d->unclean)
                text_append(buf, MARK_MAX, "unclean %u\n", d->unclean_of);
        if (!isempty(d->taken_from))
                text_append(buf, MARK_MAX, "taken %s %s\n", d->taken_from, d->taken_override);
        return strlen(buf);
}

/* What follows the word, NULL if the line begins with another. */
static const char *after(const char *line, const char *word) {
        return strncmp(line, word, strlen(word)) == 0 ? line + strlen(word) : NULL;
}

static bool take_name(const char *from, size_t length, char ret[static NAME_MAX_LEN]) {
        if (length >= NAME_MAX_LEN)
                return false;
        (void) memcpy(ret, from, length);
        ret[length] = '\0';
        return text_is_printable(ret) && !strchr(ret, ' ');
}

static int decode_taken(const char *value, Device *d) {
        const char *space = strchr(value, ' ');

        if (!space || space == value || !isempty(d->taken_from) ||
            !take_name(value, (size_t) (space - value), d->taken_from) ||
            !take_name(space + 1, strlen(space + 1), d->taken_override))
                return -EBADMSG;
        return 0;
}

static int decode_line(const char *line, Device *d) {
        const char *value;
        uint64_t uid;

        value = after(line, "broken ");
        if (value && d->state == DEVICE_FREE && text_is_printable(value)) {
                d->state = DEVICE_BROKEN;
                return text_copy(d->reason, sizeof(d->reason), value) ? 0 : -EBADMSG;
        }
        value = after(line, "unclean ");
        if (value && !d->unclean && text_to_u64(value, UINT32_MAX, &uid) >= 0) {
                d->unclean = true;
                d->unclean_of = (uid_t) uid;
                return 0;
        }
        value = after(line, "taken ");
        return value ? decode_taken(value, d) : -EBADMSG;
}

int mark_decode(const char *text, Device *d) {
        Device marked = *d;

        while (*text) {
                char line[MARK_MAX];
                const char *end = strchr(text, '\n');
                int r;

                if (!end || (size_t) (end - text) >= sizeof(line))
                        return -EBADMSG;
                (void) memcpy(line, text, (size_t) (end - text));
                line[end - text] = '\0';
                r = decode_line(line, &marked);
                if (r < 0)
                        return -EBADMSG;
                text = end + 1;
        }
        *d = marked;
        return 0;
}
