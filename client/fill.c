/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "fill.h"
#include "say.h"
#include "util/text.h"

typedef struct Slot {
        size_t start, length;
        const char *kind;
        uint64_t device; /* with kind "device" */
} Slot;

static bool match_word(const char *s, const char *word, Slot *slot) {
        size_t n = strlen(word);

        if (strncmp(s, word, n) != 0 || s[n] != '}')
                return false;
        slot->kind = word;
        slot->length = n + 2;
        return true;
}

static bool match_number(const char *s, Slot *slot) {
        size_t n = strspn(s, "0123456789");
        char digits[8];

        if (n == 0 || n >= sizeof(digits) || s[n] != '}' || (s[0] == '0' && n > 1))
                return false;
        memcpy(digits, s, n);
        digits[n] = '\0';
        if (text_to_u64(digits, UINT64_MAX, &slot->device) < 0)
                return false;
        slot->kind = "device";
        slot->length = n + 2;
        return true;
}

/* The next placeholder at or after slot->start + slot->length. */
static bool next_slot(const char *text, Slot *slot) {
        for (size_t i = slot->start + slot->length; text[i]; i++) {
                const char *inner = text + i + 1;

                if (text[i] != '{' || (i > 0 && text[i - 1] == '$'))
                        continue;
                if (!match_word(inner, "iommufd", slot) && !match_word(inner, "lifeline", slot) &&
                    !match_word(inner, "container", slot) && !match_word(inner, "group", slot) &&
                    !match_word(inner, "ioas", slot) && !match_number(inner, slot))
                        continue;
                slot->start = i;
                return true;
        }
        return false;
}

static bool hands_out(const char *hand_over, const char *kind) {
        bool is_legacy = streq(kind, "container") || streq(kind, "group");

        if (streq(kind, "lifeline") || !hand_over)
                return true; /* without one iommud chooses */
        if (streq(hand_over, "none") || streq(hand_over, "node"))
                return false;
        return streq(hand_over, "group") == is_legacy;
}

static int check_slot(const char *argument, const Slot *slot, const Request *q) {
        if (!hands_out(q->hand_over, slot->kind))
                return say_usage("\"%s\": --hand-over %s hands out no %.*s", argument, q->hand_over, (int) slot->length,
                                 argument + slot->start);
        if (streq(slot->kind, "ioas") && (!q->hand_over || !streq(q->hand_over, "attached")))
                return say_usage("\"%s\": only --hand-over attached brings an {ioas}", argument);
        if (streq(slot->kind, "device") && slot->device >= q->devices.n)
                return say_usage("\"%s\": there is no device %.*s: the %zu given by -d count from {0}", argument,
                                 (int) slot->length, argument + slot->start, q->devices.n);
        return 0;
}

int fill_check(char *const *command, const Request *q) {
        int r;

        for (char *const *argument = command + 1; *argument; argument++) {
                for (Slot slot = {}; next_slot(*argument, &slot);) {
                        r = check_slot(*argument, &slot, q);
                        if (r != 0)
                                return r;
                }
        }
        return 0;
}

static int slot_value(const Slot *slot, const Request *q, const Grant *g) {
        if (streq(slot->kind, "ioas"))
                return grant_ioas(g);
        if (streq(slot->kind, "group"))
                return grant_first_group(g);
        return grant_fd(g, slot->kind, streq(slot->kind, "device") ? q->devices.items[slot->device] : "");
}

static int fill_argument(const char *text, const Request *q, const Grant *g, char **ret) {
        _cleanup_free_ char *filled = NULL;
        size_t size = 0, done = 0;
        FILE *f = open_memstream(&filled, &size);
        int value = 0;

        if (!f)
                return say_oom();
        for (Slot slot = {}; value >= 0 && next_slot(text, &slot);) {
                value = slot_value(&slot, q, g);
                if (value < 0)
                        say_error("\"%s\": this lease hands out no %.*s", text, (int) slot.length, text + slot.start);
                fprintf(f, "%.*s%d", (int) (slot.start - done), text + done, value);
                done = slot.start + slot.length;
        }
        fputs(text + done, f);
        if (fclose(f) != 0)
                return say_oom();
        if (value < 0)
                return value;
        *ret = TAKE_PTR(filled);
        return 0;
}

char **fill_free(char **command) {
        for (size_t i = 0; command && command[i]; i++)
                free(command[i]);
        free(command);
        return NULL;
}

int fill_command(char *const *command, const Request *q, const Grant *g, char ***ret) {
        _cleanup_(fill_freep) char **filled = NULL;
        size_t n = 0;
        int r;

        while (command[n])
                n++;
        filled = calloc(n + 1, sizeof(char *));
        if (!filled)
                return say_oom();
        filled[0] = strdup(command[0]);
        if (!filled[0])
                return say_oom();
        for (size_t i = 1; i < n; i++) {
                r = fill_argument(command[i], q, g, &filled[i]);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(filled);
        return 0;
}
