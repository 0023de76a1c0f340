"""A descriptor that a client keeps after its lease: as long as it exists nobody gets the device.

The kernel pins the device for every open descriptor, bound or not, and one that is not bound yet could be bound later. So the
proof that a device is free is its unbind, and the device stays "releasing" until then.
"""
import signal

from agent import Agent, kill
from lab import (addr, cdev_of, check, configure, device, driver_of, end_clients, equal, give_to, lease, override_of, refused, restart, start,
                 state, stop, test,
                 wait_free, wait_until)

LIMIT = "DevicesPerUser=1"


def rights(*names, **more):
    configure(LIMIT, alice=(["nvme", "nvme2"], {}), bob=(["nvme", "nvme2"], {}), **more)


def is_still_open(address):
    """After a minute, which a slow machine may take, it is called broken."""
    check(state(address) in ("releasing", "broken"), device(address))


def nobody_gets_it(address):
    is_still_open(address)
    for user in "alice", "bob", "root":
        who = Agent(user)
        # Alice has reached her limit by the very same lease, and that may be what she is told.
        errors = ("DeviceBusy", "DeviceBroken") + (("LimitExceeded",) if user == "alice" else ())
        with refused(*errors):
            who.acquire([address])
        with refused(*errors):
            who.acquire([address], {"wait": 200000})
        who.kill()
    with refused("LimitExceeded") as why:
        Agent("alice").acquire([addr("nvme2")])
    check("being released" in why.text, why.text)
    is_still_open(address)


def next_one_gets_it(address, driver="nvme"):
    wait_free(address)
    equal(driver_of(address), driver)
    bob = Agent("bob")
    grant = bob.acquire([address])
    equal(bob.use(grant, address)[0], 0x1B36)
    bob.kill()
    wait_free(address)
    equal(driver_of(address), driver)


def end_lease(alice, grant, how):
    if how == "Release":
        alice.release(grant.path, grant.lifeline)
    alice.kill()
    wait_until(lambda: lease(grant.path).get("State") == "releasing", "the lease is releasing")


def kept_in_a_child(how):
    nvme = addr("nvme")
    rights()
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    child = alice.fork_keeping(grant.fds[nvme])
    end_lease(alice, grant, how)
    nobody_gets_it(nvme)
    wait_until(lambda: [h for h in lease(grant.path)["Holders"] if h[0] == child and h[1] == 1000 and h[3] == nvme], "the child is named")
    wait_until(lambda: f"pid {child} " in device(nvme)["StateReason"], lambda: f"the child is named: {device(nvme)['StateReason']}")
    nobody_gets_it(nvme)
    kill(child)
    next_one_gets_it(nvme)


@test("intel")
def kept_in_a_child_after_release():
    kept_in_a_child("Release")


@test("intel")
def kept_in_a_child_after_the_client_died():
    kept_in_a_child("death")


@test("intel")
def kept_bound_in_a_child():
    nvme = addr("nvme")
    rights()
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    equal(alice.bind(grant.fds[nvme], grant.iommufd), "")
    child = alice.fork_keeping(grant.fds[nvme], grant.iommufd)
    end_lease(alice, grant, "death")
    nobody_gets_it(nvme)
    kill(child)
    next_one_gets_it(nvme)


@test("intel")
def kept_unbound_and_bound_late():
    # Bound after the lease's end, the old descriptor takes nothing from anybody: the device was still nobody else's.
    nvme = addr("nvme")
    rights()
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    alice.release(grant.path, grant.lifeline)
    equal(state(nvme), "releasing")
    check(alice.bind(grant.fds[nvme], grant.iommufd) in ("", "EINVAL", "ENODEV"), "an odd error of BIND")
    nobody_gets_it(nvme)
    alice.close(grant.fds[nvme])
    next_one_gets_it(nvme)
    # It was the last one; only the iommufd is left, which reaches nothing.
    equal(alice.bind(grant.iommufd, grant.iommufd), "ENOTTY")


@test("intel")
def queued_in_a_socket():
    nvme = addr("nvme")
    rights()
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    ends = alice.queue(grant.fds[nvme])
    child = alice.fork_keeping(*ends)
    end_lease(alice, grant, "Release")
    nobody_gets_it(nvme)
    wait_until(lambda: "no process" in device(nvme)["StateReason"], lambda: device(nvme)["StateReason"])
    nobody_gets_it(nvme)
    kill(child)
    next_one_gets_it(nvme)


def over_a_restart(queued, sig, times=1):
    nvme = addr("nvme")
    rights()
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    child = alice.fork_keeping(*(alice.queue(grant.fds[nvme]) if queued else (grant.fds[nvme],)))
    end_lease(alice, grant, "Release")
    for _ in range(times):
        restart(sig)
        nobody_gets_it(nvme)
    wait_until(lambda: device(nvme)["StateReason"], "there is a reason")
    nobody_gets_it(nvme)
    kill(child)
    next_one_gets_it(nvme)


@test("intel")
def kept_in_a_child_over_a_crash():
    over_a_restart(False, signal.SIGKILL)


@test("intel")
def kept_in_a_child_over_a_stop():
    over_a_restart(False, signal.SIGTERM)


@test("intel")
def queued_in_a_socket_over_a_crash():
    # Nobody can see it now: the watch went with the old daemon and /proc shows nothing. A worker waits in the unbind.
    over_a_restart(True, signal.SIGKILL)


@test("intel")
def queued_in_a_socket_over_two_crashes():
    # The worker of the daemon before cannot be killed and still has the device's lock.
    over_a_restart(True, signal.SIGKILL, 2)


@test("intel")
def queued_in_a_socket_over_a_stop():
    over_a_restart(True, signal.SIGTERM)


@test("intel")
def closed_while_the_daemon_is_down():
    nvme = addr("nvme")
    rights()
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    child = alice.fork_keeping(grant.fds[nvme])
    end_lease(alice, grant, "Release")
    stop(signal.SIGKILL)
    kill(child)
    start()
    next_one_gets_it(nvme)


@test("intel")
def device_that_stays_on_its_vfio_driver():
    # Between two leases it is unbound all the same, or an old descriptor would reach into the next one's.
    nvme = addr("nvme")
    rights(**{"alice_keep": (["nvme"], {"KeepDriver": "yes"})})
    root = Agent("root")
    try:
        grant = root.acquire([nvme], {"restore": False})
        root.release(grant.path, grant.lifeline)
        root.kill()
        wait_free(nvme)
        equal((driver_of(nvme), override_of(nvme)), ("vfio-pci", "vfio-pci"))
        alice = Agent("alice")
        grant = alice.acquire([nvme])
        child = alice.fork_keeping(grant.fds[nvme])
        end_lease(alice, grant, "Release")
        nobody_gets_it(nvme)
        kill(child)
        next_one_gets_it(nvme, "vfio-pci")
        # What somebody opened between the leases, as root may, is not given to the next one either.
        opener = Agent("root")
        fd = opener.open(cdev_of(nvme))
        with refused("DeviceBusy") as why:
            Agent("bob").acquire([nvme])
        check(f"pid {opener.pid}" in why.text, why.text)
        opener.close(fd)
        next_one_gets_it(nvme, "vfio-pci")
    finally:
        end_clients()
        wait_free(nvme)
        give_to(nvme, "nvme")
