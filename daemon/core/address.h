/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "util/macro.h"

/* The address of a PCI function, "0000:01:00.0": domain, bus, slot and function. Small enough to be passed by value. */
typedef struct Address {
        uint32_t domain;
        uint8_t bus;
        uint8_t devfn;
} Address;

#define ADDRESS_TEXT_MAX sizeof("ffffffff:ff:1f.7")

typedef struct AddressText {
        char text[ADDRESS_TEXT_MAX];
} AddressText;

/* Takes exactly the form that the kernel prints: 4 to 8 lower-case hexadecimal digits, and so on. Returns -EINVAL otherwise. */
int address_parse(const char *s, Address *ret);

/* Prints the address as the kernel does. By value, so that one call can print several. */
AddressText address_text(Address a);
/* For arguments only: the text lives until the end of the full expression, so it must not be kept in a variable. */
#define ADDRESS(a) (address_text(a).text)

/* <0, 0, >0 in the order of domain, bus, slot and function. */
int address_compare(Address a, Address b);

static inline bool address_equal(Address a, Address b) {
        return address_compare(a, b) == 0;
}
