"""What is refused, how it is explained, and that a refusal changes nothing."""
import os

import agent
from agent import LEASE, MANAGER, ROOT, Agent
from lab import (DENIED, addr, bus, cdev_of, check, configure, device, driver_of, equal, fd_count, files, leases, override_of,
                 pid, refused, state, states, sysfs, test, wait_free, wait_until, workers)


def snapshot():
    return sysfs(), states(), leases(), files()


@test("intel")
def second_client_is_told_who_has_the_device():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}), bob=(["nvme"], {}))
    grant = Agent("alice").acquire([nvme])
    for user in "bob", "alice", "root":
        with refused("DeviceBusy") as why:
            Agent(user).acquire([nvme])
        check(grant.id in why.text and "uid 1000" in why.text, "lease and owner are not named:", why.text)
    equal(state(nvme), "leased")


@test("intel")
def second_client_for_another_device_of_the_group_is_told_too():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    devices = ["multifunction.0", "multifunction.1"]
    configure(alice=(devices, {}), bob=(devices, {}))
    alice = Agent("alice")
    grant = alice.acquire([first], {"members": [second]})
    for user in "bob", "alice", "root":
        for options in {}, {"members": [first]}:
            with refused("DeviceBusy") as why:
                Agent(user).acquire([second], options)
            check(grant.id in why.text and "uid 1000" in why.text, "lease and owner are not named:", why.text)
    equal(state(second), "parked")
    equal(alice.use(grant, first), (0x8086, 0x10D3))


def blocks(findings):
    return [f for f in findings if f[1] == "block"]


@test("intel")
def member_on_host_driver_is_named_with_the_remedy():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice, before = Agent("alice"), snapshot()
    possible, findings = alice.explain([first])
    check(not possible, findings)
    (block,) = blocks(findings)
    equal(block[:3], ("member-on-host-driver", "block", second))
    check("e1000e" in block[3] and "members" in block[4]["remedy"], block)
    equal(snapshot(), before, "after Explain")
    with refused("GroupNotViable") as why:
        alice.acquire([first])
    check(second in why.text and "e1000e" in why.text and "members" in why.text, why.text)
    equal(snapshot(), before, "after the refusal")


@test("intel")
def member_that_is_granted_is_parked_and_comes_back():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    possible, findings = alice.explain([first], {"members": [second]})
    check(possible and any(f[0] == "will-park" and f[2] == second for f in findings), findings)
    equal(driver_of(second), "e1000e", "after Explain")
    grant = alice.acquire([first], {"members": [second]})
    equal((driver_of(second), state(second)), ("vfio-pci", "parked"))
    equal((driver_of(first), state(first)), ("vfio-pci", "leased"))
    check(second not in grant.fds, "the parked device was handed out")
    lease = bus().get_all(grant.path, LEASE)
    equal((lease["Devices"], lease["Parked"]), ([first], [second]))
    equal(alice.use(grant, first), (0x8086, 0x10D3))
    # Nobody gets at the parked one.
    equal(alice.can_open(cdev_of(second)), "EACCES")
    alice.kill()
    wait_free(first, second)
    for a in first, second:
        equal((driver_of(a), override_of(a)), ("e1000e", ""), a)


@test("intel")
def naming_a_member_is_no_permission():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0"], {}))
    alice, before = Agent("alice"), snapshot()
    possible, findings = alice.explain([first], {"members": [second]})
    check(any(f[1] == "ask" and f[2] == second and f[4].get("action") == "org.iommud1.acquire" for f in findings), possible, findings)
    with refused(*DENIED) as why:
        alice.acquire([first], {"members": [second]})
    check(second in why.text, why.text)
    equal(snapshot(), before, "after the refusal")


@test("intel")
def strangers_get_nothing():
    nvme, before = addr("nvme"), snapshot()
    configure(alice=(["nvme"], {}))
    for user, device_ in ("bob", nvme), ("alice", addr("nvme2")):
        with refused(*DENIED):
            Agent(user).acquire([device_])
    equal(snapshot(), before)


@test("intel")
def explain_for_others_is_for_root():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    possible, findings = Agent("root").explain([nvme], {"as": 1001})
    check(any(f[1] == "ask" and f[4]["action"] == "org.iommud1.acquire" for f in findings), findings)
    possible, findings = Agent("root").explain([nvme], {"as": 1000})
    check(possible and any(f[1] == "ask" and f[4]["action"] == "org.iommud1.acquire-reserved" for f in findings), findings)
    with refused("NotAuthorized"):
        Agent("bob").explain([nvme], {"as": 1000})


