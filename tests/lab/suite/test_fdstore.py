"""What the daemon keeps for leases outlives it in systemd's store: over a restart, a crash, a stop until the next start, a new binary."""
import contextlib
import json
import os
import shutil
import socket

from agent import Agent
from lab import (DAEMON, HELLO, QEMU, STATE, addr, check, configure, driver_of, equal, files, give_to, group_of, has_owner, lease, pid, popen,
                 refused, run, state, test, wait_for_another, wait_free, wait_until, write)
from test_handover import virtual_functions

DROP_IN = "/run/systemd/system/iommud.service.d/test.conf"


def systemctl(*args):
    run(["systemctl", *args], check=True)


def stored():
    """The names in systemd's store, without the one of the watch."""
    out = run(["systemd-analyze", "fdstore", "--json=short", "--no-pager", "iommud.service"], check=True).stdout
    names = [entry["fdname"] for entry in json.loads(out)]
    equal(names.count("watch"), 1, names)
    return sorted(n for n in names if n != "watch")


def name(grant, kind, which):
    return f"{grant.id}/{kind}/{str(which).replace(':', '-')}"


def said(since):
    return run(["journalctl", "-u", "iommud", "-o", "cat", "--no-pager", f"--after-cursor={since}"]).stdout


def cursor():
    return run(["journalctl", "-n", "0", "--show-cursor", "--no-pager"]).stdout.split("-- cursor: ")[1].strip()


def upgrade():
    """Another file in its place, as a package manager does it."""
    shutil.copy2(DAEMON, DAEMON + ".new")
    os.rename(DAEMON + ".new", DAEMON)
    systemctl("restart", "iommud")


WAYS = {
    "restart": lambda: systemctl("restart", "iommud"),
    "crash": lambda: systemctl("kill", "-s", "KILL", "iommud"),
    "stop and start": lambda: (systemctl("stop", "iommud"), systemctl("start", "iommud")),
    "upgrade": upgrade,
}


def over(way):
    was = pid()
    systemctl("reset-failed", "iommud")     # so many starts in so short a time are only a test's
    WAYS[way]()
    wait_for_another(was)
    equal(os.stat(f"/proc/{pid()}/exe").st_ino, os.stat(DAEMON).st_ino, "the binary that runs")


def nothing_stays(*addresses):
    wait_free(*addresses)
    wait_until(lambda: stored() == [], lambda: f"nothing in the store but the watch; there is {stored()}")


@test("systemd")
def an_attached_lease_can_be_reset_and_extended():
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme", "nvme2"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "attached"})
    kept = [name(grant, "device", nvme), name(grant, "iommufd", grant.found[nvme]["ioas"])]
    for way in WAYS:
        over(way)
        equal(lease(grant.path)["State"], "active", way)
        equal(alice.reset(grant.path, grant.lifeline, nvme), "function", way)
        equal(stored(), kept, way)
    fds = alice.add_devices(grant.path, grant.lifeline, [other])
    equal(alice.ids(fds[other]), (0x1B36, 0x0010))
    wait_until(lambda: stored() == sorted([*kept, name(grant, "device", other)]), stored)
    over("crash")
    # What leaves is let go of by everybody, systemd too.
    alice.remove_devices(grant.path, grant.lifeline, [nvme])
    alice.close(grant.fds[nvme])
    wait_free(nvme)
    equal(stored(), sorted([name(grant, "device", other), kept[1]]))
    alice.kill()
    nothing_stays(nvme, other)
    equal((driver_of(nvme), driver_of(other)), ("nvme", "nvme"))


@test("systemd")
def a_reset_set_stays_claimed():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    grant = alice.acquire([first], {"reset-set": True})
    equal(alice.bind(grant.fds[first], grant.iommufd), "")
    for way in WAYS:
        over(way)
        equal((lease(grant.path)["ResetExclusive"], state(second)), (True, "parked"), way)
        equal(alice.reset(grant.path, grant.lifeline, first), "hot", way)
    # The parked one is let go of for its holder, and claimed anew when he has closed it.
    fds = alice.add_devices(grant.path, grant.lifeline, [second])
    equal(alice.bind(fds[second], grant.iommufd), "")
    over("crash")
    with refused("NotSupported"):
        alice.reset(grant.path, grant.lifeline, first)
    alice.close(fds[second])
    wait_until(lambda: state(second) == "parked", "parked")
    equal(alice.reset(grant.path, grant.lifeline, first), "hot")
    alice.kill()
    nothing_stays(first, second)
    equal((driver_of(first), driver_of(second)), ("e1000e", "e1000e"))


@test("systemd")
def a_group_stays_claimed_although_its_holder_has_closed_it():
    nvme = addr("nvme")
    node = f"/dev/vfio/{group_of(nvme)}"
    configure(alice=(["nvme"], {}))
    alice, root = Agent("alice"), Agent("root")
    grant = alice.acquire([nvme], {"hand-over": "group"})
    alice.close(grant.fds["container"], grant.fds[group_of(nvme)])
    for way in WAYS:
        equal(root.can_open(node), "EBUSY")
        over(way)
        equal(stored(), [name(grant, "container", ""), name(grant, "group", nvme)], way)
    equal(root.can_open(node), "EBUSY")
    alice.kill()
    nothing_stays(nvme)


