/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/property.h"
#include "bus/virtual-bus.h"
#include "util/text.h"

/* org.iommud1.Device. The userdata of a getter is the Bus; the device is found anew by its path each time, so no message can
 * meet a stale pointer. */

static Device *device_at(const Bus *bus, const char *path) {
        Address a;

        return bus_path_to_address(path, &a) < 0 ? NULL : inventory_device(&bus->broker->ledger.inventory, a);
}

static const char *state_of(const Device *d) {
        if (d->gone)
                return "gone";
        return d->changing && d->state == DEVICE_FREE ? "changing" : device_state_to_string(d->state);
}

/* A getter that appends one basic value. */
#define SIMPLE_GETTER(name, type, value)                                                                               \
        GETTER(name) {                                                                                                 \
                const Device *d = device_at(userdata, path);                                                           \
                                                                                                                       \
                return d ? sd_bus_message_append(reply, type, value) : -ENOENT;                                        \
        }

SIMPLE_GETTER(get_address, "s", ADDRESS(d->facts.address))
SIMPLE_GETTER(get_vendor_id, "q", d->facts.vendor)
SIMPLE_GETTER(get_device_id, "q", d->facts.device)
SIMPLE_GETTER(get_subsystem_vendor_id, "q", d->facts.subsystem_vendor)
SIMPLE_GETTER(get_subsystem_device_id, "q", d->facts.subsystem_device)
SIMPLE_GETTER(get_class, "u", d->facts.class)
SIMPLE_GETTER(get_driver, "s", d->facts.driver)
SIMPLE_GETTER(get_pasid_bits, "y", d->pasid_bits)
SIMPLE_GETTER(get_enforcement, "s", property_enforcement(((Bus *) userdata)->broker, d->lease))
SIMPLE_GETTER(get_virtual_functions, "u", d->facts.virtual_functions)
SIMPLE_GETTER(get_virtual_functions_max, "u", d->facts.virtual_functions_max)
SIMPLE_GETTER(get_numa_node, "i", d->facts.numa_node)
SIMPLE_GETTER(get_state, "s", state_of(d))
SIMPLE_GETTER(get_state_reason, "s", d->reason)
SIMPLE_GETTER(get_physical_function, "s", d->facts.virtual_function ? ADDRESS(d->facts.physical_function) : "")

/* From the hardware database by modalias: unlike udev's own properties that touches nothing of the device. It is searched once for
 * each name, since that takes longer than all other properties of the device together. */
static int append_name(const Bus *bus, const Device *d, const char *key, const char **name, sd_bus_message *reply) {
        if (!*name && (!bus->hwdb || sd_hwdb_get(bus->hwdb, d->facts.modalias, key, name) < 0))
                *name = "";
        return sd_bus_message_append(reply, "s", *name);
}

GETTER(get_vendor) {
        Device *d = device_at(userdata, path);

        return d ? append_name(userdata, d, "ID_VENDOR_FROM_DATABASE", &d->vendor_name, reply) : -ENOENT;
}

GETTER(get_model) {
        Device *d = device_at(userdata, path);

        return d ? append_name(userdata, d, "ID_MODEL_FROM_DATABASE", &d->model_name, reply) : -ENOENT;
}

GETTER(get_vfio_driver) {
        const Bus *bus = userdata;
        const Device *d = device_at(bus, path);
        const VariantAlias *a;

        if (!d)
                return -ENOENT;
        a = facts_is_bridge(&d->facts) ? NULL : variant_choose(&bus->broker->variants, d->facts.modalias);
        return sd_bus_message_append(reply, "s", a ? a->driver : "");
}

GETTER(get_group) {
        const Bus *bus = userdata;
        const Device *d = device_at(bus, path);

        return d ? property_append_group(reply, &bus->broker->ledger.inventory, d->facts.group) : -ENOENT;
}

GETTER(get_reset_methods) {
        const Device *d = device_at(userdata, path);

        return d ? property_append_words(reply, d->facts.reset_methods) : -ENOENT;
}

