# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real daemon against dbus/*.xml, on a private bus, without an IOMMU: once with the machine's own /sys, once with a made one
(madesys.py). Nothing is ever acquired. IOMMUD and VTABLES name the built programs."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

import pytest
from jeepney import DBusAddress, DBusErrorResponse, Properties, new_method_call
from jeepney.io.blocking import open_dbus_connection

import madesys
import privatebus

HERE = pathlib.Path(__file__).resolve().parent
IOMMUD, VTABLES = os.environ["IOMMUD"], os.environ["VTABLES"]
NAME, ROOT, MANAGER = "org.iommud1", "/org/iommud1", "org.iommud1.Manager"
INTERFACES = ("Manager", "Device", "Group", "Lease", "Quota")
KINDS = dict(device="Device", group="Group", lease="Lease", quota="Quota")
NOWHERE = "0000:ee:1f.7"
WAIT = 120

# As uid 1000: calls the method of argv, prints the error's name and text. Who calls is who connected; afterwards it is root again,
# since the daemon reads the caller's limits, and in a container without CAP_SYS_RESOURCE it may read those of its own user only.
OTHER_USER = """
import json, os, sys
from jeepney import *
from jeepney.io.blocking import open_dbus_connection
address, path, interface, method, signature, body = sys.argv[1:]
os.setgroups([]); os.setresgid(1000, 1000, 0); os.setresuid(1000, 1000, 0)
c = open_dbus_connection(address, auth_timeout=60)
os.setresuid(0, 0, 0); os.setresgid(0, 0, 0)
r = c.send_and_get_reply(new_method_call(DBusAddress(path, "org.iommud1", interface), method, signature or None,
                                         tuple(json.loads(body))), timeout=100)
print(json.dumps([r.header.fields.get(HeaderFields.error_name, ""), r.body]))
"""


def described(text):
    """An introspection as {interface: {(kind, name): ...}}, of our interfaces only."""
    out = {}
    for interface in xml.etree.ElementTree.fromstring(text).findall("interface"):
        if not interface.get("name").startswith(NAME):
            continue
        members = out[interface.get("name")] = {}
        for m in interface:
            key = m.tag, m.get("name")
            if m.tag == "property":
                members[key] = m.get("type"), m.get("access")
            elif m.tag in ("method", "signal"):
                assert key not in members, f"{key} is there twice"
                default = "in" if m.tag == "method" else "out"
                args = [(a.get("name"), a.get("type"), a.get("direction", default)) for a in m.findall("arg")]
                members[key] = [a for a in args if a[2] == "in"], [a for a in args if a[2] == "out"]
    return out


CONTRACT = {}
for name in INTERFACES:
    CONTRACT.update(described((HERE.parent.parent / "dbus" / f"{NAME}.{name}.xml").read_text()))
assert sorted(CONTRACT) == sorted(f"{NAME}.{x}" for x in INTERFACES)


def differences(found, interface):
    """What introspection found, against the contract of the one interface (or none) that should be there; [] if they agree."""
    expected = {interface: CONTRACT[interface]} if interface else {}
    return [f"{i}.{name} ({kind}): {found.get(i, {}).get((kind, name), 'missing')}, the contract has "
            f"{expected.get(i, {}).get((kind, name), 'no such thing')}"
            for i in sorted({*found, *expected}) for kind, name in sorted({*found.get(i, {}), *expected.get(i, {})})
            if found.get(i, {}).get((kind, name)) != expected.get(i, {}).get((kind, name))]


def connect(bus, uid):
    """Who calls is who connected. Afterwards it is root again: see OTHER_USER."""
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(uid, uid, 0)
    os.setresuid(uid, uid, 0)
    try:
        return open_dbus_connection(bus.address, enable_fds=True, auth_timeout=60)
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