@test("systemd")
def what_was_not_taken_yet_can_be_taken():
    igb = addr("igb")
    fixed = [addr(n) for n in ("nvme", "nvme2", "noreset", "noreset2.0", "noreset2.1", "busreset", "multifunction.0", "multifunction.1")]
    with virtual_functions(igb, 7) as functions:
        devices = functions + fixed
        configure(alice=(devices, {}))
        alice = Agent("alice")
        grant = alice.acquire(devices)
        (rest,) = set(devices) - set(grant.fds)
        for way in WAYS:
            over(way)
            # Of what its holder has, no copy is in the way of its release.
            equal(stored(), [name(grant, "device", rest)], way)
        more = alice.take_devices(grant.path, grant.lifeline)
        equal(set(more), {rest})
        equal(alice.bind(more[rest], grant.iommufd), "")
        wait_until(lambda: stored() == [], "it has left the store with the hand-over")
        alice.kill()
        nothing_stays(*devices)


@test("systemd")
def a_client_that_ended_meanwhile_is_cleaned_up():
    nvme, first, second = addr("nvme"), addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["nvme", "multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    alice.acquire([nvme], {"hand-over": "attached"})
    alice.acquire([first], {"reset-set": True})
    systemctl("stop", "iommud")
    alice.kill()
    systemctl("start", "iommud")
    wait_until(has_owner, "a new daemon")
    nothing_stays(nvme, first, second)
    equal((driver_of(nvme), driver_of(first), driver_of(second)), ("nvme", "e1000e", "e1000e"))


@contextlib.contextmanager
def planted(*entries):
    """Descriptors that come beside those of the store: (path, name)."""
    os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
    with open(DROP_IN, "w", encoding="utf-8") as f:
        f.write("[Service]\n" + "".join(f"OpenFile={path}:{name}\n" for path, name in entries))
    systemctl("daemon-reload")
    try:
        yield
    finally:
        os.unlink(DROP_IN)
        systemctl("daemon-reload")


@test("systemd")
def what_is_not_what_its_name_says_is_closed():
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme", "nvme2"], {}))
    alice = Agent("alice")
    grant, more = alice.acquire([nvme], {"hand-over": "attached"}), alice.acquire([other], {"hand-over": "attached"})
    kept = stored()
    forged = [("/dev/null", name(grant, "device", nvme)), ("/dev/iommu", name(grant, "device", nvme)),
              ("/dev/iommu", name(grant, "device", addr("noreset"))), ("/dev/iommu", f"{'0' * 32}/iommufd/1"),
              ("/dev/iommu", name(grant, "container", "")), ("/dev/null", "nonsense"), ("/dev/null", "watch")]
    with planted(*forged):
        since = cursor()
        over("restart")
        text = wait_until(lambda: said(since).count("Closing the descriptor") == len(forged) and said(since), lambda: said(since))
    for _, n in forged:
        check(f"the descriptor {n} of" in text, n, "is not in", text)
    # Those that are good are as good as before, over the next restart too.
    for way in "crash", "restart":
        equal(stored(), kept)
        for g, a in (grant, nvme), (more, other):
            equal(alice.reset(g.path, g.lifeline, a), "function")
        over(way)
    alice.kill()
    nothing_stays(nvme, other)


def monitor(path, command):
    """Says something to QEMU's monitor and returns what comes up to the next prompt."""
    with socket.socket(socket.AF_UNIX) as s:
        wait_until(lambda: s.connect_ex(path) == 0, "QEMU listens")
        heard = b""
        while heard.count(b"(qemu) ") < 2:
            if heard.endswith(b"(qemu) "):
                s.sendall(command.encode() + b"\n")
            data = s.recv(4096)
            check(data, "QEMU's monitor closed:", heard)
            heard += data
        return heard.decode()


@test("systemd")
def a_running_qemu_notices_nothing():
    nvme, path = addr("nvme"), "/tmp/monitor"
    configure(alice=(["nvme"], {"MemoryLock": "8G"}))
    process = popen(["iommuctl", "run", "-d", nvme, "--", *QEMU, "-S", "-monitor", f"unix:{path},server=on,wait=off"], "alice")
    wait_until(lambda: os.path.exists(path), "QEMU's monitor")
    check("paused" in monitor(path, "info status"), "QEMU is ready and has the device")
    for way in WAYS:
        over(way)
        equal((state(nvme), process.poll()), ("leased", None), way)
    monitor(path, "cont")
    out = process.communicate()[0].decode()
    check(HELLO in out, "it did not boot from the disk:", out)
    nothing_stays(nvme)
    equal(driver_of(nvme), "nvme")


@test("systemd")
def the_descriptors_of_a_lease_that_is_lost_are_closed():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "attached"})
    systemctl("stop", "iommud")
    write(f"{STATE}/leases/{grant.id}", "nonsense")
    systemctl("start", "iommud")
    wait_until(lambda: stored() == [], lambda: stored())
    equal((lease(grant.path), files()), ({}, [f"leases/{grant.id}.bad", f"lifelines/{grant.id}"]))
    # So nobody has the device when its client has gone: it can be unbound.
    alice.kill()
    give_to(nvme, "nvme")
    for f in files():
        os.unlink(f"{STATE}/{f}")
