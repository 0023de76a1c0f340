/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <pci/pci.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdio.h>

#include "names.h"
#include "util/text.h"

/* libpci's own error handler ends the program, and one of ours must not return either: so it jumps back into lookup(),
 * which then does without names. Only the names are used: no bus is scanned. */
static struct {
        struct pci_access *pci;
        jmp_buf failed;
        bool broken;
} names;

static void on_error(char *, ...) _printf_(1, 2) __attribute__((__noreturn__));
static void on_message(char *, ...) _printf_(1, 2);

static void on_error(_unused_ char *format, ...) {
        names.broken = true;
        longjmp(names.failed, 1);
}

static void on_message(_unused_ char *format, ...) {
}

static bool lookup(char *buf, size_t size, int what, unsigned a, unsigned b) {
        if (names.broken || setjmp(names.failed) != 0)
                return false;
        if (!names.pci) {
                names.pci = pci_alloc();
                names.pci->error = on_error;
                names.pci->warning = on_message;
                names.pci->debug = on_message;
        }
        return pci_lookup_name(names.pci, buf, (int) size, what | PCI_LOOKUP_NO_NUMBERS, a, b) != NULL;
}

void names_device(sd_json_variant *device, char *buf, size_t size) {
        unsigned vendor_id = (unsigned) json_number(device, "VendorId"),
                 device_id = (unsigned) json_number(device, "DeviceId");
        const char *vendor = json_text(device, "Vendor"), *model = json_text(device, "Model");
        char vendor_name[128], model_name[128];

        if (isempty(vendor) && lookup(vendor_name, sizeof(vendor_name), PCI_LOOKUP_VENDOR, vendor_id, 0))
                vendor = vendor_name;
        if (isempty(model) && lookup(model_name, sizeof(model_name), PCI_LOOKUP_DEVICE, vendor_id, device_id))
                model = model_name;
        buf[0] = '\0';
        if (!isempty(vendor))
                text_append(buf, size, "%s ", vendor);
        if (!isempty(model))
                text_append(buf, size, "%s", model);
        else
                text_append(buf, size, "[%04x:%04x]", vendor_id, device_id);
}

void names_class(uint32_t class, char *buf, size_t size) {
        char name[128];

        buf[0] = '\0';
        if (lookup(name, sizeof(name), PCI_LOOKUP_CLASS, class >> 8, 0))
                text_append(buf, size, "%s ", name);
        text_append(buf, size, "[%06x]", class);
}

void names_user(uint64_t uid, char *buf, size_t size) {
        const struct passwd *p = getpwuid((uid_t) uid);

        if (!p || !text_copy(buf, size, p->pw_name))
                snprintf(buf, size, "%" PRIu64, uid);
}
