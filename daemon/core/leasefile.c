/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/quota.h"
#include "core/request.h"
#include "leasefile.h"
#include "util/text.h"

#define HEAD    "# iommud lease, private: do not edit"
#define VERSION "1"

typedef enum FieldType {
        FIELD_ID,
        FIELD_NAME,   /* in an array: becomes part of a path in sysfs, so no slashes */
        FIELD_TEXT,   /* in an array */
        FIELD_STRING, /* on the heap */
        FIELD_BOOL,
        FIELD_NUMBER, /* unsigned, of any width, at most max */
        FIELD_WATCH,  /* an int from -1 up */
        FIELD_ADDRESS,
        FIELD_HAND_OVER,
        FIELD_STATE,
        FIELD_ROLE,
        FIELD_CGROUP, /* on the heap */
        FIELD_CHAIN,  /* numbers */
} FieldType;

/* One line of the file. Both directions go by the same table, so that neither can forget what the other knows. */
typedef struct Field {
        const char *key;
        FieldType type;
        size_t offset, size;
        uint64_t max; /* of a number; of a string, its size with the NUL */
} Field;

#define LEASE(key, type, member, max) { key, type, offsetof(Lease, member), sizeof(((Lease *) NULL)->member), max }
#define DEVICE(key, type, member, max)                                                                                 \
        { key, type, offsetof(LeaseDevice, member), sizeof(((LeaseDevice *) NULL)->member), max }

static const Field lease_fields[] = {
        LEASE("ID", FIELD_ID, id, 0),
        LEASE("UID", FIELD_NUMBER, uid, UINT32_MAX - 1),
        LEASE("PID", FIELD_NUMBER, pid, INT_MAX),
        LEASE("PROCESS", FIELD_NUMBER, process, UINT64_MAX),
        LEASE("UNIT", FIELD_STRING, unit, LEASEFILE_UNIT_MAX),
        LEASE("CGROUP", FIELD_STRING, cgroup, LEASEFILE_CGROUP_MAX),
        LEASE("CHARGED", FIELD_CGROUP, charged, LEASEFILE_CGROUP_MAX),
        LEASE("LEVELS", FIELD_CHAIN, chain, 0),
        LEASE("RESERVATION", FIELD_NAME, reservation, 0),
        LEASE("HAND_OVER", FIELD_HAND_OVER, hand_over, 0),
        LEASE("STATE", FIELD_STATE, state, 0),
        LEASE("REASON", FIELD_TEXT, reason, 0),
        LEASE("RESET_SET", FIELD_BOOL, reset_set, 0),
        LEASE("RESTORE", FIELD_BOOL, restore, 0),
        LEASE("PER_PROCESS", FIELD_BOOL, per_process, 0),
        LEASE("MEMLOCK", FIELD_NUMBER, memlock, UINT64_MAX),
        LEASE("PASIDS", FIELD_NUMBER, pasids, REQUEST_PASIDS_MAX),
        LEASE("CREATED", FIELD_NUMBER, created, UINT64_MAX),
        LEASE("REVOKE_DEADLINE", FIELD_NUMBER, revoke_deadline, UINT64_MAX),
};

static const Field device_fields[] = {
        DEVICE("DEVICE", FIELD_ADDRESS, address, 0), /* begins the block */
        DEVICE("ROLE", FIELD_ROLE, role, 0),
        DEVICE("GROUP", FIELD_NUMBER, group, INT_MAX),
        DEVICE("SET", FIELD_ADDRESS, set, 0),
        DEVICE("DRIVER", FIELD_NAME, driver, 0),
        DEVICE("MODULE", FIELD_NAME, module, 0),
        DEVICE("ORIGINAL_DRIVER", FIELD_NAME, original_driver, 0),
        DEVICE("ORIGINAL_OVERRIDE", FIELD_TEXT, original_override, 0),
        DEVICE("OPENED", FIELD_BOOL, opened, 0),
        DEVICE("TAKEN", FIELD_BOOL, taken, 0),
        DEVICE("CLOSED", FIELD_BOOL, closed, 0),
        DEVICE("WATCH", FIELD_WATCH, watch, INT_MAX),
        DEVICE("NEWCOMER", FIELD_BOOL, newcomer, 0),
        DEVICE("JOINING", FIELD_BOOL, joining, 0),
        DEVICE("LEAVING", FIELD_BOOL, leaving, 0),
        DEVICE("ASKED", FIELD_BOOL, asked, 0),
        DEVICE("PULLED", FIELD_BOOL, pulled, 0),
        DEVICE("RELEASED", FIELD_BOOL, released, 0),
        DEVICE("DEVID", FIELD_NUMBER, bound.devid, UINT32_MAX),
        DEVICE("PASID_BITS", FIELD_NUMBER, bound.pasid_bits, 20),
        DEVICE("CAN_RESET", FIELD_BOOL, bound.can_reset, 0),
        DEVICE("HOT_RESET_POSSIBLE", FIELD_BOOL, bound.hot_reset_possible, 0),
        DEVICE("HOT_RESET_OWNED", FIELD_BOOL, bound.hot_reset_owned, 0),
        DEVICE("IOAS", FIELD_NUMBER, ioas, UINT32_MAX),
        DEVICE("PT", FIELD_NUMBER, pt, UINT32_MAX),
        DEVICE("VF_TOKEN", FIELD_TEXT, vf_token, 0),
};