class Client:
    def __init__(self, bus):
        self.bus, self.connection = bus, open_dbus_connection(bus.address, enable_fds=True, auth_timeout=60)

    def ask(self, message):
        reply = self.connection.send_and_get_reply(message, timeout=WAIT)
        if reply.header.message_type.name == "error":
            raise DBusErrorResponse(reply)
        return reply.body

    def call(self, method, signature=None, body=(), path=ROOT, interface=MANAGER, name=NAME):
        return self.ask(new_method_call(DBusAddress(path, name, interface), method, signature, body))

    def introspect(self, path, name=NAME):
        return self.call("Introspect", path=path, interface="org.freedesktop.DBus.Introspectable", name=name)[0]

    def managed(self):
        return self.call("GetManagedObjects", interface="org.freedesktop.DBus.ObjectManager")[0]

    def owned(self, name):
        return self.call("NameHasOwner", "s", (name,), "/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")[0]

    def as_other(self, method, signature="", *body, path=ROOT, interface=MANAGER):
        p = subprocess.run([sys.executable, "-c", OTHER_USER, self.bus.address, path, interface, method, signature, json.dumps(body)],
                           text=True, capture_output=True, timeout=WAIT)
        assert p.returncode == 0, p.stderr
        return json.loads(p.stdout)

    def tree(self, path=ROOT):
        """{path: interfaces} of all objects, by introspection alone."""
        text = self.introspect(path)
        out = {path: described(text)}
        for node in xml.etree.ElementTree.fromstring(text).findall("node"):
            out.update(self.tree(f"{path}/{node.get('name')}"))
        return out


class Daemon(Client):
    """iommud with directories of its own."""

    def __init__(self, bus, machine):
        super().__init__(bus)
        self.machine, self.directory = machine, pathlib.Path(tempfile.mkdtemp())
        self.config = self.directory / "etc/iommud"
        (self.config / "reservations.d").mkdir(parents=True)
        self.command = [IOMMUD, *self.directories(self.directory)]
        if machine == "made":
            madesys.make(self.directory / "sys")
            self.command = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-euc",
                            f'mount --bind {self.directory}/sys /sys; exec "$@"', "sh", *self.command]
        self.environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address}
        self.log = self.directory / "log"
        self.start()

    @staticmethod
    def directories(root):
        return [f"--runtime-directory={root}/run", f"--state-directory={root}/state", f"--config-root={root}"]

    def start(self):
        with open(self.log, "w") as f:
            self.process = subprocess.Popen(self.command, env=self.environment, stderr=f, stdin=subprocess.DEVNULL)
        self.wait(lambda: self.owned(NAME))

    def wait(self, condition):
        end = time.monotonic() + WAIT
        while not condition():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def stop(self):
        self.end()
        self.connection.close()
        shutil.rmtree(self.directory)

    def end(self):
        """As systemd would; a sanitizer's last words make it fail."""
        self.process.terminate()
        status, text = self.process.wait(WAIT), self.log.read_text()
        assert status == 0 and "Sanitizer" not in text and "runtime error" not in text, (status, text)


@contextlib.contextmanager
def made_daemon(kind=Daemon):
    """On a made machine and a bus of its own."""
    bus = privatebus.PrivateBus()
    d = kind(bus, "made")
    yield d
    d.stop()
    bus.stop()


@pytest.fixture(scope="module")
def bus():
    b = privatebus.PrivateBus()
    yield b
    b.stop()


@pytest.fixture(scope="module", params=["host", "made"])
def daemon(bus, request):
    d = Daemon(bus, request.param)
    yield d
    d.stop()


@pytest.fixture(scope="module")
def made():
    with made_daemon() as d:
        yield d


def refused(call, error, *texts):
    with pytest.raises(DBusErrorResponse) as e:
        call()
    assert e.value.name == error, (e.value.name, e.value.data)
    for text in texts:
        assert text in e.value.data[0]


# The contract

