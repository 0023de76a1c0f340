"""The daemon is killed, or its worker, or its client, or several of them, before each step by which they change anything. Afterwards
nothing is lost, doubled or left over, each time."""
import contextlib
import os
import signal

from agent import Agent, BusError
from crash import Killer, Service
from invariants import lease_files
from lab import (DAEMON, PCI, addr, check, configure, device, driver_of, equal, give_to, read, restart, run, state, states,
                 stop, sysfs, test, unplug, wait_until, workers, write)
from test_fdstore import stored
from test_quota import NONE, quota as quota_of
from test_sriov import functions_of, make

NVME, FIRST, SECOND, PASIDS, ALONE, CARD = "nvme", "multifunction.0", "multifunction.1", "vfio-user", "busreset", "igb"
BESIDE, LATE = "bridge.edu", "bridge.e1000"     # of one group
VM = "/sys/fs/cgroup/vm"


# --- acquire and release, in each form ---

def lent(name, device, options=None):
    """To a client, until he ends."""
    def scenario(alice, window):
        with window:
            alice.acquire([addr(device)], options or {})
            window.end()
    scenario.__name__ = name
    return scenario


unbound = lent("unbound", ALONE, {"pasids": 2})
of_the_host = lent("of_the_host", NVME)         # has a driver that it comes from and goes back to
group = lent("group", ALONE, {"hand-over": "group"})
node = lent("node", ALONE, {"hand-over": "node"})


def attached(alice, window):
    with window:
        grant = alice.acquire([addr(ALONE)], {"hand-over": "attached"})
        alice.release(grant.path, grant.lifeline)
        window.end()


def reason_of(address):
    return device(address)["StateReason"]


def still_open(alice, window):
    """The daemon looks who has it, and again who has come to that."""
    def is_named(pid):
        return f"pid {pid} " in reason_of(addr(ALONE))
    grant = alice.acquire([addr(ALONE)])
    with window:
        alice.release(grant.path, grant.lifeline)
        window.wait_until(lambda: is_named(alice.pid), "its holder is named")
        child = alice.fork_keeping(grant.fds[addr(ALONE)])
        window.wait_until(lambda: is_named(child), "and the other")
        window.end()


still_open.only = ("worker-end",)               # to look changes nothing


# --- add, remove, park ---

def add(alice, window):
    grant = alice.acquire([addr(FIRST)], {"hand-over": "attached", "members": [addr(SECOND)]})
    with window:
        alice.add_devices(grant.path, grant.lifeline, [addr(SECOND)])


def remove(alice, window):
    grant = alice.acquire([addr(FIRST), addr(SECOND)], {"hand-over": "attached"})
    with window:
        alice.remove_devices(grant.path, grant.lifeline, [addr(FIRST)])
        alice.close(grant.fds[addr(FIRST)])
        window.wait_until(lambda: state(addr(FIRST)) == "parked", "parked")


def newcomer(alice, window):
    """It appears without a driver beside a device of a lease, is kept so, and the kernel chooses its driver in the end."""
    unplug(addr(LATE))
    alice.acquire([addr(BESIDE)])
    write("/sys/bus/pci/drivers_autoprobe", "0")
    with window:
        write("/sys/bus/pci/rescan", "1")
        window.wait_until(lambda: states().get(addr(LATE)) == "parked", "the newcomer is parked")
        window.end()
    equal(driver_of(addr(LATE)), "e1000")


def come_to_stay():
    """Whoever died, the device is as it was."""
    wait_until(lambda: not lease_files(), "all leases have ended")
    write("/sys/bus/pci/rescan", "1")
    write("/sys/bus/pci/drivers_autoprobe", "1")
    write(f"{PCI}../drivers_probe", addr(LATE))


newcomer.undo = come_to_stay


# --- resets ---

def reset(alice, window):
    grant = alice.acquire([addr(PASIDS)], {"hand-over": "attached"})
    with window:
        equal(alice.reset(grant.path, grant.lifeline, addr(PASIDS)), "function")


def reset_set(alice, window):
    """The sibling is parked and bound by the daemon, so that both can be reset; it is added, and parked again when it is closed."""
    with window:
        grant = alice.acquire([addr(FIRST)], {"reset-set": True})
        equal(alice.bind(grant.fds[addr(FIRST)], grant.iommufd), "")
        equal(alice.reset(grant.path, grant.lifeline, addr(FIRST)), "hot")
        fds = alice.add_devices(grant.path, grant.lifeline, [addr(SECOND)])
        alice.close(fds[addr(SECOND)])
        window.wait_until(lambda: state(addr(SECOND)) == "parked", "parked again")
        window.end()


# --- PASIDs and their limits ---

def pasids(alice, window):
    """By the daemon, for a client whose sandbox forbids the ioctl."""
    device = addr(PASIDS)
    with window:
        grant = alice.acquire([device], {"hand-over": "attached", "pasids": 2})
        alice.attach_pasid_by_daemon(grant.path, grant.lifeline, device, grant.found[device]["pt"], 5)
        alice.detach_pasid_by_daemon(grant.path, grant.lifeline, device, 5)
        window.end()


def quota(_, window):
    """A limit is what it was or what it is to be."""
    window.client = root = Agent("root")
    check(quota_of("/")["Limit"] in (NONE, 8), quota_of("/"))
    root.set_pasid_limit("/", NONE)
    with window:
        root.set_pasid_limit("/", 8, {"runtime": True})
        root.set_pasid_limit("/", 8)


# --- virtual functions ---

def change_functions(root, window, n):
    """Who asks need not know that a worker was killed, and with the daemon killed has to ask again."""
    window.client = root
    with window:
        try:
            root.set_virtual_functions(addr(CARD), n)
        except BusError as e:
            check("worker" not in e.text, e)
            raise


