/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "bus/options.h"
#include "core/errors.h"
#include "system/dict.h"
#include "util/text.h"

typedef struct Decoding {
        sd_bus_message *message;
        OptionSet set;
        unsigned seen; /* a bit for each of them */
        Request *request;
        Options *options;
        sd_bus_error *error;
} Decoding;

static int bad_address(const char *s, sd_bus_error *error) {
        /* What is no address is shown only as far as it is harmless in a log. */
        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                 "\"%.40s\" is no PCI address; write it as the kernel does, like 0000:01:00.0",
                                 text_is_printable(s) ? s : "(unprintable)");
}

int options_read_devices(sd_bus_message *m, bool may_be_empty, AddressList *ret, sd_bus_error *error) {
        const char *s;
        int r;

        *ret = (AddressList) {};
        r = sd_bus_message_enter_container(m, 'a', "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "s", &s)) > 0) {
                Address a;

                if (address_parse(s, &a) < 0)
                        return bad_address(s, error);
                r = address_list_add(ret, a);
                if (r == -EEXIST)
                        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "%s is named twice; name it once", s);
                if (r < 0)
                        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                                 "more than %d devices in one request; ask for fewer",
                                                 REQUEST_DEVICES_MAX);
        }
        if (r < 0)
                return r;
        if (ret->n == 0 && !may_be_empty)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "no device is named; name at least one");
        return sd_bus_message_exit_container(m);
}

int options_read_fd(sd_bus_message *m, int *ret, sd_bus_error *error) {
        int r = sd_bus_message_read(m, "h", ret);

        /* The bus passes on whatever number stands for a descriptor. */
        return r == -EBADMSG ? sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                                 "a descriptor is named that is not in the message")
                             : r;
}

/* --- one function for each option; the variant is entered and checked --- */

static int read_hand_over(Decoding *d) {
        const char *s;
        int r = sd_bus_message_read(d->message, "s", &s);

        if (r < 0)
                return r;
        d->request->hand_over = hand_over_from_string(s);
        d->request->hand_over_named = true;
        if (d->request->hand_over == _HAND_OVER_MAX)
                return sd_bus_error_setf(
                        d->error, ERROR_INVALID_ARGUMENT,
                        "there is no hand-over \"%.20s\"; choose unbound, attached, group, node or none",
                        text_is_printable(s) ? s : "(unprintable)");
        return 0;
}

static int read_members(Decoding *d) {
        return options_read_devices(d->message, true, &d->request->members, d->error);
}

static int read_name(Decoding *d, const char *what, char ret[static NAME_MAX_LEN]) {
        const char *s;
        int r = sd_bus_message_read(d->message, "s", &s);

        if (r < 0)
                return r;
        if (isempty(s) || !text_is_printable(s) || strpbrk(s, "/ \t") || !text_copy(ret, NAME_MAX_LEN, s))
                return sd_bus_error_setf(d->error, ERROR_INVALID_ARGUMENT,
                                         "the %s is no name: 1 to %d printable characters without spaces or slashes",
                                         what, NAME_MAX_LEN - 1);
        return 0;
}

static int read_driver(Decoding *d) {
        return read_name(d, "driver", d->request->driver);
}

static int read_reservation(Decoding *d) {
        return read_name(d, "reservation", d->request->reservation);
}

static int read_pasids(Decoding *d) {
        int r = sd_bus_message_read(d->message, "u", &d->request->pasids);

        if (r < 0)
                return r;
        if (d->request->pasids > REQUEST_PASIDS_MAX)
                return sd_bus_error_setf(d->error, ERROR_INVALID_ARGUMENT, "a device has at most %u PASIDs",
                                         REQUEST_PASIDS_MAX);
        return 0;
}

static int read_bool(Decoding *d, bool *ret) {
        int v, r = sd_bus_message_read(d->message, "b", &v);

        if (r < 0)
                return r;
        *ret = v;
        return 0;
}

static int read_force_in_use(Decoding *d) {
        return read_bool(d, &d->request->force_in_use);
}

static int read_reset_set(Decoding *d) {
        return read_bool(d, &d->request->reset_set);
}

static int read_restore(Decoding *d) {
        return read_bool(d, &d->request->restore);
}