/* --- encode --- */

static uint64_t get_number(const void *at, size_t size) {
        uint64_t wide;
        uint32_t word;

        switch (size) {
        case sizeof(uint8_t):
                return *(const uint8_t *) at;
        case sizeof(word):
                memcpy(&word, at, sizeof(word));
                return word;
        default:
                memcpy(&wide, at, sizeof(wide));
                return wide;
        }
}

/* The text of a field that has one as it is; NULL for those that have to be printed. */
static const char *plain_text(const Field *field, const void *at) {
        switch (field->type) {
        case FIELD_ID:
        case FIELD_NAME:
        case FIELD_TEXT:
                return at;
        case FIELD_STRING:
        case FIELD_CGROUP:
                return *(char *const *) at;
        case FIELD_BOOL:
                return *(const bool *) at ? "1" : "0";
        case FIELD_HAND_OVER:
                return hand_over_to_string(*(const HandOver *) at);
        case FIELD_STATE:
                return lease_state_to_string(*(const LeaseState *) at);
        case FIELD_ROLE:
                return role_to_string(*(const Role *) at);
        default:
                return NULL;
        }
}

static void print_chain(FILE *f, const char *key, const PasidChain *chain) {
        (void) fprintf(f, "%s=", key);
        for (unsigned i = 0; i < chain->n_levels; i++)
                (void) fprintf(f, "%s%" PRIu64, i > 0 ? " " : "", chain->levels[i]);
        (void) fputc('\n', f);
}

static int print_fields(FILE *f, const Field *fields, size_t n, const void *object) {
        for (size_t i = 0; i < n; i++) {
                const void *at = (const char *) object + fields[i].offset;
                const char *text = plain_text(&fields[i], at);

                /* A newline would begin a line of the file that nobody meant. */
                if (text && !text_is_printable(text))
                        return -EINVAL;
                if (text)
                        (void) fprintf(f, "%s=%s\n", fields[i].key, text);
                else if (fields[i].type == FIELD_ADDRESS)
                        (void) fprintf(f, "%s=%s\n", fields[i].key, ADDRESS(*(const Address *) at));
                else if (fields[i].type == FIELD_CHAIN)
                        print_chain(f, fields[i].key, at);
                else if (fields[i].type == FIELD_WATCH)
                        (void) fprintf(f, "%s=%d\n", fields[i].key, *(const int *) at);
                else
                        (void) fprintf(f, "%s=%" PRIu64 "\n", fields[i].key, get_number(at, fields[i].size));
        }
        return 0;
}

static int print_lease(FILE *f, const Lease *l) {
        int r;

        (void) fprintf(f, "%s\nVERSION=%s\n", HEAD, VERSION);
        r = print_fields(f, lease_fields, ARRAY_SIZE(lease_fields), l);
        for (size_t i = 0; r >= 0 && i < l->n_devices; i++)
                r = print_fields(f, device_fields, ARRAY_SIZE(device_fields), &l->devices[i]);
        (void) fputs("END=1\n", f);
        return r;
}

int leasefile_encode(const Lease *l, char **ret, size_t *ret_size) {
        _cleanup_(lease_freep) Lease *copy = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size = 0;
        char why[128];
        FILE *f;
        int r;

        if (l->n_devices > REQUEST_DEVICES_MAX)
                return -E2BIG;
        f = open_memstream(&text, &size);
        if (!f)
                return -ENOMEM;
        r = print_lease(f, l);
        if (fclose(f) != 0)
                return -ENOMEM;
        if (r < 0)
                return r;
        /* What cannot be read back must not be written: it would be found out after a crash, when it is too late. */
        r = leasefile_decode(text, size, &copy, why);
        if (r < 0)
                return r == -EBADMSG ? -EINVAL : r;
        *ret = TAKE_PTR(text);
        *ret_size = size;
        return 0;
}

