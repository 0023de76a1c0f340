"""Which VFIO driver a device gets; the numbers are those of the requirements. Shown with the virtual functions of a virtio network
card, which the module virtio_vfio_pci is for."""
import contextlib
import os

from agent import MANAGER, ROOT, Agent
from lab import (PCI, addr, bus, check, configure, device, driver_of, equal, lease, override_of, refused, reload, run, state, test,
                 wait_free, write)
from test_handover import virtual_functions

VARIANT, PLAIN = "virtio_vfio_pci", "vfio-pci"
VIRTIO_NET = "vfio_pci:v00001AF4d00001041sv*sd*bc*sc*i*"
CATCH_ALL = "vfio_pci:v*d*sv*sd*bc*sc*i*"
BUILTIN = f"/lib/modules/{os.uname().release}/modules.builtin.modinfo"
LOADABLE = f"/lib/modules/{os.uname().release}/modules.alias"


def choose(address, options=None, who=None):
    """(driver, module, alias)"""
    args = ROOT, MANAGER, "ChooseDriver", "sa{sv}", (address, options or {})
    return tuple(who.call(*args) if who else bus().call(*args))


def is_loaded(module):
    return os.path.exists(f"/sys/module/{module}")


def unload(module):
    if is_loaded(module):
        run(["modprobe", "-r", module], check=True)
    check(not is_loaded(module), module, "is loaded")


@contextlib.contextmanager
def aliases(path, more):
    """As if the kernel had these modules too."""
    with open(path, "rb") as f:
        before = f.read()
    try:
        with open(path, "ab") as f:
            f.write(more)
        reload()
        yield
    finally:
        with open(path, "wb") as f:
            f.write(before)
        reload()


def builtin(*pairs):
    return b"".join(f"{module}.alias={pattern}\0".encode() for pattern, module in pairs)


@contextlib.contextmanager
def functions():
    with virtual_functions(addr("virtio-sriov"), 2) as both:
        yield both


@test("intel", "amd")
def S4_1_S4_5_anybody_may_ask_and_nothing_happens():
    with functions() as (first, _):
        unload(VARIANT)
        bob = Agent("bob")
        equal(choose(first, who=bob), (VARIANT, VARIANT, VIRTIO_NET))
        equal(choose(addr("nvme"), who=bob), (PLAIN, "vfio_pci", CATCH_ALL))
        equal((device(first)["VfioDriver"], device(addr("nvme"))["VfioDriver"]), (VARIANT, PLAIN))
        # As any program asks that can call the bus.
        told = run(["busctl", "call", "org.iommud1", "/org/iommud1", "org.iommud1.Manager", "ChooseDriver", "sa{sv}", first, "0"], "bob").stdout
        equal(told.split(), ["sss", f'"{VARIANT}"', f'"{VARIANT}"', f'"{VIRTIO_NET}"'])
        equal((driver_of(first), override_of(first), state(first)), ("virtio-pci", "", "free"))
        check(not is_loaded(VARIANT), "asking has loaded the module")
        for wrong in "0000:00:1e.7", addr("port18"):
            with refused("NoSuchDevice", "DriverMismatch"):
                choose(wrong, who=bob)


@test("intel", "amd")
def S4_1_the_best_match_is_loaded_bound_and_used():
    with functions() as (first, second):
        configure(alice=([first, second], {}))
        unload(VARIANT)
        alice = Agent("alice")
        grant = alice.acquire([first])
        check(is_loaded(VARIANT), VARIANT, "is not loaded")
        equal((driver_of(first), grant.found[first]["driver"]), (VARIANT, VARIANT))
        equal(alice.use(grant, first), (0x1AF4, 0x1041))
        alice.kill()
        wait_free(first)
        equal((driver_of(first), override_of(first)), ("virtio-pci", ""))
    unload(VARIANT)


@test("intel")
def S4_1_fewest_wildcards_win_and_built_in_modules_count():
    nvme, e1000e = addr("nvme"), addr("multifunction.0")
    exact = "vfio_pci:v00001B36d00000010sv*sd*bc*sc*i*"
    closer = "vfio_pci:v00001B36d00000010sv*sd*bc01sc08i02"
    with aliases(BUILTIN, builtin((exact, "one_vfio_pci"), (closer, "other_vfio_pci"))):
        equal(choose(nvme), ("other_vfio_pci", "other_vfio_pci", closer))
        equal(choose(e1000e), (PLAIN, "vfio_pci", CATCH_ALL))
        # The two lists are one.
        with aliases(LOADABLE, b"alias vfio_pci:v00001B36d00000010sv*sd00001100bc01sc08i02 third_vfio_pci\n"):
            equal(choose(nvme)[0], "third_vfio_pci")
        equal(choose(nvme)[0], "other_vfio_pci")
    equal(choose(nvme), (PLAIN, "vfio_pci", CATCH_ALL))