#define WAIT_MAX_USEC (UINT64_C(24) * 3600 * 1000000)

static int read_wait(Decoding *d) {
        int r = sd_bus_message_read(d->message, "t", &d->request->wait);

        if (r < 0)
                return r;
        if (d->request->wait > WAIT_MAX_USEC)
                return sd_bus_error_setf(d->error, ERROR_INVALID_ARGUMENT,
                                         "nobody waits longer than a day; at most %" PRIu64, WAIT_MAX_USEC);
        return 0;
}

static int read_for(Decoding *d) {
        return options_read_fd(d->message, &d->options->for_fd, d->error);
}

static int read_as(Decoding *d) {
        int r = sd_bus_message_read(d->message, "u", &d->options->as);

        d->options->has_as = r >= 0;
        return r;
}

static int read_runtime(Decoding *d) {
        return read_bool(d, &d->options->runtime);
}

#define FOR_ACQUIRE (1u << OPTIONS_ACQUIRE)
#define FOR_EXPLAIN (1u << OPTIONS_EXPLAIN)
#define FOR_BOTH    (FOR_ACQUIRE | FOR_EXPLAIN)
#define FOR_ADD     (1u << OPTIONS_ADD) /* what is of the lease and not of the devices is fixed when they join */

static const struct {
        const char *name, *signature;
        unsigned sets;
        int (*read)(Decoding *d);
} known[] = {
        { "hand-over", "s", FOR_BOTH, read_hand_over },
        { "members", "as", FOR_BOTH | FOR_ADD, read_members },
        { "driver", "s", FOR_BOTH | FOR_ADD, read_driver },
        { "reservation", "s", FOR_BOTH | FOR_ADD, read_reservation },
        { "pasids", "u", FOR_BOTH | 1u << OPTIONS_CHOOSE_DRIVER, read_pasids },
        { "force-in-use", "b", FOR_BOTH | FOR_ADD | 1u << OPTIONS_VIRTUAL, read_force_in_use },
        { "reset-set", "b", FOR_BOTH, read_reset_set },
        { "restore", "b", FOR_BOTH, read_restore },
        { "wait", "t", FOR_ACQUIRE | FOR_ADD, read_wait },
        { "for", "h", FOR_ACQUIRE, read_for },
        { "as", "u", FOR_EXPLAIN, read_as },
        { "runtime", "b", 1u << OPTIONS_LIMIT, read_runtime },
};

static int read_option(_unused_ sd_bus_message *m, const char *name, void *userdata) {
        Decoding *d = userdata;
        const char *contents;
        size_t i = 0;
        char type;
        int r;

        while (i < ARRAY_SIZE(known) && (!streq(known[i].name, name) || !(known[i].sets & 1u << d->set)))
                i++;
        if (i == ARRAY_SIZE(known))
                return sd_bus_error_setf(d->error, ERROR_UNKNOWN_OPTION, "there is no option \"%.40s\" here",
                                         text_is_printable(name) ? name : "(unprintable)");
        if (d->seen & 1u << i)
                return sd_bus_error_setf(d->error, ERROR_INVALID_ARGUMENT, "the option \"%s\" is given twice", name);
        d->seen |= 1u << i;
        r = sd_bus_message_peek_type(d->message, &type, &contents);
        if (r < 0)
                return r;
        if (type != 'v' || !streq(contents, known[i].signature))
                return sd_bus_error_setf(d->error, ERROR_INVALID_ARGUMENT,
                                         "the option \"%s\" has type \"%s\", not \"%.20s\"", name, known[i].signature,
                                         contents ? contents : "?");
        r = sd_bus_message_enter_container(d->message, 'v', known[i].signature);
        if (r < 0)
                return r;
        r = known[i].read(d);
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(d->message);
}

int options_read(sd_bus_message *m, OptionSet set, Request *request, Options *ret, sd_bus_error *error) {
        Decoding d = { .message = m, .set = set, .request = request, .options = ret, .error = error };

        *ret = (Options) { .for_fd = -EBADF };
        return dict_read(m, read_option, &d);
}

int options_read_none(sd_bus_message *m, sd_bus_error *error) {
        Decoding d = { .message = m, .set = OPTIONS_NONE, .error = error };

        return dict_read(m, read_option, &d);
}
