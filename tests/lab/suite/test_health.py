"""iommud --check and Health on real kernels: what is off is named, and a machine on which all is well is said to be."""
import fcntl
import os
import re

import agent
from agent import Agent
from lab import (DAEMON, ETC, PCI, STATE, addr, bus, check, configure, driver_of, equal, lease, override_of, read, reload, run, start,
                 state, stop, test, wait_free, wait_until, write)

OFF = ("warn", "block")


def examine():
    """What iommud --check says: exit status, {(code, subject)} of what is off, and all of it."""
    result = run([DAEMON, "--check"])
    lines = [re.fullmatch(r"(\S+) +(.*) \[(\S+)\]", line) for line in result.stdout.splitlines()]
    found = {(m[3], m[2].split(": ")[0] if re.match(r"[\w./:-]+: ", m[2]) else "") for m in lines if m and m[1] in OFF}
    return result.returncode, found, result.stdout


def health():
    """What the daemon says."""
    return {(code, subject) for code, severity, subject, *_ in bus().get_all(agent.ROOT, agent.MANAGER)["Health"] if severity in OFF}


def both(*expected):
    """Both say this and nothing else."""
    status, found, text = examine()
    equal((status, found, health()), (1, set(expected), set(expected)), text)


def all_is_well():
    status, found, text = examine()
    equal((status, found, health()), (0, set(), set()), text)
    check("all well: " in text, text)


@test("intel", "amd", "systemd")
def well_with_leases_and_without():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    all_is_well()
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    alice.use(grant, nvme)
    all_is_well()
    equal(run(["iommuctl", "health"], "bob").stdout, "all well\n")
    alice.kill()
    wait_free(nvme)
    all_is_well()


@test("none")
def no_iommu():
    status, found, text = examine()
    equal((status, found), (1, {("no-iommu", "")}), text)
    equal(health(), {("no-iommu", "")})


@test("virtio")
def interrupts_that_are_not_remapped():
    both(("no-interrupt-isolation", ""))


@test("stock")
def kernel_without_iommufd():
    status, found, text = examine()
    equal((status, found), (0, set()), text)
    check("[no-iommufd]" in text and "legacy interface" in text, text)


@test("intel")
def unsafe_interrupts():
    parameter = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
    was = read(parameter)
    write(parameter, "Y")
    try:
        equal(examine()[:2], (1, {("unsafe-interrupts", "")}))
    finally:
        write(parameter, was)


@test("intel")
def reservation_of_what_is_not_there():
    configure(alice=(["0000:ee:1f.7"], {}))
    both(("reserves-nothing", "0000:ee:1f.7"))


@test("intel", "systemd")
def configuration_that_was_not_reloaded():
    configure()
    write(f"{ETC}/iommud.conf", "[Limits]\nLeasesPerUser=3\n")
    equal((examine()[:2], health()), ((1, {("not-reloaded", "")}), set()))
    reload()
    all_is_well()
    write(f"{ETC}/iommud.conf", "[Limits]\nLeasesPerUser=many\n")
    status, found, text = examine()
    equal((status, {code for code, _ in found}), (1, {"bad-configuration"}), text)
    check("iommud.conf:2: " in text, text)


@test("intel")
def devices_in_the_wrong_hands():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    grant = alice.acquire([first], {"members": [second]})
    equal(driver_of(second), "vfio-pci")
    write(f"{PCI}{second}/driver/unbind", second)
    wait_until(lambda: ("wrong-driver", second) in health(), "the daemon has heard of it")
    both(("wrong-driver", second))
    alice.release(grant.path, grant.lifeline)
    alice.kill()
    wait_free(first, second)
    write(f"{PCI}{first}/driver_override", "iommud-held")
    try:
        # The kernel tells nobody; udev does when it is asked to.
        run(["udevadm", "trigger", "--action=change", f"{PCI}{first}"])
        wait_until(lambda: ("left-held", first) in health(), "the daemon has looked again")
    finally:
        write(f"{PCI}{first}/driver_override", "\n")
        run(["udevadm", "trigger", "--action=change", f"{PCI}{first}"])
    wait_until(lambda: not health(), "and once more")
    equal(override_of(first), "")


@test("intel")
def lease_files():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    path = f"{STATE}/leases/{grant.id}"
    os.rename(path, path + ".gone")
    both(("state-missing", grant.id), ("state-unknown", f"leases/{grant.id}.gone"))
    os.rename(path + ".gone", path)
    all_is_well()
    # Without the daemon the files are all that is known: of a lease that waits for it, and of one that cannot be trusted.
    stop()
    good = read(path) + "\n"
    equal(examine()[:2], (1, {("not-running", "")}))
    write(path, good[:len(good) // 2])
    equal(examine()[:2], (1, {("state-untrusted", f"leases/{grant.id}")}))
    equal(read(path), good[:len(good) // 2].strip("\n"))
    write(path, good)
    start()
    equal((lease(grant.path)["State"], examine()[0]), ("active", 0))
    alice.kill()
    wait_free(nvme)


@test("intel")
def descriptors_that_a_restart_would_lose():
    # This daemon was not started by systemd.
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "attached"})
    both(("not-kept", grant.id))


@test("systemd")
def descriptors_that_systemd_keeps():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    Agent("alice").acquire([nvme], {"hand-over": "attached"})
    all_is_well()


@test("intel")
def worker_of_an_earlier_daemon():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    alice.acquire([nvme])
    alice.kill()
    wait_free(nvme)
    locks = os.listdir(f"{STATE}/locks")
    with open(f"{STATE}/locks/{locks[0]}", "r+", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        both(("stuck-worker", locks[0]))
    all_is_well()


@test("intel")
def device_that_somebody_does_not_let_go_of():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    child = alice.fork_keeping(grant.fds[nvme])
    Agent("root").revoke(grant.path, "a test says so", 0)
    wait_until(lambda: state(nvme) == "broken", "it is broken")
    check(("broken", nvme) in health(), health())
    agent.kill(child)
    alice.kill()
    wait_free(nvme)
    all_is_well()