def functions_made(_, window):
    change_functions(Agent("root"), window, 2)


def functions_on_vfio(root):
    """One of two."""
    root.set_virtual_functions(addr(CARD), 2)
    made = functions_of(addr(CARD))
    give_to(made[0], "vfio-pci")
    KILLER.before.made = {a: sysfs()[a] for a in made}


def functions_removed(_, window):
    """What is on VFIO is taken off it, and is on it again if it stays."""
    root = Agent("root")
    functions_on_vfio(root)
    change_functions(root, window, 0)


def no_functions():
    KILLER.before.made = {}
    make(addr(CARD), 0)
    write(f"{PCI}{addr(CARD)}/sriov_drivers_autoprobe", "1")


functions_made.undo = functions_removed.undo = no_functions


# --- revocation ---

def in_vm(alice):
    """A cgroup of its own, which can be killed as a whole."""
    os.makedirs(VM, exist_ok=True)
    write(f"{VM}/cgroup.procs", str(alice.pid))
    return alice.acquire([addr(ALONE)])


def revoke(grant, window):
    with window:
        Agent("root").revoke(grant.path, "now", 1000)
        window.wait_until(lambda: not lease_files(), "it has ended")


def revoked(alice, window):
    """The client does not let go in time, and is killed."""
    revoke(in_vm(alice), window)


def revoked_with_its_cgroup(alice, window):
    """The descriptor is in a socket, so that nobody is seen to have it: it helps only to kill them all."""
    configure(alice=(NAMES, {"AtDeadline": "kill-cgroup"}))
    grant = in_vm(alice)
    alice.fork_keeping(*alice.queue(grant.fds[addr(ALONE)]))
    revoke(grant, window)


revoked_with_its_cgroup.only = ("kill_cgroup",)


# --- the daemon's start ---

def started(alice, window):
    """With a lease that goes on, and one whose client ended meanwhile."""
    bob = Agent("bob")
    alice.acquire([addr(ALONE)], {"pasids": 2})
    bob.acquire([addr(PASIDS)], {"pasids": 1})
    stop(signal.SIGKILL)
    bob.kill()
    with window:
        window.start()
        window.wait_until(lambda: len(lease_files()) == 1, "bob's has ended")


def is_in_unbind(worker):
    with contextlib.suppress(OSError):      # it has ended
        return "vfio_unregister_group_dev" in read(f"/proc/{worker}/stack")


def started_with_a_worker_stuck(alice, window):
    """That of an earlier daemon: the kernel holds it in the unbind until a descriptor in a socket, which nobody can see, is closed."""
    bob = Agent("bob")
    grant = alice.acquire([addr(ALONE)], {"pasids": 2})
    alice.fork_keeping(*alice.queue(grant.fds[addr(ALONE)]))
    restart(signal.SIGKILL)
    alice.release(grant.path, grant.lifeline)
    wait_until(lambda: any(map(is_in_unbind, workers())), "a worker is stuck")
    stop(signal.SIGKILL)
    with window:
        window.start()
    # Its device is left alone, and all others can be had.
    bob.acquire([addr(PASIDS)])
    check("an earlier iommud" in reason_of(addr(ALONE)), device(addr(ALONE)))


started_with_a_worker_stuck.only = "file-replace", "worker-start"     # the others have nothing to do with the worker


def gate_loaded(_, window):
    """Nothing of it is in the kernel yet."""
    stop()
    equal(run([DAEMON, "--unload-gate"]).returncode, 0)
    with window:
        window.start()


KILLER = Killer()
NAMES = [NVME, FIRST, SECOND, PASIDS, ALONE, BESIDE, LATE]


SCENARIOS = {
    "lease": (unbound, of_the_host, attached, group, node, pasids), "held": (still_open,), "add": (add,), "park": (remove, newcomer),
    "reset": (reset, reset_set), "limit": (quota,), "removal": (functions_removed,), "making": (functions_made,),
    "revoke": (revoked, revoked_with_its_cgroup), "start": (started, gate_loaded), "stuck": (started_with_a_worker_stuck,),
}


def register(scenario, what):
    def kill():
        configure(alice=(NAMES, {"Pasids": "4", "AtDeadline": "kill"}), bob=(NAMES, {"Pasids": "4"}))
        give_to(addr(FIRST), "")        # its driver takes seconds to come and go; its sibling keeps it
        KILLER.kill(scenario, what)
        give_to(addr(FIRST), "e1000e")
    kill.__module__, kill.__name__ = __name__, scenario.__name__
    test("crash")(kill)


for done, scenarios in SCENARIOS.items():
    for each in scenarios:
        register(each, done)


@test("crash")
def somebody_died_at_every_point():
    """In the tests before this one: the build's list has none that no scenario comes to."""
    KILLER.check_all_were_reached()


# --- under systemd ---

# What the daemon has of a lease goes into systemd's store and is taken out of it.
kept = lent("kept", NVME, {"hand-over": "attached"})


def kept_for_reset(alice, window):
    with window:
        grant = alice.acquire([addr(FIRST)], {"reset-set": True})
        alice.add_devices(grant.path, grant.lifeline, [addr(SECOND)])
        window.end()


def nothing_kept():
    wait_until(lambda: not lease_files() and stored() == [], "systemd has nothing any more")


kept.undo = kept_for_reset.undo = nothing_kept


@test("systemd")
def what_systemd_keeps_is_what_leases_have():
    configure(alice=([NVME, FIRST, SECOND], {}))
    service = Service()
    try:
        for scenario in kept, kept_for_reset:
            service.kill(scenario, "keep")
    finally:
        service.end()