def nonsense(nvme, nvme2, bridge):
    """(devices, options, errors that will do)."""
    wrong = ("InvalidArgument",)
    for text in ("", "0", "../..", "..", "/", "0000:01:00.0/../x", "0000:01:00.0/", "/sys/bus/pci/devices/" + nvme, "01:00.0", "0000:01:00",
                 "0000:01:00.8", "0000:01:20.0", "0000:1:0.0", " " + nvme, nvme + " ", nvme + "\n", nvme.upper() + "X", "-0000:01:00.0",
                 "00000:01:00.0", "0x0000:01:00.0", "x" * 100000, "0000:01:00.0" * 1000, "ü000:01:00.0", "💥", "\u202e0000:01:00.0",
                 "%s%n%s", "\x01", "@", "@nothing"):
        yield [text], {}, wrong
        yield [nvme, text], {}, wrong
        yield [nvme], {"members": [text]}, wrong
    yield [], {}, wrong
    yield [nvme, nvme], {}, wrong
    yield [nvme], {"members": [nvme, nvme]}, wrong
    yield [f"{n >> 16:04x}:{n >> 8 & 255:02x}:{n >> 3 & 31:02x}.{n & 7}" for n in range(10000)], {}, wrong
    yield [nvme], {"members": [f"{n >> 16:04x}:{n >> 8 & 255:02x}:{n >> 3 & 31:02x}.{n & 7}" for n in range(10000)]}, wrong
    yield ["ffff:ff:1f.7"], {}, ("NoSuchDevice",)
    yield ["0000:ff:1f.7"], {}, ("NoSuchDevice",)
    yield [nvme, "0000:ff:1f.7"], {}, ("NoSuchDevice",)
    yield [nvme], {"members": ["0000:ff:1f.7"]}, ("NoSuchDevice",)
    yield [bridge], {}, wrong
    yield [nvme, bridge], {}, wrong
    yield [nvme], {"members": [bridge]}, wrong
    yield [nvme], {"members": [nvme2]}, wrong           # it is of another group
    yield [nvme], {"members": [nvme]}, wrong
    # Options
    for name in "", "x", "Hand-Over", "hand_over", "as", "x" * 10000, "\x01", "ü":
        yield [nvme], {name: ("s", "x")}, ("UnknownOption",)
    for name, value in (("hand-over", ("u", 1)), ("hand-over", ("as", ["unbound"])), ("members", ("s", nvme)), ("driver", ("b", True)),
                        ("pasids", ("t", 1)), ("pasids", ("i", -1)), ("pasids", ("s", "1")), ("force-in-use", ("s", "yes")),
                        ("force-in-use", ("u", 1)), ("restore", ("y", 1)), ("wait", ("u", 1)), ("wait", ("d", 1.0)),
                        ("reservation", ("o", "/x")), ("for", ("u", 1)), ("hand-over", ("v", ("s", "unbound"))),
                        ("members", ("a{sv}", {})), ("driver", ("(s)", ("vfio-pci",)))):
        yield [nvme], {name: value}, wrong
    for text in "", "bound", "UNBOUND", "groups", "unbound ", "x" * 10000, "\x01":
        yield [nvme], {"hand-over": text}, wrong
    for text in "../x", "/", "x" * 10000, "", "\n", "vfio-pci\n", "a b":
        yield [nvme], {"driver": text}, wrong + ("DriverMismatch",)
        yield [nvme], {"reservation": text}, wrong + ("NotAuthorized",)
    yield [nvme], {"wait": 2 ** 64 - 1}, wrong
    yield [nvme], {"pasids": 2 ** 32 - 1}, wrong
    for driver in "nvme", "e1000e", "pcieport", "vfio_pci", "VFIO-PCI", "nothing", "virtio_vfio_pci":
        yield [nvme], {"driver": driver}, ("DriverMismatch",)
    # What has a meaning, but not for this user.
    yield [nvme], {"reservation": "nothing"}, ("NotAuthorized",)
    yield [nvme2], {"reservation": "alice"}, ("NotAuthorized",)
    yield [nvme], {"restore": False}, DENIED
    yield [nvme], {"pasids": 1}, ("QuotaExceeded",)
    yield [nvme], {"hand-over": "attached"}, DENIED     # the reservation grants another


