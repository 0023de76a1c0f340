/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdint.h>

#include "json.h"
#include "say.h"
#include "util/text.h"

static const struct {
        const char *name, *fields;
} structs[] = {
        { "HostUse", "kind text" },
        { "Blockers", "subject code text" },
        { "ReservedRegions", "first last type" },
        { "reserved-regions", "first last type" },
        { "Holders", "pid uid name address" },
        { "findings", "code severity subject text details" },
        { "RevokeRequested", "reason deadline_usec" },
        { "Ended", "reason" },
};

typedef struct Values {
        sd_json_variant **items;
        size_t n, allocated;
} Values;

static void values_done(Values *v) {
        for (size_t i = 0; i < v->n; i++)
                sd_json_variant_unref(v->items[i]);
        free(v->items);
}

static int values_add(Values *v, sd_json_variant *take) {
        if (v->n == v->allocated) {
                size_t n = v->allocated ? 2 * v->allocated : 8;
                sd_json_variant **items = reallocarray(v->items, n, sizeof(*items));

                if (!items) {
                        sd_json_variant_unref(take);
                        return -ENOMEM;
                }
                v->items = items;
                v->allocated = n;
        }
        v->items[v->n++] = take;
        return 0;
}

static int values_add_text(Values *v, const char *s, size_t length) {
        sd_json_variant *text = NULL;
        int r;

        r = sd_json_variant_new_stringn(&text, s, length);
        return r < 0 ? r : values_add(v, text);
}

static int read_basic(sd_bus_message *m, char type, sd_json_variant **ret) {
        union {
                const char *s;
                int b;
                uint8_t y;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                double d;
        } v;
        int r;

        r = sd_bus_message_read_basic(m, type, &v);
        if (r < 0)
                return r;
        switch (type) {
        case 'b':
                return sd_json_variant_new_boolean(ret, v.b);
        case 'y':
                return sd_json_variant_new_unsigned(ret, v.y);
        case 'n':
                return sd_json_variant_new_integer(ret, v.n);
        case 'q':
                return sd_json_variant_new_unsigned(ret, v.q);
        case 'i':
                return sd_json_variant_new_integer(ret, v.i);
        case 'u':
                return sd_json_variant_new_unsigned(ret, v.u);
        case 'x':
                return sd_json_variant_new_integer(ret, v.x);
        case 't':
                return sd_json_variant_new_unsigned(ret, v.t);
        case 'd':
                return sd_json_variant_new_real(ret, v.d);
        case 'h':
                return sd_json_variant_new_null(ret);
        default:
                return sd_json_variant_new_string(ret, v.s);
        }
}

static int read_dict(sd_bus_message *m, const char *contents, sd_json_variant **ret) {
        _cleanup_(values_done) Values values = {};
        char entry[256];
        int r;

        /* "{sv}" is the type of the element; its container wants what is between the braces. */
        if (!text_copy(entry, sizeof(entry), contents + 1))
                return -EBADMSG;
        entry[strlen(entry) - 1] = '\0';
        while ((r = sd_bus_message_enter_container(m, 'e', entry)) > 0) {
                sd_json_variant *value = NULL;
                const char *key;

                if (entry[0] != 's' && entry[0] != 'o')
                        return -EBADMSG;
                r = sd_bus_message_read_basic(m, entry[0], &key);
                if (r < 0)
                        return r;
                r = values_add_text(&values, key, strlen(key));
                if (r >= 0)
                        r = json_read(m, key, &value);
                if (r >= 0)
                        r = values_add(&values, value);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_json_variant_new_object(ret, values.items, values.n);
}

static int read_array(sd_bus_message *m, const char *name, sd_json_variant **ret) {
        _cleanup_(values_done) Values values = {};
        int r;

        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                sd_json_variant *value = NULL;

                r = json_read(m, name, &value);
                if (r >= 0)
                        r = values_add(&values, value);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_json_variant_new_array(ret, values.items, values.n);
}

/* The fields become an object if their names are known and as many as there are values. */
static int name_fields(const char *fields, sd_json_variant *array, sd_json_variant **ret) {
        _cleanup_(values_done) Values values = {};
        size_t length, n = sd_json_variant_elements(array);
        const char *word;
        int r;

        for (size_t i = 0; text_next_word(&fields, &word, &length); i++) {
                if (i == n)
                        return 0;
                r = values_add_text(&values, word, length);
                if (r < 0)
                        return r;
                r = values_add(&values, sd_json_variant_ref(sd_json_variant_by_index(array, i)));
                if (r < 0)
                        return r;
        }
        if (values.n != 2 * n)
                return 0;
        r = sd_json_variant_new_object(ret, values.items, values.n);
        return r < 0 ? r : 1;
}

int json_read_rest(sd_bus_message *m, const char *name, sd_json_variant **ret) {
        _cleanup_json_ sd_json_variant *array = NULL;
        int r;

        r = read_array(m, "", &array);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ARRAY_SIZE(structs); i++) {
                if (!streq(structs[i].name, name))
                        continue;
                r = name_fields(structs[i].fields, array, ret);
                if (r != 0)
                        return r;
        }
        *ret = TAKE_PTR(array);
        return 0;
}

int json_read(sd_bus_message *m, const char *name, sd_json_variant **ret) {
        _cleanup_json_ sd_json_variant *v = NULL;
        const char *contents;
        char type;
        int r;

        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0)
                return r < 0 ? r : -EBADMSG;
        if (!strchr("avr", type))
                return read_basic(m, type, ret);
        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;
        if (type == 'v')
                r = json_read(m, name, &v);
        else if (type == 'r')
                r = json_read_rest(m, name, &v);
        else if (contents[0] == '{')
                r = read_dict(m, contents, &v);
        else
                r = read_array(m, name, &v);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return 0;
}

const char *json_text(sd_json_variant *object, const char *key) {
        sd_json_variant *v = sd_json_variant_by_key(object, key);

        return sd_json_variant_is_string(v) ? sd_json_variant_string(v) : "";
}

uint64_t json_number(sd_json_variant *object, const char *key) {
        sd_json_variant *v = sd_json_variant_by_key(object, key);

        return sd_json_variant_is_unsigned(v) ? sd_json_variant_unsigned(v) : 0;
}

bool json_flag(sd_json_variant *object, const char *key) {
        sd_json_variant *v = sd_json_variant_by_key(object, key);

        return sd_json_variant_is_boolean(v) && sd_json_variant_boolean(v);
}

size_t json_members(sd_json_variant *object) {
        return sd_json_variant_is_object(object) ? sd_json_variant_elements(object) / 2 : 0;
}

const char *json_member(sd_json_variant *object, size_t i, sd_json_variant **ret_value) {
        *ret_value = sd_json_variant_by_index(object, 2 * i + 1);
        return sd_json_variant_string(sd_json_variant_by_index(object, 2 * i));
}

int json_print(sd_json_variant *v) {
        int r;

        r = sd_json_variant_dump(v, SD_JSON_FORMAT_PRETTY_AUTO | SD_JSON_FORMAT_NEWLINE | SD_JSON_FORMAT_FLUSH, stdout,
                                 NULL);
        if (r < 0)
                say_error("cannot print JSON: %s", strerror(-r));
        return r;
}