@test("intel")
def S4_1_the_name_is_the_drivers_and_not_the_modules():
    # vfio-pci is the driver of the module vfio_pci; driver_override takes no other spelling.
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"driver": PLAIN})
    equal((grant.found[nvme]["driver"], driver_of(nvme), override_of(nvme)), (PLAIN, PLAIN, PLAIN))
    alice.kill()
    wait_free(nvme)
    with refused("DriverMismatch") as why:
        Agent("alice").acquire([nvme], {"driver": "vfio_pci"})
    check("vfio_pci" in why.text and f"({PLAIN})" in why.text, why.text)


@test("intel")
def S4_2_the_request_or_the_reservation_overrides():
    with functions() as (first, second):
        # The reservation's, unless the request says otherwise.
        configure(alice=([first], {"Driver": PLAIN}), bob=([second], {}))
        for user, address, options, driver in (("alice", first, {}, PLAIN), ("alice", first, {"driver": VARIANT}, VARIANT),
                                               ("bob", second, {"driver": PLAIN}, PLAIN), ("bob", second, {}, VARIANT)):
            who = Agent(user)
            grant = who.acquire([address], options)
            equal((driver_of(address), grant.found[address]["driver"]), (driver, driver), f"{user} {options}")
            equal(who.use(grant, address), (0x1AF4, 0x1041))
            who.kill()
            wait_free(address)
            equal((driver_of(address), override_of(address)), ("virtio-pci", ""))


@test("intel", "amd")
def S4_2_a_driver_that_does_not_fit_is_refused():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    for driver in VARIANT, "nvme", "no-such-driver":
        with refused("DriverMismatch") as why:
            Agent("alice").acquire([nvme], {"driver": driver})
        check(nvme in why.text and driver in why.text and f"({PLAIN})" in why.text, why.text)
    # The administrator's mistake is told to the user as well.
    configure(alice=(["nvme"], {"Driver": VARIANT}))
    with refused("DriverMismatch") as why:
        Agent("alice").acquire([nvme])
    check(VARIANT in why.text, why.text)
    equal((driver_of(nvme), override_of(nvme), state(nvme)), ("nvme", "", "free"))


@test("intel")
def S4_2_pasids_force_the_plain_driver_and_explain_says_so():
    with functions() as (first, _):
        configure(alice=([first], {"Pasids": "4"}))
        alice = Agent("alice")
        equal(choose(first, {"pasids": ("u", 4)}, alice), (PLAIN, "vfio_pci", CATCH_ALL))
        possible, findings = alice.explain([first], {"pasids": 4})
        (text,) = [f[3] for f in findings if f[0] == "plain-driver"]
        check(possible and VARIANT in text and PLAIN in text and "PASID" in text, findings)
        check(not [f for f in alice.explain([first])[1] if f[0] == "plain-driver"], "that is said without PASIDs, too")
        with refused("DriverMismatch") as why:
            alice.acquire([first], {"pasids": 4, "driver": VARIANT})
        check("PASID" in why.text, why.text)
        grant = alice.acquire([first], {"pasids": 4})
        equal((driver_of(first), lease(grant.path)["Pasids"]), (PLAIN, 4))
        alice.kill()
        wait_free(first)


@test("intel", "amd")
def S4_3_other_devices_of_the_same_kind_stay_where_they_are():
    # With new_id every such device without a driver would go to VFIO.
    with functions() as (first, second):
        configure(alice=([first], {}))
        alice = Agent("alice")
        alice.acquire([first])
        equal(driver_of(first), VARIANT)
        write(f"{PCI}{second}/driver/unbind", second)
        write(PCI + "../drivers_probe", second)
        equal((driver_of(second), override_of(second)), ("virtio-pci", ""))
        equal(driver_of(addr("virtio-sriov")), "virtio-pci")
        alice.kill()
        wait_free(first)


@test("intel", "amd")
def S4_4_equal_matches_are_told_apart_whatever_their_order():
    nvme = addr("nvme")
    pattern = "vfio_pci:v00001B36d00000010sv*sd*bc*sc*i*"
    a, b = (pattern, "aa_vfio_pci"), (pattern, "bb_vfio_pci")
    for order in (a, b), (b, a):
        with aliases(BUILTIN, builtin(*order)):
            equal(choose(nvme)[0], "aa_vfio_pci")
