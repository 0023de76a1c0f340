"""The forms in which devices are handed over, and how many."""
import contextlib
import os
import signal

from agent import Agent
from lab import (PCI, addr, cdev_of, check, configure, device, driver_of, end_clients, equal, group_path, lease, override_of, refused,
                 restart, settle, state, states, test, wait_free, wait_until, write)
import agent


@test("intel")
def unbound_gives_an_iommufd_and_a_device_that_only_its_holder_binds():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"MemoryLock": "64M"}))
    alice = Agent("alice")
    equal(alice.memlock(), agent.MEMLOCK)
    grant = alice.acquire([nvme])
    equal(set(grant.fds), {"lifeline", "iommufd", nvme})
    equal(alice.memlock(), 64 << 20, "the limit of locked memory")
    found = grant.found[nvme]
    equal((found["driver"], found["group"]), ("vfio-pci", group_path(nvme)))
    check(nvme in found["reset-set"], found)
    equal(alice.use(grant, nvme), (0x1B36, 0x0010))
    # The second BIND is an error, so what QEMU gets has to be unbound.
    equal(alice.bind(grant.fds[nvme], grant.iommufd), "EINVAL")
    alice.kill()
    wait_free(nvme)


@test("intel")
def attached_is_ready_for_use():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"MemoryLock": "64M"}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "attached"})
    found = grant.found[nvme]
    check({"devid", "ioas", "pt"} <= set(found), found)
    check(found["devid"] > 0 and found["ioas"] > 0 and found["pt"] > 0, found)
    equal(alice.ioas_map(grant.iommufd, found["ioas"]), "", "IOAS_MAP")
    equal(alice.ioas_map(grant.iommufd, found["ioas"]), "EEXIST", "IOAS_MAP of the same addresses")
    equal(alice.ids(grant.fds[nvme]), (0x1B36, 0x0010))
    equal(alice.bind(grant.fds[nvme], grant.iommufd), "EINVAL", "a second BIND")
    equal((lease(grant.path)["HandOver"], state(nvme)), ("attached", "leased"))
    alice.kill()
    wait_free(nvme)
    equal((driver_of(nvme), override_of(nvme)), ("nvme", ""))


@test("intel")
def attached_ends_over_a_restart():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "attached"})
    restart(signal.SIGKILL)
    equal(lease(grant.path)["State"], "active")
    equal(alice.ioas_map(grant.iommufd, grant.found[nvme]["ioas"]), "")
    alice.kill()
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("intel")
def none_gives_the_lifeline_only():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "none"})
    equal(set(grant.fds), {"lifeline"})
    equal((driver_of(nvme), state(nvme), lease(grant.path)["HandOver"]), ("vfio-pci", "leased", "none"))
    for who in alice, Agent("bob"):
        equal(who.can_open(cdev_of(nvme)), "EACCES")
    with refused("DeviceBusy"):
        Agent("root").acquire([nvme])
    alice.release(grant.path, grant.lifeline)
    alice.kill()
    wait_free(nvme)
    equal((driver_of(nvme), override_of(nvme)), ("nvme", ""))


@test("intel")
def several_devices_in_one_lease_end_together():
    devices = [addr(n) for n in ("nvme", "nvme2", "noreset")]
    configure(alice=(["nvme", "nvme2", "noreset"], {}))
    alice = Agent("alice")
    grant = alice.acquire(devices)
    equal(set(grant.fds), {"lifeline", "iommufd", *devices})
    for a in devices:
        equal((state(a), device(a)["Lease"]), ("leased", grant.path))
        alice.use(grant, a)
    # A descriptor of one of them that is still open holds up this one and not the others.
    child = alice.fork_keeping(grant.fds[devices[0]])
    alice.kill()
    wait_until(lambda: driver_of(devices[1]) == "nvme", "the second is back on its driver")
    equal(state(devices[0]), "releasing")
    agent.kill(child)
    wait_free(*devices)


@test("intel")
def one_that_cannot_be_had_leaves_all_alone():
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme", "nvme2"], {}), bob=(["nvme2"], {}))
    bob, alice = Agent("bob"), Agent("alice")
    bob.acquire([other])
    with refused("DeviceBusy"):
        alice.acquire([nvme, other])
    equal((driver_of(nvme), state(nvme)), ("nvme", "free"))


@contextlib.contextmanager
def virtual_functions(address, n):
    write(f"{PCI}{address}/sriov_numvfs", str(n))
    try:
        functions = [os.path.basename(os.readlink(f"{PCI}{address}/virtfn{i}")) for i in range(n)]
        settle()                # their own driver takes them
        wait_until(lambda: set(functions) <= set(states()), "the daemon knows them")
        yield functions
    finally:
        end_clients()
        wait_until(lambda: all(states().get(f) == "free" for f in functions), "they are free")
        write(f"{PCI}{address}/sriov_numvfs", "0")
        wait_until(lambda: not set(functions) & set(states()), "the daemon knows that they are gone")
        wait_until(lambda: device(address)["VirtualFunctions"] == 0, lambda: device(address))
        Agent("root").explain([address])


@test("intel")
def physical_function_with_virtual_ones_is_in_use():
    igb = addr("igb")
    with virtual_functions(igb, 2) as functions:
        wait_until(lambda: device(igb)["VirtualFunctions"] == 2, lambda: device(igb))
        equal(device(functions[0])["PhysicalFunction"], igb)
        with refused("DeviceInUse") as why:
            Agent("root").acquire([igb])
        check("virtual function" in why.text, why.text)


@test("intel")
def what_does_not_fit_into_a_message_is_taken_later():
    # 16 descriptors fit: 14 devices beside lifeline and iommufd.
    igb = addr("igb")
    fixed = [addr(n) for n in ("nvme", "nvme2", "noreset", "noreset2.0", "noreset2.1", "busreset", "multifunction.0", "multifunction.1")]
    with virtual_functions(igb, 7) as functions:
        devices = functions + fixed
        configure(alice=(devices, {}))
        alice = Agent("alice")
        grant = alice.acquire(devices)
        equal(len(grant.fds), 16)
        check({"lifeline", "iommufd"} < set(grant.fds), grant.fds)
        more = alice.take_devices(grant.path, grant.lifeline)
        equal(set(more) | set(grant.fds), {"lifeline", "iommufd", *devices})
        equal(len(more), 1)
        grant.fds.update(more)
        equal({state(a) for a in devices}, {"leased"})
        equal(len(lease(grant.path)["Groups"]), 13)
        for f in functions:
            equal(alice.use_of(grant.fds[f], grant.iommufd), (0x8086, 0x10CA))
        # Each is handed out once.
        equal(alice.take_devices(grant.path, grant.lifeline), {})
        for a in devices[0], igb:
            with refused("NoSuchDevice"):
                alice.take_devices(grant.path, grant.lifeline, [a])
        alice.kill()
        wait_free(*devices)
