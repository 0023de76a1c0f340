/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "address.h"

/* Reads exactly "digits" lower-case hexadecimal digits at *s and moves past them. */
static bool take_hex(const char **s, unsigned digits, uint32_t *ret) {
        uint32_t v = 0;

        for (unsigned i = 0; i < digits; i++) {
                char c = (*s)[i];

                if (c >= '0' && c <= '9')
                        v = v << 4 | (uint32_t) (c - '0');
                else if (c >= 'a' && c <= 'f')
                        v = v << 4 | (uint32_t) (c - 'a' + 10);
                else
                        return false;
        }
        *s += digits;
        *ret = v;
        return true;
}

static bool take_char(const char **s, char c) {
        if (**s != c)
                return false;
        (*s)++;
        return true;
}

int address_parse(const char *s, Address *ret) {
        const char *colon = strchr(s, ':');
        uint32_t domain, bus, slot, function;
        size_t digits = colon ? (size_t) (colon - s) : 0;

        /* The kernel prints domains with "%04x": longer ones (VMD has 10000 and up) have no leading zero. */
        if (digits < 4 || digits > 8 || (digits > 4 && s[0] == '0'))
                return -EINVAL;
        if (!take_hex(&s, (unsigned) digits, &domain) || !take_char(&s, ':') || !take_hex(&s, 2, &bus) ||
            !take_char(&s, ':') || !take_hex(&s, 2, &slot) || !take_char(&s, '.') || !take_hex(&s, 1, &function) ||
            *s != '\0')
                return -EINVAL;
        if (slot > 0x1f || function > 7)
                return -EINVAL;
        *ret = (Address) { .domain = domain, .bus = (uint8_t) bus, .devfn = (uint8_t) (slot << 3 | function) };
        return 0;
}

AddressText address_text(Address a) {
        AddressText t;

        (void) snprintf(t.text, sizeof(t.text), "%04x:%02x:%02x.%u", a.domain, a.bus, a.devfn >> 3, a.devfn & 7u);
        return t;
}

int address_compare(Address a, Address b) {
        if (a.domain != b.domain)
                return a.domain < b.domain ? -1 : 1;
        if (a.bus != b.bus)
                return a.bus < b.bus ? -1 : 1;
        return (int) a.devfn - (int) b.devfn;
}
