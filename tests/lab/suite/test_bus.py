"""What an administrator sees with the usual tools, and the configuration."""
import os
import signal
import xml.etree.ElementTree as ET

import agent
from agent import MANAGER, ROOT, Agent
from lab import (ETC, addr, bus, check, configure, device_path, equal, objects, pid, refused, reload, run, state, test, wait_until,
                 write)

CONTRACT = "/usr/share/dbus-1/interfaces/org.iommud1."


def members(interface):
    """{(kind, name): (arguments) or (type, access)} of an interface in XML."""
    found = {}
    for e in interface:
        if e.tag in ("method", "signal"):
            found[e.tag, e.get("name")] = [(a.get("name"), a.get("type"), a.get("direction") if e.tag == "method" else None)
                                           for a in e.iter("arg")]
        elif e.tag == "property":
            found[e.tag, e.get("name")] = (e.get("type"), e.get("access"))
    return found


def contract(name):
    (interface,) = ET.parse(f"{CONTRACT}{name}.xml").getroot().iter("interface")
    return members(interface)


def introspected(path):
    (text,) = bus().call(path, "org.freedesktop.DBus.Introspectable", "Introspect")
    return {i.get("name"): i for i in ET.fromstring(text).iter("interface")}


@test("intel", "systemd")
def introspection_is_the_reviewed_contract():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    for name, path in (("Manager", ROOT), ("Device", device_path(nvme)), ("Lease", grant.path),
                       ("Group", objects()[device_path(nvme)][agent.DEVICE]["Group"])):
        interfaces = introspected(path)
        is_now, should = members(interfaces["org.iommud1." + name]), contract(name)
        for member in sorted(set(is_now) | set(should)):
            equal(is_now.get(member), should.get(member), f"{name}: {' '.join(member)}")
        check(not [i for i in interfaces if i.startswith("org.iommud1.") and i != "org.iommud1." + name], interfaces)


def busctl(*args):
    result = run(["busctl", "--system", "--no-pager", *args])
    equal(result.returncode, 0, f"busctl {' '.join(args)}: {result.stdout}")
    return result.stdout


@test("intel", "systemd")
def busctl_tree_introspect_and_call_work_on_all_objects():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    tree = busctl("tree", "--list", "org.iommud1").split()
    known = objects()
    equal(sorted(p for p in known if p not in tree), [], "objects that busctl tree does not show")
    for path in known:
        check("org.iommud1." in bus().call(path, "org.freedesktop.DBus.Introspectable", "Introspect")[0], path)
    # The program itself, which also gets all properties, once for each kind.
    for path in ROOT, device_path(nvme), known[device_path(nvme)][agent.DEVICE]["Group"], grant.path:
        out = busctl("introspect", "org.iommud1", path)
        check("org.iommud1." in out, out)
    check("vfio-pci" in busctl("call", "org.iommud1", ROOT, MANAGER, "ChooseDriver", "sa{sv}", nvme, "0"), "ChooseDriver")
    check("leased" in busctl("call", "org.iommud1", ROOT, MANAGER, "Explain", "asa{sv}", "1", nvme, "0"), "Explain")
    check(grant.path in busctl("call", "org.iommud1", ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"), "GetManagedObjects")
    check('"leased"' in busctl("get-property", "org.iommud1", device_path(nvme), agent.DEVICE, "State"), "get-property")
    alice.release(grant.path, grant.lifeline)


@test("intel", "systemd")
def every_property_can_be_got_and_none_be_set():
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([addr("nvme")])
    for path, interfaces in objects().items():
        for name, properties in interfaces.items():
            if not name.startswith("org.iommud1."):
                continue
            equal(bus().get_all(path, name), properties, f"GetAll {path}")
            wanted = {m[1] for m in contract(name.rpartition(".")[2]) if m[0] == "property"}
            equal(set(properties), wanted, path)
    with refused("PropertyReadOnly", "AccessDenied"):
        Agent("root").call(grant.path, "org.freedesktop.DBus.Properties", "Set", "ssv", (agent.LEASE, "Uid", ("u", 0)))
    alice.release(grant.path, grant.lifeline)


@test("intel")
def everybody_may_look_through_iommuctl():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    grant = Agent("alice").acquire([nvme])
    for verb in ["list"], ["list", "groups"], ["list", "leases"], ["tree"], ["show", nvme], ["show", grant.id[:8]]:
        result = run(["iommuctl", *verb], "bob")
        equal(result.returncode, 0, f"iommuctl {verb}: {result.stdout}")
        check(nvme in result.stdout or grant.id[:8] in result.stdout or verb == ["list", "groups"], verb, result.stdout)
    result = run(["iommuctl", "explain", nvme], "bob")
    check(result.returncode == 1 and grant.id in result.stdout, result.stdout)


@test("intel")
def bad_reservation_is_refused_by_file_and_line_and_the_old_ones_stay():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    bad = f"{ETC}/reservations.d/bad.conf"
    for text, line in (("[Device]\nAddress=0000:01:00.0\n[Client]\nUser=nobody-of-that-name\n", 4), ("[Device]\nAddres=0000:01:00.0\n", 2),
                       ("[Device]\nAddress=0000:01:00.0\n[Client]\nUser=bob\n[Grant]\nMemoryLock=8X\n", 6), ("garbage\n", 1),
                       ("[Device]\nAddress=0000:01:00.0\nAddress=x\n", 3)):
        write(bad, text)
        try:
            with refused("BadConfiguration") as why:
                reload()
            check(f"bad.conf:{line}:" in why.text, text, why.text)
            alice = Agent("alice")
            grant = alice.acquire([nvme])
            alice.release(grant.path, grant.lifeline)
            alice.kill()
            wait_until(lambda: state(nvme) == "free", "free")
        finally:
            os.unlink(bad)
    with refused("NotAuthorized"):
        Agent("alice").call(ROOT, MANAGER, "Reload")


@test("intel")
def sighup_reloads():
    nvme = addr("nvme")
    configure()
    bob = Agent("bob")
    write(f"{ETC}/reservations.d/bob.conf", f"[Device]\nAddress={nvme}\n[Client]\nUser=bob\n")
    os.kill(pid(), signal.SIGHUP)
    wait_until(lambda: any(f[1] == "ask" and f[4]["action"].endswith("acquire-reserved") for f in bob.explain([nvme])[1]), "the new rule counts")
    # A mistake changes nothing and does not end the daemon.
    was = pid()
    write(f"{ETC}/reservations.d/bad.conf", "garbage\n")
    os.kill(was, signal.SIGHUP)
    with refused("BadConfiguration"):
        reload()
    equal(pid(), was)
    check(any(f[1] == "ask" and f[4]["action"].endswith("acquire-reserved") for f in bob.explain([nvme])[1]), "the rule stays")
    os.unlink(f"{ETC}/reservations.d/bad.conf")


@test("intel")
def group_or_world_writable_configuration_is_refused():
    configure()
    write(f"{ETC}/reservations.d/x.conf", "[Device]\nId=*:*\n[Client]\nUser=bob\n")
    os.chmod(f"{ETC}/reservations.d/x.conf", 0o666)
    with refused("BadConfiguration") as why:
        reload()
    check("x.conf" in why.text, why.text)