/* --- decode --- */

typedef struct Reader {
        char *rest; /* a copy of the text: lines are cut off its front */
        unsigned line;
        char *why;
        Lease *lease;
        /* the block that is being read: the lease or one device */
        const Field *fields;
        size_t n_fields;
        void *object;
        uint64_t seen;
} Reader;

static int _printf_(2, 3) bad(Reader *reader, const char *format, ...) {
        size_t used = (size_t) snprintf(reader->why, 128, "line %u: ", reader->line);
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(reader->why + used, 128 - used, format, ap);
        va_end(ap);
        return -EBADMSG;
}

static int out_of_memory(Reader *reader) {
        (void) snprintf(reader->why, 128, "out of memory");
        return -ENOMEM;
}

static void begin_block(Reader *reader, const Field *fields, size_t n_fields, void *object) {
        reader->fields = fields;
        reader->n_fields = n_fields;
        reader->object = object;
        reader->seen = 0;
}

static int end_block(Reader *reader) {
        for (size_t i = 0; i < reader->n_fields; i++)
                if (!(reader->seen & UINT64_C(1) << i))
                        return bad(reader, "%s is missing before this line", reader->fields[i].key);
        return 0;
}

static bool is_id(const char *s) {
        return strlen(s) == LEASE_ID_LEN && strspn(s, "0123456789abcdef") == LEASE_ID_LEN;
}

static bool is_name(const char *s) {
        return !strchr(s, '/') && !streq(s, ".") && !streq(s, "..");
}

static bool set_number(void *at, size_t size, const char *value, uint64_t max) {
        uint32_t word;
        uint64_t v;

        if (text_to_u64(value, max, &v) < 0)
                return false;
        word = (uint32_t) v;
        if (size == sizeof(uint8_t))
                *(uint8_t *) at = (uint8_t) v;
        else if (size == sizeof(word))
                memcpy(at, &word, sizeof(word));
        else
                memcpy(at, &v, sizeof(v));
        return true;
}

static bool set_bool(bool *at, const char *value) {
        *at = streq(value, "1");
        return *at || streq(value, "0");
}

static bool set_watch(int *at, const char *value) {
        *at = -1;
        return streq(value, "-1") || set_number(at, sizeof(*at), value, INT_MAX);
}

static bool set_chain(PasidChain *chain, const char *value) {
        const char *word;
        size_t length;

        while (text_next_word(&value, &word, &length)) {
                char number[24];

                if (chain->n_levels == PASID_LEVELS_MAX || length >= sizeof(number))
                        return false;
                memcpy(number, word, length);
                number[length] = '\0';
                if (text_to_u64(number, UINT64_MAX, &chain->levels[chain->n_levels++]) < 0)
                        return false;
        }
        return true;
}

/* Returns 1 if the value was taken, 0 if it is none for this field, -ENOMEM. */
static int set_field(const Field *field, void *at, const char *value) {
        switch (field->type) {
        case FIELD_ID:
                return is_id(value) && text_copy(at, field->size, value);
        case FIELD_NAME:
                return is_name(value) && text_copy(at, field->size, value);
        case FIELD_TEXT:
                return text_copy(at, field->size, value);
        case FIELD_CGROUP:
                if (!quota_path_is_valid(value))
                        return 0;
                __attribute__((__fallthrough__));
        case FIELD_STRING:
                if (strlen(value) >= field->max)
                        return 0;
                *(char **) at = strdup(value);
                return *(char **) at ? 1 : -ENOMEM;
        case FIELD_BOOL:
                return set_bool(at, value);
        case FIELD_NUMBER:
                return set_number(at, field->size, value, field->max);
        case FIELD_WATCH:
                return set_watch(at, value);
        case FIELD_ADDRESS:
                return address_parse(value, at) >= 0;
        case FIELD_HAND_OVER:
                return (*(HandOver *) at = hand_over_from_string(value)) != _HAND_OVER_MAX;
        case FIELD_STATE:
                return (*(LeaseState *) at = lease_state_from_string(value)) != _LEASE_STATE_MAX;
        case FIELD_ROLE:
                return (*(Role *) at = role_from_string(value)) != _ROLE_MAX;
        case FIELD_CHAIN:
                return set_chain(at, value);
        }
        return 0;
}

