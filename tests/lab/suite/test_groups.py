"""Whole groups, as the source threads ask for them; the numbers are those of the requirements."""
import contextlib
import subprocess

from agent import Agent
from lab import (PCI, addr, cdev_of, check, configure, device, driver_of, end_clients, equal, give_to, group, group_path, lease, override_of,
                 refused, signals, start, state, states, stop, test, unplug, wait_free, wait_until, write)


@test("intel", "amd")
def S1_1_S1_5_S3_3_devices_join_and_leave_one_by_one():
    first, second, other = addr("multifunction.0"), addr("multifunction.1"), addr("nvme")
    configure(alice=(["multifunction.0", "multifunction.1", "nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([first], {"members": [second]})
    equal((state(first), state(second), state(other)), ("leased", "parked", "free"))
    # What is parked can be added, and a device of another group; all of them bind to the one iommufd: one address space.
    fds = alice.add_devices(grant.path, grant.lifeline, [second, other])
    equal(sorted(a for a in fds), sorted([second, other]))
    for fd in grant.fds[first], fds[second], fds[other]:
        equal(alice.bind(fd, grant.iommufd), "")
    equal(sorted(lease(grant.path)["Devices"]), sorted([first, second, other]))
    # Closing is leaving; the group stays, so the device is parked and can come back.
    alice.close(fds[second])
    wait_until(lambda: state(second) == "parked", "parked again")
    equal(driver_of(second), "vfio-pci")
    fds = {**fds, **alice.add_devices(grant.path, grant.lifeline, [second])}
    equal(alice.bind(fds[second], grant.iommufd), "")
    # By request, once its descriptor is closed; it was alone in its group, so the host has it back at once.
    alice.remove_devices(grant.path, grant.lifeline, [other])
    equal(state(other), "releasing")
    alice.close(fds[other])
    wait_free(other)
    equal((driver_of(other), state(first), state(second)), ("nvme", "leased", "leased"))
    alice.release(grant.path, grant.lifeline)
    alice.kill()
    wait_free(first, second)


@test("intel", "amd")
def S1_6_the_last_one_out_gives_the_group_back():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    grant = alice.acquire([first, second])
    alice.close(grant.fds[first])
    wait_until(lambda: state(first) == "parked", "parked")
    equal(state(second), "leased")
    alice.close(grant.fds[second])
    wait_free(first, second)
    equal((driver_of(first), driver_of(second), override_of(first)), ("e1000e", "e1000e", ""))
    # The lease itself lives as long as its lifeline, and can have devices again.
    equal((lease(grant.path)["State"], lease(grant.path)["Devices"]), ("active", []))
    fds = alice.add_devices(grant.path, grant.lifeline, [first, second])
    equal(alice.bind(fds[first], grant.iommufd), "")


@test("intel")
def S1_6_driverless_members_go_back_with_the_last_one():
    edu, testdev, e1000 = addr("bridge.edu"), addr("bridge.testdev"), addr("bridge.e1000")
    configure(alice=(["bridge.edu", "bridge.e1000"], {}))
    alice = Agent("alice")
    grant = alice.acquire([edu], {"members": [e1000]})
    # The lease goes on, without the group.
    alice.close(grant.fds[edu])
    wait_free(edu, testdev, e1000)
    equal((lease(grant.path)["State"], lease(grant.path)["Parked"], lease(grant.path)["Groups"]), ("active", [], []))
    equal([(driver_of(a), override_of(a)) for a in (edu, testdev, e1000)], [("", ""), ("", ""), ("e1000", "")])


@test("intel")
def what_cannot_join_while_the_lease_ends_is_still_proven_free():
    first, second, other = addr("multifunction.0"), addr("multifunction.1"), addr("nvme2")
    configure(alice=(["multifunction.0", "multifunction.1", "nvme2"], {}))
    alice, helper, root = Agent("alice"), Agent("alice"), Agent("root")
    grant = alice.acquire([first], {"members": [second]})
    fd = root.open(cdev_of(second))     # so that adding it fails, and the device has to be proven free of this one
    (lifeline,) = alice.hand(helper, grant.lifeline)
    alice.start("add_devices", grant.path, grant.lifeline, [second, other])
    wait_until(lambda: state(other) == "preparing", "being added")
    helper.release(grant.path, lifeline)
    with refused("DeviceBusy", "Failed"):
        alice.result()
    alice.kill()
    helper.kill()
    wait_until(lambda: state(second) == "releasing" and str(root.pid) in device(second)["StateReason"], lambda: device(second))
    root.close(fd)
    wait_free(first, second, other)
    equal((driver_of(second), override_of(second)), ("e1000e", ""))


@test("intel")
def who_owns_the_group_already_is_named():
    edu, e1000 = addr("bridge.edu"), addr("bridge.e1000")
    configure(alice=(["bridge.edu", "bridge.e1000"], {}))
    give_to(e1000, "vfio-pci")
    root, alice = Agent("root"), Agent("alice")
    fd, iommufd = root.open(cdev_of(e1000)), root.open("/dev/iommu")
    equal(root.bind(fd, iommufd), "")
    with refused("DeviceBusy") as box:
        alice.acquire([edu])
    check(str(root.pid) in box.text and "another member" in box.text, box.text)
    root.kill()
    wait_until(lambda: possible(alice, edu), "nothing of it sticks")
    alice.acquire([edu])
    alice.kill()
    wait_free(edu)
    give_to(e1000, "e1000")


def possible(who, address):
    return who.explain([address])[0]


@test("intel")
def joining_needs_the_right_to_the_device():
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([addr("nvme")])
    with refused("NotAuthorized", "InteractiveAuthorizationRequired"):
        alice.add_devices(grant.path, grant.lifeline, [addr("nvme2")])
    with refused("DeviceBusy"):
        alice.add_devices(grant.path, grant.lifeline, [addr("nvme")])
    with refused("NoSuchDevice"):
        alice.remove_devices(grant.path, grant.lifeline, [addr("nvme2")])
    with refused("WrongLifeline"):
        alice.add_devices(grant.path, grant.iommufd, [addr("nvme2")])
    equal((driver_of(addr("nvme2")), state(addr("nvme2"))), ("nvme", "free"))


@test("intel", "amd")
def S0_2_S3_1_a_group_is_owned_with_nothing_handed_out():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    grant = alice.acquire([first, second], {"hand-over": "none"})
    equal(set(grant.fds), {"lifeline"})
    equal((driver_of(first), driver_of(second)), ("vfio-pci", "vfio-pci"))
    with refused("DeviceBusy"):
        Agent("root").acquire([second])


@test("intel", "amd")
def S1_2_a_driverless_member_stays_driverless():
    edu, testdev, e1000 = addr("bridge.edu"), addr("bridge.testdev"), addr("bridge.e1000")
    configure(alice=(["bridge.edu", "bridge.e1000"], {}))
    alice = Agent("alice")
    alice.acquire([edu], {"members": [e1000]})
    equal((driver_of(testdev), state(testdev)), ("", "parked"))
    check(override_of(testdev), "an override keeps it driverless")
    write(PCI + "../drivers_probe", testdev)
    equal(driver_of(testdev), "")


def beside_a_gap(options=()):
    """A lease on one device of a group, of which the other is pulled."""
    edu, e1000 = addr("bridge.edu"), addr("bridge.e1000")
    configure(alice=(["bridge.edu"], {}))
    unplug(e1000)
    alice = Agent("alice")
    return alice, alice.acquire([edu], options), edu, e1000


@test("intel", "amd")
def S1_3_S1_4_a_newcomer_is_taken_for_the_lease():
    alice, _, edu, e1000 = beside_a_gap()
    monitor = subprocess.Popen(["busctl", "monitor", "--match=type='signal',member='GroupDisturbed'", "org.iommud1"],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: "Monitoring" in monitor.stdout.readline(), "the monitor listens")
        write("/sys/bus/pci/rescan", "1")
        wait_until(lambda: states().get(e1000) == "parked", "the newcomer is parked")
        # As fast as we are, it has no driver yet and is kept so; else it was taken from its host driver.
        check(driver_of(e1000) in ("", "vfio-pci"), driver_of(e1000))
        check(any(e1000 in line for line in iter(monitor.stdout.readline, "")), "the signal names it")
    finally:
        monitor.kill()
    alice.kill()
    wait_free(edu, e1000)
    equal(override_of(e1000), "")
    # Whether it was taken before the kernel chose a driver or after it: the host has it now.
    equal(driver_of(e1000), "e1000")


@test("intel", "amd")
def S1_3_newcomers_that_come_together_are_all_parked():
    edu, others = addr("bridge.edu"), [addr("bridge.testdev"), addr("bridge.e1000")]
    configure(alice=(["bridge.edu"], {}))
    for a in others:
        unplug(a)
    alice = Agent("alice")
    alice.acquire([edu])
    write("/sys/bus/pci/rescan", "1")
    wait_until(lambda: [states().get(a) for a in others] == ["parked", "parked"], "both are parked")
    alice.kill()
    wait_free(edu, *others)
    equal([(driver_of(a), override_of(a)) for a in (edu, *others)], [("", ""), ("", ""), ("e1000", "")])


@test("intel")
def S1_3_what_came_while_iommud_was_down_is_taken_for_the_lease():
    alice, _, edu, e1000 = beside_a_gap()
    stop()
    write("/sys/bus/pci/drivers_autoprobe", "0")
    try:
        write("/sys/bus/pci/rescan", "1")
    finally:
        write("/sys/bus/pci/drivers_autoprobe", "1")
    start()
    wait_until(lambda: states().get(e1000) == "parked", "the newcomer is parked")
    write(PCI + "../drivers_probe", e1000)
    equal(driver_of(e1000), "")
    alice.kill()
    wait_free(edu, e1000)
    write(PCI + "../drivers_probe", e1000)
    equal((driver_of(e1000), override_of(e1000)), ("e1000", ""))


@test("intel")
def S1_3_viability_is_watched_while_nobody_owns_the_group():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    equal(group(first)["Viable"], False)
    give_to(first, "")
    give_to(second, "")
    try:
        wait_until(lambda: group(first)["Viable"], "viable")
        equal(group(first)["Blockers"], [])
        rule = f"type='signal',member='PropertiesChanged',path='{group_path(first)}'"
        with signals(rule) as heard:
            give_to(second, "e1000e")
            wait_until(lambda: not group(first)["Viable"], "not viable")
            check(any("Viable" in line for line in heard), "the change is told")
        check(second in str(group(first)["Blockers"]), group(first)["Blockers"])
    finally:
        give_to(first, "e1000e")
        give_to(second, "e1000e")


@test("intel")
def S1_3_a_driver_bound_to_a_parked_member_is_noticed():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    grant = alice.acquire([first], {"members": [second]})
    with signals(f"type='signal',member='GroupDisturbed',path='{grant.path}'") as heard:
        give_to(second, "e1000e")
        wait_until(lambda: not group(first)["Viable"], "not viable")
        check(any(second in line for line in heard), "the leaseholder is told")
    # The kernel's own check: now the group cannot be claimed...
    equal(alice.bind(grant.fds[first], grant.iommufd), "EPERM")
    give_to(second, "")
    wait_until(lambda: group(first)["Viable"], "viable again")
    equal(alice.bind(grant.fds[first], grant.iommufd), "")
    # ... and once it is claimed no host driver gets a member.
    write(f"{PCI}{second}/driver_override", "e1000e")
    with contextlib.suppress(OSError):
        write("/sys/bus/pci/drivers/e1000e/bind", second)
    equal(driver_of(second), "")
    alice.kill()
    wait_free(first, second)
    equal((driver_of(first), driver_of(second), override_of(second)), ("e1000e", "e1000e", ""))


@test("intel", "amd")
def S0_4_who_has_but_the_descriptor_learns_device_group_and_lease():
    first, second, foreign = addr("multifunction.0"), addr("multifunction.1"), addr("noreset")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice, bob = Agent("alice"), Agent("bob")
    grant = alice.acquire([first, second])
    for address in first, second:
        equal(tuple(alice.identify(grant.fds[address])), (address, group_path(address), grant.path))
        # Another user's process, which knows nothing of her lease.
        (theirs,) = alice.hand(bob, grant.fds[address])
        equal(tuple(bob.identify(theirs)), (address, group_path(address), grant.path))
    alice.release(grant.path, grant.lifeline)
    alice.kill()
    # Kept beyond its end: the lease is still the one to blame.
    equal((lease(grant.path)["State"], bob.identify(theirs)[2]), ("releasing", grant.path))
    bob.kill()
    wait_free(first, second)
    # Nobody's lease: an administrator's own.
    try:
        give_to(foreign, "vfio-pci")
        wait_until(lambda: device(foreign)["Driver"] == "vfio-pci", "the daemon knows")
        root = Agent("root")
        fd = root.open(wait_until(lambda: cdev_of(foreign), "it has a node"))
        equal(tuple(root.identify(fd)), (foreign, group_path(foreign), "/"))
        root.kill()
    finally:
        end_clients()       # or the unbind would wait for ever
        give_to(foreign, "")


@test("intel")
def S0_4_what_is_no_vfio_device_is_refused():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    for fd in grant.lifeline, grant.iommufd, alice.open("/dev/null"), alice.pipe()[0]:
        with refused("NoSuchDevice") as why:
            alice.identify(fd)
        check("no VFIO device" in why.text, why.text)


@test("intel", "amd")
def S3_2_inside_its_group_the_owner_does_as_it_likes():
    first, second, other = addr("multifunction.0"), addr("multifunction.1"), addr("nvme2")
    configure(alice=(["multifunction.0", "multifunction.1"], {}), bob=(["nvme2"], {}))
    alice, bob = Agent("alice"), Agent("bob")
    grant, his = alice.acquire([first, second]), bob.acquire([other])
    one, two = grant.fds[first], grant.fds[second]
    ioas, wrong = alice.ioas_alloc(grant.iommufd), alice.ioas_alloc(grant.iommufd)
    equal((bob.bind(his.fds[other], his.iommufd), bob.attach(his.fds[other], bob.ioas_alloc(his.iommufd))), ("", ""))
    # None, one, both, the other one, none; in any order.
    equal((alice.bind(one, grant.iommufd), alice.bind(two, grant.iommufd)), ("", ""))
    for call, fd in (("attach", one), ("attach", two), ("detach", one), ("attach", one), ("detach", two), ("detach", one)):
        equal(getattr(alice, call)(*((fd, ioas) if call == "attach" else (fd,))), "", f"{call} of {fd}")
        equal((alice.ids(one), alice.ids(two)), ((0x8086, 0x10D3), (0x8086, 0x10D3)))
    # What cannot be is refused by the kernel, and is nobody's trouble but hers: two address spaces for one group, one that is none.
    equal(alice.attach(one, ioas), "")
    equal(alice.attach(two, wrong), "EINVAL", "a second address space for the group")
    equal(alice.attach(two, 4711), "ENOENT")
    equal(alice.attach(two, ioas), "")
    equal(lease(grant.path)["State"], "active")
    equal((bob.ids(his.fds[other]), lease(his.path)["State"]), ((0x1B36, 0x0010), "active"))
    # She leaves it all as it is; the host has both back.
    alice.kill()
    wait_free(first, second)
    equal((driver_of(first), driver_of(second), state(other)), ("e1000e", "e1000e", "leased"))


@test("intel", "amd")
def S0_6_the_policy_is_ours_and_the_kernels_check_the_kernels():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    # The kernel would give it to him; the policy does not.
    with refused("NotAuthorized", "InteractiveAuthorizationRequired"):
        Agent("bob").acquire([first], {"members": [second]})
    # The policy gives it to her; the kernel does not, for the group is root's, who took it by hand.
    root = Agent("root")
    give_to(first, "")
    give_to(second, "vfio-pci")
    try:
        fd = root.open(wait_until(lambda: cdev_of(second), "it has a node"))
        equal(root.bind(fd, root.open("/dev/iommu")), "")
        for members in ([], [second]):
            with refused("DeviceBusy") as why:
                Agent("alice").acquire([first], {"members": members})
            check(f"pid {root.pid}" in why.text, why.text)
        equal((driver_of(first), override_of(first), state(first)), ("", "", "free"))
    finally:
        end_clients()
        give_to(first, "e1000e")
        give_to(second, "e1000e")
    # Nothing of that is remembered.
    alice = Agent("alice")
    equal(alice.use(alice.acquire([first, second]), first), (0x8086, 0x10D3))
