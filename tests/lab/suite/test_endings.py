"""However a client ends, its device ends up free on its host driver."""
import signal
import time

from agent import Agent, BusError
from lab import (addr, check, configure, driver_of, equal, files, lease, leases, override_of, popen, qemu, refused,
                 restart, run, start, state, stop, test, wait_free, wait_until, workers)


def back(address, driver):
    wait_free(address)
    equal((driver_of(address), override_of(address)), (driver, ""), address)
    wait_until(lambda: not files(), lambda: f"no files are left: {files()}")


def slow_device():
    """It takes seconds to come back from each of its resets, so a worker is surely in the kernel."""
    run(["/lab/ctl", "vfio-user-slow", "slow-reset", "3"], check=True)
    return addr("vfio-user-slow")


@test("intel")
def qemu_is_killed():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"MemoryLock": "8G"}))
    # -S: it never ends by itself. It has the device when it has pinned the guest's memory for it.
    process = qemu(nvme, "-S")
    wait_until(lambda: process.poll() is not None or pinned(process.pid) >= 128 << 10, "QEMU has the device")
    check(process.poll() is None, "QEMU ended")
    equal((driver_of(nvme), state(nvme)), ("vfio-pci", "leased"))
    kill_child(process)
    back(nvme, "nvme")


def pinned(p):
    """KiB."""
    with open(f"/proc/{p}/status", encoding="utf-8") as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("VmPin"))


def kill_child(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


@test("intel")
def iommuctl_acquire_is_killed():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    process = popen(["iommuctl", "acquire", nvme], "alice")
    told = process.stdout.readline().decode().strip()
    check(len(told) == 32, "iommuctl says", told)
    equal((leases()[0].endswith(told), state(nvme)), (True, "leased"))
    kill_child(process)
    back(nvme, "nvme")


@test("intel")
def iommuctl_acquire_is_terminated():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    process = popen(["iommuctl", "acquire", nvme], "alice")
    process.stdout.readline()
    process.terminate()
    equal(process.wait(), 0, "its exit status")
    back(nvme, "nvme")


@test("intel")
def iommuctl_run_is_killed_before_it_has_the_device():
    slow = slow_device()
    configure(alice=(["vfio-user-slow"], {}))
    process = popen(["iommuctl", "run", "-d", slow, "--", "sleep", "1000"], "alice")
    wait_until(lambda: state(slow) == "preparing", "a worker is at it")
    kill_child(process)
    wait_until(lambda: state(slow) != "preparing", "the worker is done")
    back(slow, "")


@test("intel")
def client_leaves_the_bus_and_keeps_its_lease():
    # A bus connection is no lease: QEMU has none at all.
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    alice.disconnect()
    # Whatever the bus tells the daemon about that has come when another client's call is answered.
    Agent("bob").explain([nvme])
    equal((state(nvme), lease(grant.path)["State"]), ("leased", "active"))
    equal(alice.use(grant, nvme)[0], 0x1B36)
    with refused("DeviceBusy"):
        Agent("root").acquire([nvme])
    alice.kill()
    back(nvme, "nvme")


@test("intel")
def client_is_killed_right_after_it_asked():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    for _ in range(5):
        alice = Agent("alice")
        alice.send_acquire([nvme])
        alice.kill()
    # The daemon answers in order, so it has read all five.
    Agent("bob").explain([nvme])
    wait_until(lambda: not leases() and not workers(), "all is over")
    back(nvme, "nvme")
    # And nothing of them counts any more.
    configure("LeasesPerUser=1", alice=(["nvme"], {}))
    alice = Agent("alice")
    equal(alice.use(alice.acquire([nvme]), nvme)[0], 0x1B36)
    alice.kill()
    back(nvme, "nvme")


@test("intel")
def client_is_killed_while_the_worker_works():
    slow = slow_device()
    configure(alice=(["vfio-user-slow"], {}), bob=(["nvme"], {}))
    alice = Agent("alice")
    began = time.monotonic()
    alice.send_acquire([slow])
    wait_until(lambda: state(slow) == "preparing", "a worker is at it")
    alice.kill()
    # Meanwhile the others are served.
    bob = Agent("bob")
    grant = bob.acquire([addr("nvme")])
    check(state(slow) == "preparing" or time.monotonic() - began > 8, "they had to wait for the worker")
    bob.release(grant.path, grant.lifeline)
    bob.kill()
    wait_until(lambda: state(slow) != "preparing", "the worker is done")
    back(slow, "")


@test("intel")
def daemon_is_killed_while_the_worker_works():
    slow = slow_device()
    configure(alice=(["vfio-user-slow"], {}))
    alice = Agent("alice")
    alice.send_acquire([slow])
    wait_until(lambda: state(slow) == "preparing" and workers(), "a worker is at it")
    restart(signal.SIGKILL)
    # Nobody gets it before the half-made lease is undone, which may be at any moment.
    root = Agent("root")
    try:
        grant = root.acquire([slow])
    except BusError as e:
        equal(e.name, "org.iommud1.Error.DeviceBusy")
    else:
        equal(leases(), [grant.path], "the half-made lease has ended")
        root.kill()
    back(slow, "")


@test("intel")
def daemon_is_killed_and_the_lease_lives():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}), bob=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    for sig in signal.SIGKILL, signal.SIGTERM:
        restart(sig)
        equal((state(nvme), lease(grant.path)["State"], lease(grant.path)["Uid"]), ("leased", "active", 1000))
        with refused("DeviceBusy"):
            Agent("bob").acquire([nvme])
    equal(alice.use(grant, nvme)[0], 0x1B36)
    alice.disconnect()
    alice.release(grant.path, grant.lifeline)
    alice.kill()
    back(nvme, "nvme")


@test("intel")
def client_ends_while_the_daemon_is_down():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    for sig in signal.SIGKILL, signal.SIGTERM:
        alice = Agent("alice")
        alice.acquire([nvme])
        stop(sig)
        alice.kill()
        start()
        back(nvme, "nvme")


@test("intel")
def revoked_lease_ends_and_its_holder_is_named():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice, root = Agent("alice"), Agent("root")
    grant = alice.acquire([nvme])
    with refused("NotAuthorized", "InteractiveAuthorizationRequired"):
        Agent("bob").revoke(grant.path)
    root.revoke(grant.path, "the admin needs it")
    equal(lease(grant.path)["State"], "releasing")
    check("the admin needs it" in lease(grant.path)["StateReason"], lease(grant.path))
    wait_until(lambda: [h for h in lease(grant.path)["Holders"] if h[0] == alice.pid], "the holder is named")
    alice.kill()
    back(nvme, "nvme")