@test("intel", "systemd")
def nonsense_is_refused_by_name_and_changes_nothing():
    nvme = addr("nvme")
    other = addr("nvme2") if os.environ["LAB_DEVICES"].find("nvme2") >= 0 else addr("noreset")
    configure(alice=(["nvme"], {"HandOver": "unbound"}))
    alice, before = Agent("alice"), snapshot()
    daemon, fds = pid(), fd_count()
    alice.connect_only()
    for devices, options, names in nonsense(nvme, other, addr("port09")):
        what = f"Acquire({str(devices)[:80]}, {str(options)[:80]})"
        try:
            with refused(*names):
                alice.acquire(devices, options)
        except AssertionError as e:
            raise type(e)(f"{what}: {e}") from None
    equal(snapshot(), before, "after nonsense")
    equal(pid(), daemon, "the daemon")
    wait_until(lambda: not workers(), "no worker is left")
    wait_until(lambda: fd_count() <= fds, lambda: f"the daemon has {fds} descriptors; it has {fd_count()}")


@test("intel")
def an_option_that_is_given_twice_is_refused():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    for first, second in (("s", "unbound"), ("s", "unbound")), (("s", "unbound"), ("s", "none")):
        with refused("InvalidArgument") as why:
            alice.acquire_with_pairs([nvme], [("hand-over", first), ("hand-over", second)])
        check("twice" in why.text, why.text)
    equal(state(nvme), "free")


@test("intel")
def wrong_signatures_objects_and_methods_are_refused():
    nvme, alice = addr("nvme"), Agent("alice")
    configure(alice=(["nvme"], {}))
    before, fds = snapshot(), fd_count()
    any_of = "InvalidArgs", "InvalidArgument", "UnknownMethod", "UnknownObject", "UnknownInterface", "NoSuchLease", "NoSuchDevice", "AccessDenied"
    for path, interface, method, signature, body in (
            (ROOT, MANAGER, "Acquire", "s", (nvme,)), (ROOT, MANAGER, "Acquire", "", ()), (ROOT, MANAGER, "Acquire", "as", ([nvme],)),
            (ROOT, MANAGER, "Acquire", "aoa{sv}", (["/x"], {})), (ROOT, MANAGER, "Acquire", "asa{ss}", ([nvme], {"a": "b"})),
            (ROOT, MANAGER, "ChooseDriver", "sa{sv}", ("../..", {})), (ROOT, MANAGER, "ChooseDriver", "sa{sv}", ("ffff:00:00.0", {})),
            (ROOT + "/lease/0123456789abcdef0123456789abcdef", LEASE, "Revoke", "sta{sv}", ("x", 0, {})),
            (ROOT + "/lease/" + "f" * 5000, LEASE, "Revoke", "sta{sv}", ("x", 0, {})),
            (ROOT + "/lease/_2e_2e", LEASE, "Revoke", "sta{sv}", ("x", 0, {})),
            (ROOT + "/device/x", "org.freedesktop.DBus.Properties", "GetAll", "s", (agent.DEVICE,)),
            (ROOT + "/device/0000_ff_00_0", "org.freedesktop.DBus.Properties", "Get", "ss", (agent.DEVICE, "State")),
            (ROOT + "/group/99999999999", "org.freedesktop.DBus.Properties", "Get", "ss", (agent.GROUP, "Id")),
            (ROOT, MANAGER, "Nothing", "", ())):
        try:
            with refused(*any_of):
                alice.call(path, interface, method, signature, body)
        except AssertionError as e:
            raise type(e)(f"{path[:60]} {method}: {e}") from None
    equal(snapshot(), before)
    wait_until(lambda: fd_count() <= fds + 1, "the descriptors are as before")


@test("intel")
def limits_are_limits():
    nvme, other = addr("nvme"), addr("nvme2")
    for limit in "LeasesPerUser=1", "DevicesPerUser=1", "Leases=1":
        configure(limit, alice=(["nvme", "nvme2"], {}))
        alice = Agent("alice")
        grant = alice.acquire([nvme])
        with refused("LimitExceeded") as why:
            alice.acquire([other])
        check(limit.partition("=")[0] in why.text, why.text)
        alice.release(grant.path, grant.lifeline)
        alice.kill()
        wait_free(nvme)
        equal(device(other)["State"], "free")