static int begin_device(Reader *reader, const char *address) {
        Lease *l = reader->lease;
        LeaseDevice *grown;
        Address a;
        int r;

        r = end_block(reader);
        if (r < 0)
                return r;
        if (l->n_devices == REQUEST_DEVICES_MAX)
                return bad(reader, "more than %u devices", REQUEST_DEVICES_MAX);
        if (address_parse(address, &a) >= 0 && lease_device(l, a))
                return bad(reader, "%s is there twice", ADDRESS(a));
        grown = reallocarray(l->devices, l->n_devices + 1, sizeof(*grown));
        if (!grown)
                return out_of_memory(reader);
        l->devices = grown;
        grown[l->n_devices] = (LeaseDevice) {};
        begin_block(reader, device_fields, ARRAY_SIZE(device_fields), &grown[l->n_devices++]);
        return 0;
}

static int read_field(Reader *reader, const char *key, const char *value) {
        for (size_t i = 0; i < reader->n_fields; i++) {
                const Field *field = &reader->fields[i];
                uint64_t bit = UINT64_C(1) << i;
                int r;

                if (!streq(field->key, key))
                        continue;
                if (reader->seen & bit)
                        return bad(reader, "%s is there twice", key);
                reader->seen |= bit;
                r = set_field(field, (char *) reader->object + field->offset, value);
                if (r < 0)
                        return out_of_memory(reader);
                return r > 0 ? 0 : bad(reader, "bad value of %s: %.64s", key, value);
        }
        return bad(reader, "unknown key %.64s", key);
}

/* Cuts off the next line; NULL at the end, or if what is left has no newline: it was cut short. */
static char *next_line(Reader *reader) {
        char *line = reader->rest, *newline = strchr(line, '\n');

        reader->line++;
        if (!newline)
                return NULL;
        *newline = '\0';
        reader->rest = newline + 1;
        return line;
}

/* Returns 1 at the end of the lease. */
static int read_line(Reader *reader) {
        char *line = next_line(reader), *value;
        int r;

        if (!line)
                return bad(reader, "the file is cut short, there is no END=1");
        value = strchr(line, '=');
        if (!value)
                return bad(reader, "no KEY=value");
        *value++ = '\0';
        if (streq(line, "END")) {
                r = end_block(reader);
                if (r < 0)
                        return r;
                if (!streq(value, "1") || reader->rest[0] != '\0')
                        return bad(reader, "END=1 is not the end");
                return 1;
        }
        if (streq(line, "DEVICE")) {
                r = begin_device(reader, value);
                if (r < 0)
                        return r;
        }
        return read_field(reader, line, value);
}

static int read_head(Reader *reader) {
        const char *line = next_line(reader);

        if (!line || !streq(line, HEAD))
                return bad(reader, "this is no lease file");
        line = next_line(reader);
        if (!line || strncmp(line, "VERSION=", strlen("VERSION=")) != 0)
                return bad(reader, "VERSION is missing");
        if (!streq(line + strlen("VERSION="), VERSION))
                return bad(reader, "version %.32s, and only %s is known", line + strlen("VERSION="), VERSION);
        return 0;
}

/* Everything else relies on text without NULs or control characters; so does whoever shows why. */
static int check_bytes(Reader *reader, const char *text, size_t size) {
        reader->line = 1;
        if (size > LEASEFILE_SIZE_MAX)
                return bad(reader, "the file is longer than %u bytes", LEASEFILE_SIZE_MAX);
        for (size_t i = 0; i < size; i++) {
                if (text[i] == '\n')
                        reader->line++;
                else if (text[i] < 0x20 || text[i] > 0x7e)
                        return bad(reader, "there is a byte 0x%02x", (unsigned char) text[i]);
        }
        reader->line = 0;
        return 0;
}

int leasefile_decode(const char *text, size_t size, Lease **ret, char why[static 128]) {
        _cleanup_(lease_freep) Lease *l = NULL;
        _cleanup_free_ char *copy = NULL;
        Reader reader = { .why = why };
        int r;

        r = check_bytes(&reader, text, size);
        if (r < 0)
                return r;
        copy = strndup(text, size);
        l = calloc(1, sizeof(*l));
        if (!copy || !l)
                return out_of_memory(&reader);
        reader.rest = copy;
        reader.lease = l;
        begin_block(&reader, lease_fields, ARRAY_SIZE(lease_fields), l);
        r = read_head(&reader);
        while (r == 0)
                r = read_line(&reader);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}
