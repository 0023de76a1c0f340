"""Whole groups and whole reset sets, as the source threads ask for them; the numbers are those of the requirements."""
import os
import subprocess

from agent import Agent
from lab import (PCI, addr, check, configure, device, driver_of, equal, lease, objects, override_of, popen, read, refused, run, state,
                 states, test, wait_free, wait_until, write)


@test("intel")
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


@test("intel")
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


@test("intel")
def S0_2_S3_1_a_group_is_owned_with_nothing_handed_out():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    grant = alice.acquire([first, second], {"hand-over": "none"})
    equal(set(grant.fds), {"lifeline"})
    equal((driver_of(first), driver_of(second)), ("vfio-pci", "vfio-pci"))
    with refused("DeviceBusy"):
        Agent("root").acquire([second])


@test("intel")
def S1_2_a_driverless_member_stays_driverless():
    edu, testdev, e1000 = addr("bridge.edu"), addr("bridge.testdev"), addr("bridge.e1000")
    configure(alice=(["bridge.edu", "bridge.e1000"], {}))
    alice = Agent("alice")
    alice.acquire([edu], {"members": [e1000]})
    equal((driver_of(testdev), state(testdev)), ("", "parked"))
    check(override_of(testdev), "an override keeps it driverless")
    write(PCI + "../drivers_probe", testdev)
    equal(driver_of(testdev), "")


@test("intel")
def S1_3_S1_4_a_newcomer_is_taken_for_the_lease():
    edu, e1000 = addr("bridge.edu"), addr("bridge.e1000")
    configure(alice=(["bridge.edu"], {}))
    write(PCI + e1000 + "/remove", "1")
    wait_until(lambda: not os.path.exists(PCI + e1000), "removed")
    wait_until(lambda: e1000 not in states(), "forgotten")
    alice = Agent("alice")
    alice.acquire([edu])
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
    if not driver_of(e1000):    # it had none when it was taken
        write(PCI + "../drivers_probe", e1000)
    equal(driver_of(e1000), "e1000")


@test("intel")
def S0_1_S0_5_qemu_resets_a_card_of_which_it_has_one_function():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {"MemoryLock": "1G"}))
    told = run(["iommuctl", "explain", "--reset-set", first], "alice", check=True).stdout
    check(second in told and "parked" in told, told)
    command = ["iommuctl", "run", "--reset-set", "-d", first, "--", "qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-m", "64",
               "-nodefaults", "-display", "none", "-serial", "none", "-monitor", "none", "-no-reboot", "-trace", "vfio_pci_hot_reset*",
               "-object", "iommufd,id=i0,fd={iommufd}", "-device", "vfio-pci,id=d0,iommufd=i0,fd={0}"]
    process = popen(command, "alice")
    lines = iter(lambda: process.stdout.readline().decode(), "")
    result = next((line for line in lines if "vfio_pci_hot_reset_result" in line), "")
    check("Success" in result, "QEMU says", result)
    (path,) = [p for p, i in objects().items() if "/lease/" in p]
    equal(lease(path)["ResetExclusive"], True)
    equal((state(first), state(second)), ("leased", "parked"))
    process.kill()
    wait_free(first, second)
    equal((driver_of(first), driver_of(second)), ("e1000e", "e1000e"))


@test("intel")
def S0_1_S0_3_whether_hot_reset_can_work_is_known_beforehand():
    first, second, alone = addr("multifunction.0"), addr("multifunction.1"), addr("noreset")
    configure(alice=(["multifunction.0", "multifunction.1", "noreset"], {}))
    alice = Agent("alice")
    equal(sorted(device(first)["ResetSet"]), sorted([first, second]))
    equal(device(alone)["ResetSet"], [alone])
    with refused("NotSupported") as box:
        alice.acquire([alone], {"reset-set": True})
    check("root bus" in box.error.text, box.error.text)
    # A sibling is judged as if it were asked for.
    configure(alice=(["multifunction.0"], {}))
    with refused("NotAuthorized", "InteractiveAuthorizationRequired"):
        alice.acquire([first], {"reset-set": True})
    equal((driver_of(first), driver_of(second)), ("e1000e", "e1000e"))