@pytest.mark.parametrize("interface", INTERFACES)
def test_vtable(bus, interface):
    """Of all interfaces, Lease too: the daemon's tables without objects behind them."""
    p = subprocess.Popen([VTABLES], env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": bus.address}, stdout=subprocess.PIPE, text=True)
    try:
        assert p.stdout.readline() == "ready\n"
        found = described(Client(bus).introspect(f"/vtables/{interface}", "org.iommud1.Vtables"))
        assert differences(found, f"{NAME}.{interface}") == []
    finally:
        p.kill()
        p.communicate()


def test_objects(daemon):
    """Every object has the interface of its place, exactly as the contract has it, and nothing else of ours is there."""
    seen = set()
    for path, interfaces in daemon.tree().items():
        place = path[len(ROOT):].strip("/").split("/")
        expected = MANAGER if place == [""] else f"{NAME}.{KINDS[place[0]]}" if len(place) == 2 else None
        assert differences(interfaces, expected) == [], path
        seen.add(expected)
    assert MANAGER in seen
    if daemon.machine == "made":
        assert {f"{NAME}.Device", f"{NAME}.Group"} <= seen
    for interface in sorted(CONTRACT.keys() - seen):
        print(f"no object here has {interface}: its live objects are compared in the lab, its table in test_vtable")


def test_managed_objects(daemon):
    managed, tree = daemon.managed(), daemon.tree()
    objects = {path: interfaces for path, interfaces in tree.items() if interfaces and path != ROOT}
    managed.pop(ROOT, None)             # libraries differ in whether the manager manages itself
    assert {p: {i for i in x if i.startswith(NAME)} for p, x in managed.items()} == {p: set(x) for p, x in objects.items()}


def test_properties(daemon):
    """Each by Get, by GetAll and by GetManagedObjects, of the promised type; and none can be set."""
    managed = daemon.managed()
    for path, interfaces in daemon.tree().items():
        for interface, members in interfaces.items():
            promised = {name: m[0] for (kind, name), m in members.items() if kind == "property"}
            at = DBusAddress(path, NAME, interface)
            values = daemon.ask(Properties(at).get_all())[0]
            assert {k: v[0] for k, v in values.items()} == promised
            assert path == ROOT or managed[path][interface] == values
            for name, value in values.items():
                assert daemon.ask(Properties(at).get(name))[0] == value
            name = next(iter(promised))
            refused(lambda: daemon.ask(Properties(at).set(name, *values[name])), "org.freedesktop.DBus.Error.PropertyReadOnly")


def test_others_may_read(daemon):
    assert daemon.as_other("Explain", "asa{sv}", [NOWHERE], {})[0] == ""


# Refusals that need no device. (method, signature, body, error without its prefix)

def acquire(options, devices=(NOWHERE,), method="Acquire"):
    return method, "asa{sv}", (list(devices), options)


REFUSALS = {
    "acquire unknown device": (*acquire({}), "NoSuchDevice"),
    "choose driver of unknown device": ("ChooseDriver", "sa{sv}", (NOWHERE, {}), "NoSuchDevice"),
    "no device": (*acquire({}, []), "InvalidArgument"),
    "no address": (*acquire({}, ["nvme0"]), "InvalidArgument"),
    "address in capitals": (*acquire({}, [NOWHERE.upper()]), "InvalidArgument"),
    "address that is a path": (*acquire({}, ["../../etc/passwd"]), "InvalidArgument"),
    "unprintable address": (*acquire({}, ["\x1b]0;x\x07"]), "InvalidArgument"),
    "device twice": (*acquire({}, [NOWHERE, NOWHERE]), "InvalidArgument"),
    "10,000 devices": (*acquire({}, [f"{i // 8192:04x}:{i // 32 % 256:02x}:{i % 32:02x}.0" for i in range(10000)]), "InvalidArgument"),
    "10,000 members": (*acquire({"members": ("as", [f"{i:04x}:00:00.0" for i in range(10000)])}), "InvalidArgument"),
    "explain 10,000 devices": (*acquire({}, [f"{i:04x}:00:00.0" for i in range(10000)], "Explain"), "InvalidArgument"),
    "choose driver of no address": ("ChooseDriver", "sa{sv}", ("", {}), "InvalidArgument"),
    "unknown option": (*acquire({"handover": ("s", "none")}), "UnknownOption"),
    "unprintable option": (*acquire({"\n": ("s", "none")}), "UnknownOption"),
    "option of Explain": (*acquire({"as": ("u", 0)}), "UnknownOption"),
    "option of Acquire": (*acquire({"wait": ("t", 0)}, method="Explain"), "UnknownOption"),
    "choose driver with unknown option": ("ChooseDriver", "sa{sv}", (NOWHERE, {"driver": ("s", "x")}), "UnknownOption"),
    "option twice": ("Acquire", "asa{sv}", ([NOWHERE], [("pasids", ("u", 1)), ("pasids", ("u", 1))]), "InvalidArgument"),
    "hand-over of no kind": (*acquire({"hand-over": ("s", "all")}), "InvalidArgument"),
    "driver with slash": (*acquire({"driver": ("s", "../x")}), "InvalidArgument"),
    "empty driver": (*acquire({"driver": ("s", "")}), "InvalidArgument"),
    "long reservation": (*acquire({"reservation": ("s", "x" * 4096)}), "InvalidArgument"),
    "too many PASIDs": (*acquire({"pasids": ("u", 0xffffffff)}), "InvalidArgument"),
    "too long a wait": (*acquire({"wait": ("t", 0xffffffffffffffff)}), "InvalidArgument"),
    "member of no address": (*acquire({"members": ("as", ["x"])}), "InvalidArgument"),
    "limit of no path": ("SetPasidLimit", "sta{sv}", ("machine.slice", 5, {}), "InvalidArgument"),
    "limit of a path with dots": ("SetPasidLimit", "sta{sv}", ("/a/../b", 5, {}), "InvalidArgument"),
    "limit of an unprintable path": ("SetPasidLimit", "sta{sv}", ("/\x1b", 5, {}), "InvalidArgument"),
    "limit of a very long path": ("SetPasidLimit", "sta{sv}", ("/" + "x" * 4096, 5, {}), "InvalidArgument"),
    "limit too high": ("SetPasidLimit", "sta{sv}", ("/", 2 ** 32, {}), "InvalidArgument"),
    "limit with unknown option": ("SetPasidLimit", "sta{sv}", ("/", 5, {"persistent": ("b", True)}), "UnknownOption"),
    "limit with wrong type of runtime": ("SetPasidLimit", "sta{sv}", ("/", 5, {"runtime": ("s", "yes")}), "InvalidArgument"),
    "no such lease": ("Revoke", "sta{sv}", ("", 0, {}), "org.freedesktop.DBus.Error.UnknownObject"),
    "no such method": ("Frobnicate", None, (), "org.freedesktop.DBus.Error.UnknownMethod"),
    "string for devices": ("Acquire", "s", (NOWHERE,), "org.freedesktop.DBus.Error.InvalidArgs"),
    "no options": ("Acquire", "as", ([NOWHERE],), "org.freedesktop.DBus.Error.InvalidArgs"),
    "argument for Reload": ("Reload", "s", ("",), "org.freedesktop.DBus.Error.InvalidArgs"),
}
OPTION_TYPES = {"hand-over": "s", "members": "as", "driver": "s", "reservation": "s", "pasids": "u", "force-in-use": "b",
                "restore": "b", "wait": "t"}
for option, type in OPTION_TYPES.items():
    wrong = ("u", 1) if type != "u" else ("s", "1")
    REFUSALS[f"wrong type of {option}"] = (*acquire({option: wrong}), "InvalidArgument")


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal(daemon, case):
    method, signature, body, error = REFUSALS[case]
    lease = dict(path=f"{ROOT}/lease/{'0' * 32}", interface=f"{NAME}.Lease") if method == "Revoke" else {}
    refused(lambda: daemon.call(method, signature, body, **lease), error if "." in error else f"{NAME}.Error.{error}")


def test_explain_unknown_device(daemon):
    possible, findings = daemon.call("Explain", "asa{sv}", ([NOWHERE], {}))
    assert not possible and [(f[0], f[1], f[2]) for f in findings][0] == ("no-such-device", "block", NOWHERE)


def test_identify_no_device(daemon):
    with open("/dev/null") as f:
        refused(lambda: daemon.call("Identify", "ha{sv}", (f, {})), f"{NAME}.Error.NoSuchDevice")
        refused(lambda: daemon.call("Identify", "ha{sv}", (f, {"x": ("b", True)})), f"{NAME}.Error.UnknownOption")


def test_explain_for_others_is_roots(daemon):
    """May a user ask what another may?"""
    daemon.call("Explain", "asa{sv}", ([NOWHERE], {"as": ("u", 1000)}))
    assert daemon.as_other("Explain", "asa{sv}", [NOWHERE], {"as": ["u", 0]})[0] == f"{NAME}.Error.NotAuthorized"


def test_reload(daemon):
    reservation = daemon.config / "reservations.d/10-x.conf"
    daemon.call("Reload")
    assert daemon.as_other("Reload")[0] == f"{NAME}.Error.NotAuthorized"
    try:
        reservation.write_text(f"[Device]\nAddress={NOWHERE}\nColour=blue\n")
        refused(lambda: daemon.call("Reload"), f"{NAME}.Error.BadConfiguration", f"{reservation}:3: ")
        assert daemon.as_other("Reload")[0] == f"{NAME}.Error.NotAuthorized"
    finally:
        reservation.unlink()
    daemon.call("Reload")


def test_second_daemon(daemon):
    second = pathlib.Path(tempfile.mkdtemp())
    p = subprocess.run([*daemon.command[:-3], *daemon.directories(second)],
                       env=daemon.environment, text=True, capture_output=True, timeout=WAIT)
    shutil.rmtree(second)
    assert p.returncode == 1 and NAME in p.stderr and "Sanitizer" not in p.stderr, p.stderr
    daemon.call("Reload")


# The made machine

def device_path(address):
    return f"{ROOT}/device/" + address.replace(":", "_").replace(".", "_")


def test_made_devices(made):
    managed = made.managed()
    assert set(managed) - {ROOT} == {device_path(a) for a in madesys.DEVICES} | {f"{ROOT}/group/7", f"{ROOT}/group/8", f"{ROOT}/quota/_2f"}
    for address, (_, class_, driver, group) in madesys.DEVICES.items():
        d = {k: v[1] for k, v in managed[device_path(address)][f"{NAME}.Device"].items()}
        assert d["Address"] == address and d["Class"] == class_ and d["Driver"] == driver and d["State"] == "free"
        assert d["Group"] == ("/" if group is None else f"{ROOT}/group/{group}") and d["Lease"] == "/"
        assert (d["VendorId"], d["DeviceId"], d["SubsystemVendorId"], d["SubsystemDeviceId"]) == (0x8086, 0x10d3, 0x1af4, 0x1100)
        assert d["ResetMethods"] == ["flr", "bus"] and address in d["ResetSet"] and d["NumaNode"] == -1


def test_made_groups(made):
    managed = made.managed()
    for number, members in (7, [madesys.PORT, madesys.NVME]), (8, [madesys.NIC0, madesys.NIC1]):
        g = {k: v[1] for k, v in managed[f"{ROOT}/group/{number}"][f"{NAME}.Group"].items()}
        assert g["Id"] == number and sorted(g["Devices"]) == sorted(map(device_path, members)) and g["Lease"] == "/"
        assert g["ReservedRegions"] == [(0xfee00000, 0xfeefffff, "msi")] and g["Type"] == "DMA-FQ"


@pytest.mark.parametrize("device, error", [(madesys.PORT, "InvalidArgument"), (madesys.BARE, "NoIsolation"),
                                           (madesys.NIC0, "NotAuthorized")])
def test_made_refusals(made, device, error):
    """A bridge; a device without a group; and one that is fine, but nobody granted it to this user and there is no polkit."""
    assert made.as_other("Acquire", "asa{sv}", [device], {})[0] == f"{NAME}.Error.{error}"


@pytest.mark.parametrize("device, n, options, error", [
    (madesys.NVME, 0, {}, "NotSupported"), (madesys.NIC0, 5, {}, "InvalidArgument"), (madesys.NIC0, 0xffffffff, {}, "InvalidArgument"),
    (madesys.NIC0, 1, {}, "DriverMismatch"), (madesys.NIC0, 1, {"restore": ("b", True)}, "UnknownOption"),
    (madesys.NIC0, 1, {"force-in-use": ("u", 1)}, "InvalidArgument"), (madesys.NIC0, 0, {}, "")])
def test_made_virtual_functions(made, device, n, options, error):
    """Root, and then somebody whom nobody has granted it: he learns nothing of the state of the device."""
    at = dict(path=device_path(device), interface=f"{NAME}.Device")
    if error:
        refused(lambda: made.call("SetVirtualFunctions", "ua{sv}", (n, options), **at), f"{NAME}.Error.{error}")
    else:
        assert made.call("SetVirtualFunctions", "ua{sv}", (n, options), **at) == ()
    if not options:
        known = error if error in ("NotSupported", "InvalidArgument") else "NotAuthorized"
        assert made.as_other("SetVirtualFunctions", "ua{sv}", n, {}, **at)[0] == f"{NAME}.Error.{known}"
    assert made.managed()[device_path(device)][f"{NAME}.Device"]["State"][1] == "free"