GETTER(get_clean) {
        const Device *d = device_at(userdata, path);

        return d ? sd_bus_message_append(reply, "b", !d->unclean) : -ENOENT;
}

GETTER(get_reset_set) {
        const Bus *bus = userdata;
        const Device *d = device_at(bus, path);

        return d ? property_append_reset_set(reply, &bus->broker->ledger.inventory, d) : -ENOENT;
}

GETTER(get_host_use) {
        const Device *d = device_at(userdata, path);
        int r;

        if (!d)
                return -ENOENT;
        r = sd_bus_message_open_container(reply, 'a', "(ss)");
        for (size_t i = 0; r >= 0 && i < d->uses.n; i++)
                r = sd_bus_message_append(reply, "(ss)", d->uses.uses[i].kind, d->uses.uses[i].text);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_lease) {
        const Device *d = device_at(userdata, path);

        return d ? property_append_lease(reply, d->lease) : -ENOENT;
}

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define TOLD  SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

char *bus_device_changing[] = { (char *) "Driver",
                                (char *) "VfioDriver",
                                (char *) "Group",
                                (char *) "ResetMethods",
                                (char *) "ResetSet",
                                (char *) "Clean",
                                (char *) "PasidBits",
                                (char *) "HostUse",
                                (char *) "VirtualFunctions",
                                (char *) "State",
                                (char *) "StateReason",
                                (char *) "Lease",
                                NULL };

const sd_bus_vtable bus_device_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("SetVirtualFunctions", SD_BUS_ARGS("u", n, "a{sv}", options), SD_BUS_NO_RESULT,
                                virtual_bus_method_set, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Address", "s", get_address, 0, CONST),
        SD_BUS_PROPERTY("VendorId", "q", get_vendor_id, 0, CONST),
        SD_BUS_PROPERTY("DeviceId", "q", get_device_id, 0, CONST),
        SD_BUS_PROPERTY("SubsystemVendorId", "q", get_subsystem_vendor_id, 0, CONST),
        SD_BUS_PROPERTY("SubsystemDeviceId", "q", get_subsystem_device_id, 0, CONST),
        SD_BUS_PROPERTY("Class", "u", get_class, 0, CONST),
        SD_BUS_PROPERTY("Vendor", "s", get_vendor, 0, CONST),
        SD_BUS_PROPERTY("Model", "s", get_model, 0, CONST),
        SD_BUS_PROPERTY("Driver", "s", get_driver, 0, TOLD),
        SD_BUS_PROPERTY("VfioDriver", "s", get_vfio_driver, 0, TOLD),
        SD_BUS_PROPERTY("Group", "o", get_group, 0, TOLD),
        SD_BUS_PROPERTY("ResetMethods", "as", get_reset_methods, 0, TOLD),
        SD_BUS_PROPERTY("ResetSet", "as", get_reset_set, 0, TOLD),
        SD_BUS_PROPERTY("Clean", "b", get_clean, 0, TOLD),
        SD_BUS_PROPERTY("PasidBits", "y", get_pasid_bits, 0, TOLD),
        SD_BUS_PROPERTY("Enforcement", "s", get_enforcement, 0, 0),
        SD_BUS_PROPERTY("HostUse", "a(ss)", get_host_use, 0, TOLD),
        SD_BUS_PROPERTY("PhysicalFunction", "s", get_physical_function, 0, CONST),
        SD_BUS_PROPERTY("VirtualFunctions", "u", get_virtual_functions, 0, TOLD),
        SD_BUS_PROPERTY("VirtualFunctionsMax", "u", get_virtual_functions_max, 0, CONST),
        SD_BUS_PROPERTY("NumaNode", "i", get_numa_node, 0, CONST),
        SD_BUS_PROPERTY("State", "s", get_state, 0, TOLD),
        SD_BUS_PROPERTY("StateReason", "s", get_state_reason, 0, TOLD),
        SD_BUS_PROPERTY("Lease", "o", get_lease, 0, TOLD),
        SD_BUS_VTABLE_END,
};
