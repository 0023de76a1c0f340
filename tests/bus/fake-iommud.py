#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A stand-in for iommud on the bus of DBUS_SYSTEM_BUS_ADDRESS: the contract of dbus/*.xml with invented devices, memfds instead of
VFIO's descriptors, and no hardware. Every call that changes something, and Explain, is written to stdout as a line of JSON.

Devices: 0000:00:01.0 is a bridge; 01:00.0 is free; 02:00.0 has a neighbour in its group on a host driver; 03:00.0 and 03:00.1
share a reset across two groups; 04:00.0 is in no group; 05:00.0 to 05:02.3 are 20 virtual functions, too many for one message."""

import json
import os
import secrets
import sys
import time

import dbus
import dbus.lowlevel
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

NAME, ROOT = "org.iommud1", "/org/iommud1"
MANAGER, DEVICE, GROUP, LEASE, QUOTA = (f"{NAME}.{x}" for x in ("Manager", "Device", "Group", "Lease", "Quota"))
OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
MESSAGE_FDS = 16
OPTIONS = {"hand-over", "members", "driver", "pasids", "force-in-use", "reservation", "restore", "wait", "for"}

# The types of the contract: what dbus-python would guess is often another.
TYPES = {
    DEVICE: dict(Address="s", VendorId="q", DeviceId="q", SubsystemVendorId="q", SubsystemDeviceId="q", Class="u", Vendor="s",
                 Model="s", Driver="s", VfioDriver="s", Group="o", ResetMethods="as", ResetSet="as", Clean="b", PasidBits="y",
                 Enforcement="s", HostUse="a(ss)", PhysicalFunction="s", VirtualFunctions="u", VirtualFunctionsMax="u",
                 NumaNode="i", State="s", StateReason="s", Lease="o"),
    GROUP: dict(Id="u", Devices="ao", Viable="b", Blockers="a(sss)", ReservedRegions="a(tts)", Type="s", Lease="o"),
    LEASE: dict(Id="s", Uid="u", Pid="u", Unit="s", CGroup="s", Devices="as", Groups="ao", Parked="as", HandOver="s", State="s",
                StateReason="s", Holders="a(uuss)", Pasids="u", Enforcement="s", Created="t", RevokeDeadline="t"),
    QUOTA: dict(CGroup="s", Limit="t", Source="s", Booked="t", InUse="t", Peak="t", Shared="t", Refused="t", Killed="t"),
}
BASIC = dict(s=dbus.String, o=dbus.ObjectPath, q=dbus.UInt16, u=dbus.UInt32, t=dbus.UInt64, i=dbus.Int32, y=dbus.Byte,
             b=dbus.Boolean)


def typed(signature, value):
    if signature[0] != "a":
        return BASIC[signature](value)
    element = signature[1:]
    if element[0] != "(":
        return dbus.Array([BASIC[element](v) for v in value], signature=element)
    fields = element[1:-1]
    return dbus.Array([dbus.Struct([BASIC[f](x) for f, x in zip(fields, v)], signature=fields) for v in value],
                      signature=element)


def log(call, **what):
    print(json.dumps({"call": call, **what}), flush=True)


class Error(dbus.DBusException):
    def __init__(self, name, text):
        super().__init__(text, name=f"{NAME}.Error.{name}")
        self.include_traceback = False


class Exported(dbus.service.Object):
    def __init__(self, bus, path, interface, **properties):
        super().__init__(bus, path)
        self.path, self.interface, self.properties = path, interface, properties

    def all(self):
        types = TYPES[self.interface]
        assert types.keys() == self.properties.keys(), types.keys() ^ self.properties.keys()
        return dbus.Dictionary({k: typed(types[k], v) for k, v in self.properties.items()}, signature="sv")

    def change(self, invalidated=(), **changed):
        self.properties.update(changed)
        values = self.all()
        self.PropertiesChanged(self.interface, dbus.Dictionary({k: values[k] for k in changed}, signature="sv"),
                               dbus.Array(invalidated, signature="s"))

    @dbus.service.signal(PROPERTIES, signature="sa{sv}as")
    def PropertiesChanged(self, interface, changed, invalidated):
        pass


def device_path(address):
    return f"{ROOT}/device/" + address.replace(":", "_").replace(".", "_")


class Device(Exported):
    def __init__(self, bus, address, group, driver="", **more):
        properties = dict(
            Address=address, VendorId=0x8086, DeviceId=0x10d3, SubsystemVendorId=0x8086, SubsystemDeviceId=1, Class=0x020000,
            Vendor="Intel Corporation", Model="82574L Gigabit Network Connection", Driver=driver, VfioDriver="vfio-pci",
            Group="/" if group is None else f"{ROOT}/group/{group}", ResetMethods=["flr"], ResetSet=[address], Clean=True, PasidBits=0,
            Enforcement="none", HostUse=[], PhysicalFunction="", VirtualFunctions=0, VirtualFunctionsMax=0, NumaNode=-1,
            State="free", StateReason="", Lease="/")
        super().__init__(bus, device_path(address), DEVICE, **{**properties, **more})


    @dbus.service.method(DEVICE, in_signature="ua{sv}")
    def SetVirtualFunctions(self, n, options):
        log("SetVirtualFunctions", device=self.properties["Address"], n=int(n), options=options)
        if self.properties["Address"] != "0000:01:00.0":
            raise Error("NotSupported", "it has no SR-IOV")


class Group(Exported):
    def __init__(self, bus, number, devices, blockers=()):
        super().__init__(bus, f"{ROOT}/group/{number}", GROUP, Id=number, Devices=[device_path(d) for d in devices],
                         Viable=not blockers, Blockers=blockers, ReservedRegions=[(0xfee00000, 0xfeefffff, "msi")], Type="DMA-FQ",
                         Lease="/")


class Lease(Exported):
    def __init__(self, manager, bus, devices, options, uid, pid):
        id = secrets.token_hex(16)
        self.manager, self.untaken, self.lifeline = manager, list(devices), None
        groups = sorted({manager.devices[d].properties["Group"] for d in devices})
        super().__init__(bus, f"{ROOT}/lease/{id}", LEASE, Id=id, Uid=uid, Pid=pid, Unit="vm.service",
                         CGroup="/user.slice/\x1b]0;forged\x07.scope", Devices=devices, Groups=groups,
                         Parked=options.get("members", []), HandOver=options.get("hand-over", "unbound"), State="active",
                         StateReason="", Holders=[], Pasids=options.get("pasids", 0), Enforcement="none",
                         Created=int(time.time() * 1e6), RevokeDeadline=0)

    def open(self):
        """The first descriptors: (kind, name, fd)."""
        self.lifeline, write = os.pipe2(os.O_CLOEXEC)
        GLib.io_add_watch(self.lifeline, GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: self.end())
        self.inode = os.fstat(write).st_ino
        fds = [("lifeline", "", write)]
        if self.properties["HandOver"] == "group":
            fds.append(("container", "", os.memfd_create("container")))
            fds += [("group", g.rpartition("/")[2], os.memfd_create("group")) for g in self.properties["Groups"]]
            self.untaken = []
        elif self.properties["HandOver"] in ("unbound", "attached"):
            fds.append(("iommufd", "", os.memfd_create("iommufd")))
            fds += self.take(MESSAGE_FDS - len(fds))
        return fds

    def take(self, n, only=()):
        taken = [d for d in self.untaken if not only or d in only][:n]
        self.untaken = [d for d in self.untaken if d not in taken]
        return [("device", str(d), os.memfd_create(d)) for d in taken]

    def fds_and_found(self, fds):
        """The end of a reply. The message has its own copies."""
        out = dbus.Array([dbus.Struct((k, n, dbus.types.UnixFd(fd)), signature="ssh") for k, n, fd in fds], signature="(ssh)")
        for _, _, fd in fds:
            os.close(fd)
        about = {"driver": "vfio-pci", "reset-methods": typed("as", ["flr"]),
                 "reserved-regions": typed("a(tts)", [(0xfee00000, 0xfeefffff, "msi")])}
        if self.properties["HandOver"] == "attached":
            about |= {"devid": dbus.UInt32(1), "ioas": dbus.UInt32(2), "pt": dbus.UInt32(3)}
        found = {n: dbus.Dictionary(about, signature="sv") for k, n, _ in fds if k == "device"}
        return out, dbus.Dictionary(found, signature="sa{sv}")

    def end(self):
        reason = self.properties["StateReason"] or "its lifeline was closed"
        os.close(self.lifeline)
        self.change(State="releasing", StateReason=reason)
        self.manager.forget(self)
        self.Ended(reason)
        self.manager.InterfacesRemoved(dbus.ObjectPath(self.path), [LEASE])
        self.remove_from_connection()
        return False

    @dbus.service.method(LEASE, in_signature="hasa{sv}", out_signature="a(ssh)a{sa{sv}}")
    def TakeDevices(self, lifeline, devices, options):
        fd = lifeline.take()
        inode = os.fstat(fd).st_ino
        os.close(fd)
        if inode != self.inode:
            raise Error("WrongLifeline", "this is not the lifeline of the lease")
        return self.fds_and_found(self.take(MESSAGE_FDS, devices))

    @dbus.service.method(LEASE, in_signature="sta{sv}")
    def Revoke(self, reason, deadline_usec, options):
        log("Revoke", lease=self.properties["Id"], reason=reason, deadline=int(deadline_usec))
        if reason == "not yours":
            raise Error("NotAuthorized", "polkit says no")
        self.RevokeRequested(reason, deadline_usec)
        if reason == "break":
            self.change(State="broken", StateReason="the device does not come back from its reset")
            return
        self.change(State="releasing", StateReason=reason)
        self.change(Holders=[(self.properties["Pid"], self.properties["Uid"], "qe\x1bmu", self.properties["Devices"][0])])

    @dbus.service.signal(LEASE, signature="st")
    def RevokeRequested(self, reason, deadline_usec):
        pass

    @dbus.service.signal(LEASE, signature="s")
    def Ended(self, reason):
        pass


class Quota(Exported):
    def __init__(self, bus, cgroup, limit=2 ** 64 - 1, source="", booked=0, in_use=0, peak=0, shared=0, refused=0, killed=0):
        escaped = "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in cgroup)
        super().__init__(bus, f"{ROOT}/quota/{escaped}", QUOTA, CGroup=cgroup, Limit=limit, Source=source, Booked=booked, InUse=in_use,
                         Peak=peak, Shared=shared, Refused=refused, Killed=killed)


class Manager(dbus.service.Object):
    def __init__(self, bus):
        super().__init__(bus, ROOT)
        self.bus, self.devices, self.groups, self.leases = bus, {}, {}, {}
        self.add_group(1, {"0000:00:01.0": dict(Class=0x060400, driver="pcieport", Model="", DeviceId=0x7110)})
        self.add_group(7, {"0000:01:00.0": dict(Class=0x010802, driver="nvme", Vendor="", Model="", PasidBits=20,
                                               HostUse=[("mount", "/dev/nvme0n1p1 is mounted on /srv")])})
        self.add_group(8, {"0000:02:00.0": {}, "0000:02:00.1": dict(driver="e1000e")},
                       [("0000:02:00.1", "host-driver", "is on e1000e, a host driver"),
                        ("", "no-isolation", "no interrupt remapping")])
        shared = dict(ResetSet=["0000:03:00.0", "0000:03:00.1"], ResetMethods=[])
        self.add_group(9, {"0000:03:00.0": shared})
        self.add_group(10, {"0000:03:00.1": shared})
        self.add_group(None, {"0000:04:00.0": {}})
        for i in range(20):
            self.add_group(100 + i, {f"0000:05:{i // 8:02x}.{i % 8}": dict(PhysicalFunction="0000:01:00.0")})

        vm = "/machine.slice/machine-qemu\\x2d1.scope"
        self.quotas = {q.properties["CGroup"]: q for q in (
            Quota(bus, "/", booked=24), Quota(bus, "/machine.slice", 64, "/etc/iommud/quota.d/vms.conf", 24, 5, 7, 2, 3, 1),
            Quota(bus, vm, 16, "runtime", 16, 5, 7, 0, 3, 1), Quota(bus, "/machine-x.slice", 0, "persistent"),
            Quota(bus, "/user.slice/user-1000.slice/\x1b[31m", booked=8))}

    def add_group(self, number, devices, blockers=()):
        for address, more in devices.items():
            self.devices[address] = Device(self.bus, address, number, **more)
        if number is not None:
            self.groups[number] = Group(self.bus, number, list(devices), blockers)

    def pid_of(self, sender):
        return self.bus.call_blocking("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                      "GetConnectionUnixProcessID", "s", (sender,))

    def group_of(self, device):
        return next(g for g in self.groups.values() if g.path == device.properties["Group"])

    def forget(self, lease):
        for address in lease.properties["Devices"]:
            self.devices[address].change(State="free", Lease="/", Driver="nvme" if address == "0000:01:00.0" else "")
            self.group_of(self.devices[address]).change(Lease="/")
        del self.leases[lease.path]

    def check(self, devices, options, known):
        for o in options:
            if o not in known:
                raise Error("InvalidArgument", f'unknown option "{o}"')
        if options.get("hand-over", "unbound") not in ("unbound", "attached", "group", "node", "none"):
            raise Error("InvalidArgument", f'unknown hand-over "{options["hand-over"]}"')
        for d in devices:
            if d not in self.devices:
                raise Error("NoSuchDevice", f"{d}: no such device\x1b[31m; see lspci")

    @dbus.service.method(OBJECT_MANAGER, out_signature="a{oa{sa{sv}}}")
    def GetManagedObjects(self):
        # Upside down: the order of the bus means nothing.
        everything = [*reversed(self.quotas.values()), *self.leases.values(), *reversed(self.groups.values()), *reversed(self.devices.values())]
        return {dbus.ObjectPath(o.path): {o.interface: o.all()} for o in everything}

    @dbus.service.signal(OBJECT_MANAGER, signature="oa{sa{sv}}")
    def InterfacesAdded(self, path, interfaces):
        pass

    @dbus.service.signal(OBJECT_MANAGER, signature="oas")
    def InterfacesRemoved(self, path, interfaces):
        pass

    @dbus.service.method(MANAGER, in_signature="asa{sv}", out_signature="oa(ssh)a{sa{sv}}", sender_keyword="sender")
    def Acquire(self, devices, options, sender=None):
        devices = [str(d) for d in devices]
        log("Acquire", devices=devices, options=options)
        self.check(devices, options, OPTIONS)
        for d in devices:
            if self.devices[d].properties["Lease"] != "/":
                raise Error("Busy", f"{d} is leased; wait for it with: --wait")
        lease = Lease(self, self.bus, devices, options, self.bus.get_unix_user(sender), self.pid_of(sender))
        self.leases[lease.path] = lease
        self.InterfacesAdded(dbus.ObjectPath(lease.path), {LEASE: lease.all()})
        for d in devices:
            self.devices[d].change(["HostUse"], State="leased", Lease=lease.path, Driver="vfio-pci")
            self.group_of(self.devices[d]).change(Lease=lease.path)
        return (dbus.ObjectPath(lease.path), *lease.fds_and_found(lease.open()))

    @dbus.service.method(MANAGER, in_signature="asa{sv}", out_signature="ba(ssssa{sv})")
    def Explain(self, devices, options):
        log("Explain", devices=devices, options=options)
        self.check(devices, options, OPTIONS - {"for", "wait"} | {"as"})
        findings = [("memlock", "warn", "", "RLIMIT_MEMLOCK is 8 MiB", {"remedy": "ulimit -l unlimited"}),
                    ("note", "info", "group 7", "nothing else is in it", {})]
        possible = not any(self.group_of(self.devices[d]).properties["Blockers"] for d in devices)
        if not possible:
            findings.append(("host-driver", "block", "0000:02:00.1", "is on e1000e", {"remedy": "--members 0000:02:00.1"}))
        findings.append(("needs-permission", "ask", str(devices[0]), "no reservation", {"action": f"{NAME}.acquire"}))
        return possible, dbus.Array([dbus.Struct((c, s, x, t, dbus.Dictionary(d, signature="sv")), signature="ssssa{sv}")
                                     for c, s, x, t, d in findings], signature="(ssssa{sv})")


    @dbus.service.method(MANAGER, in_signature="sta{sv}")
    def SetPasidLimit(self, cgroup, limit, options):
        log("SetPasidLimit", cgroup=cgroup, limit=int(limit), options=options)
        if cgroup not in self.quotas:
            raise Error("NoSuchCGroup", f"there is no cgroup {cgroup}")
        self.quotas[cgroup].change(Limit=limit, Source="runtime" if options.get("runtime") else "persistent")


def main():
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    bus = dbus.bus.BusConnection(os.environ["DBUS_SYSTEM_BUS_ADDRESS"])
    manager = Manager(bus)
    name = dbus.service.BusName(NAME, bus, do_not_queue=True)
    log("ready", name=name.get_name(), devices=len(manager.devices))
    GLib.MainLoop().run()


if __name__ == "__main__":
    sys.exit(main())
