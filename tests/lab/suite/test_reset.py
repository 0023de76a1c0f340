"""Resets: of whole reset sets, at the holder's wish, and between two owners; the numbers are those of the requirements."""
import signal

from agent import Agent
from lab import (addr, check, configure, device, driver_of, equal, lease, objects, popen, refused, replug, restart, run, state, test,
                 wait_free, wait_until)


@test("intel", "amd")
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


@test("intel", "amd")
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


@test("intel")
def reset_does_the_least_that_works():
    nvme, alone = addr("nvme"), addr("noreset")
    edu, others = addr("bridge.edu"), [addr("bridge.testdev"), addr("bridge.e1000")]
    configure(alice=(["nvme", "noreset", "bridge.edu", "bridge.testdev", "bridge.e1000"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme, alone, edu, *others], {"hand-over": "attached"})
    equal(alice.reset(grant.path, grant.lifeline, nvme), "function")
    # It has no reset of its own; its bus has, and all that is on it is the lease's.
    equal(alice.reset(grant.path, grant.lifeline, edu), "hot")
    with refused("NotSupported") as box:
        alice.reset(grant.path, grant.lifeline, alone)
    check("neither its slot nor" in box.error.text, box.error.text)
    equal(alice.ids(grant.fds[nvme]), (0x1B36, 0x0010), "the device goes on working")
    with refused("WrongLifeline"):
        alice.reset(grant.path, grant.iommufd, nvme)
    with refused("NoSuchDevice"):
        alice.reset(grant.path, grant.lifeline, addr("nvme2"))
    alice.kill()
    wait_free(nvme, alone, edu, *others)


@test("intel")
def S0_3_reset_needs_the_whole_set_or_the_descriptor():
    first, second, nvme = addr("multifunction.0"), addr("multifunction.1"), addr("nvme")
    configure(alice=(["nvme", "multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    with refused("NotSupported") as box:
        alice.reset(grant.path, grant.lifeline, nvme)
    check("attached" in box.error.text, box.error.text)
    # With reset-set the parked sibling's descriptor is ours: it can reset both, whoever has the other.
    grant = alice.acquire([first], {"reset-set": True})
    equal(alice.bind(grant.fds[first], grant.iommufd), "")
    equal(alice.reset(grant.path, grant.lifeline, first), "hot")
    # The sibling can be added though it is bound for that: it is let go of, and comes unbound.
    fds = alice.add_devices(grant.path, grant.lifeline, [second])
    equal(alice.bind(fds[second], grant.iommufd), "")
    with refused("NotSupported"):
        alice.reset(grant.path, grant.lifeline, first)
    alice.close(fds[second])
    wait_until(lambda: state(second) == "parked", "parked again")
    equal(alice.reset(grant.path, grant.lifeline, first), "hot")
    alice.kill()
    wait_free(first, second)
    equal((driver_of(first), driver_of(second)), ("e1000e", "e1000e"))


@test("intel")
def what_cannot_be_reset_goes_to_no_other_user():
    alone, edu, rest = addr("noreset"), addr("bridge.edu"), [addr("bridge.testdev"), addr("bridge.e1000")]
    names = ["noreset", "bridge.edu", "bridge.testdev", "bridge.e1000"]
    replug(alone)
    configure(alice=(names, {}), bob=(names, {}))
    equal((device(alone)["ResetMethods"], device(alone)["Clean"]), ([], True))
    alice, bob = Agent("alice"), Agent("bob")
    grant = alice.acquire([alone, edu], {"members": rest[1:]})
    alice.use(grant, edu)
    alice.release(grant.path, grant.lifeline)
    alice.close(*grant.fds.values())
    wait_free(alone, edu)
    # One was alone with no way to reset it; the other went with its whole bus, which was reset while it was idle.
    equal((device(alone)["Clean"], device(edu)["Clean"]), (False, True))
    for _ in range(2):
        with refused("DeviceNotClean") as box:
            bob.acquire([alone])
        check("uid 1000" in box.error.text and "Unclean=" in box.error.text, box.error.text)
        restart(signal.SIGKILL)
    bob.acquire([edu], {"members": rest[1:]})
    configure(bob=(["noreset"], {"Unclean": "yes"}))
    grant = bob.acquire([alone])
    bob.kill()
    wait_free(alone, edu)
    # Now its traces are the other's. What was unplugged has none.
    configure(alice=(["noreset"], {}))
    with refused("DeviceNotClean"):
        alice.acquire([alone])
    replug(alone)
    alice.acquire([alone])
