/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/socket.h>

#include "bus/options.h"
#include "fuzz.h"
#include "util/fd.h"
#include "util/text.h"

/* "as" and "a{sv}" as a client may send them, in a message of sd-bus: the first line is words, the first of which is the number of the
 * method's set of options and the others are devices; each further line is an option, as NAME TYPE VALUE. */

static sd_bus *bus;
static int some_fd = -EBADF;

/* Messages need a bus, which need not get anywhere. */
static void begin(void) {
        int ends[2];

        some_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        FUZZ_ASSERT(some_fd >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        FUZZ_ASSERT(sd_bus_new(&bus) >= 0 && sd_bus_set_fd(bus, ends[0], ends[0]) >= 0);
        FUZZ_ASSERT(sd_bus_negotiate_fds(bus, 1) >= 0 && sd_bus_start(bus) >= 0);
}

/* Cuts off what stands before the separator. */
static char *cut(char **rest, const char *separators) {
        char *start = *rest;
        size_t n = strcspn(start, separators);

        *rest = start + n;
        if (start[n] != '\0') {
                start[n] = '\0';
                (*rest)++;
        }
        return start;
}

static int append_words(sd_bus_message *m, char *words) {
        int r = sd_bus_message_open_container(m, 'a', "s");

        while (r >= 0 && *words)
                r = sd_bus_message_append(m, "s", cut(&words, " "));
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_value(sd_bus_message *m, const char *type, char *value) {
        uint64_t n = strtoull(value, NULL, 0);

        switch (type[0]) {
        case 's':
        case 'o':
        case 'g':
                return sd_bus_message_append_basic(m, type[0], value);
        case 'y':
                return sd_bus_message_append(m, "y", (int) (uint8_t) n);
        case 'b':
        case 'i':
        case 'u':
                return sd_bus_message_append(m, type, (uint32_t) n);
        case 'x':
        case 't':
                return sd_bus_message_append(m, type, n);
        case 'd':
                return sd_bus_message_append(m, "d", (double) n);
        case 'h':
                return sd_bus_message_append(m, "h", some_fd);
        case 'v':
                return sd_bus_message_append(m, "v", "s", value);
        case 'a':
                return append_words(m, value);
        default:
                return -EINVAL;
        }
}

static int append_option(sd_bus_message *m, char *line) {
        static const char *const types[] = { "s", "o", "g", "y", "b", "i", "u", "x", "t", "d", "h", "v", "as" };
        char *name = cut(&line, " "), *type = cut(&line, " ");
        size_t i = 0;
        int r;

        while (i < ARRAY_SIZE(types) && !streq(types[i], type))
                i++;
        if (i == ARRAY_SIZE(types))
                return -EINVAL;
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", name);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', type);
        if (r >= 0)
                r = append_value(m, type, line);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int build(sd_bus_message *m, char *devices, char *lines) {
        int r = append_words(m, devices);

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        while (r >= 0 && *lines)
                r = append_option(m, cut(&lines, "\n"));
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_seal(m, 1, 0);
}

static void check_error(const sd_bus_error *e) {
        /* Either it has a name of ours and a text that may be shown, or it is sd-bus that found the types wrong. */
        if (!sd_bus_error_is_set(e))
                return;
        FUZZ_ASSERT(strncmp(e->name, "org.iommud1.Error.", 18) == 0 && text_is_printable(e->message));
}

static void decode(sd_bus_message *m, OptionSet set) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ Request *request = calloc(1, sizeof(*request));
        Options options;
        int r;

        if (!request)
                return;
        r = options_read_devices(m, false, &request->devices, &error);
        FUZZ_ASSERT(r < 0 || (request->devices.n >= 1 && request->devices.n <= REQUEST_DEVICES_MAX));
        if (r >= 0)
                r = options_read(m, set, request, &options, &error);
        check_error(&error);
        if (r < 0)
                return;
        FUZZ_ASSERT(!sd_bus_error_is_set(&error) && request->hand_over < _HAND_OVER_MAX);
        FUZZ_ASSERT(request->pasids <= REQUEST_PASIDS_MAX && request->members.n <= REQUEST_DEVICES_MAX);
        FUZZ_ASSERT(text_is_printable(request->driver) && text_is_printable(request->reservation));
        FUZZ_ASSERT(options.for_fd == -EBADF || set == OPTIONS_ACQUIRE);
        FUZZ_ASSERT(!options.has_as || set == OPTIONS_EXPLAIN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_free_ char *text = strndup((const char *) data, size);
        char *lines = text, *devices, *set;

        if (!text)
                return 0;
        if (!bus)
                begin();
        devices = cut(&lines, "\n");
        set = cut(&devices, " ");
        FUZZ_ASSERT(sd_bus_message_new_method_call(bus, &m, NULL, "/a", "a.b", "c") >= 0);
        if (build(m, devices, lines) >= 0)
                decode(m, (OptionSet) (strtoul(set, NULL, 10) % (OPTIONS_NONE + 1)));
        return 0;
}
