"""A lease is taken back from a client that does not let go: asked, killed where the policy says so, or broken with its holders named."""
import os
import subprocess
import time

import agent
from agent import LONG, Agent, gone
from lab import (ETC, PCI, addr, cgroup, check, configure, device, driver_of, equal, has_owner, lease, override_of, pid, pull, pulled, read,
                 refused, reload, restart, run, signals, state, states, test, wait_for_another, wait_free, wait_until, write)
from test_hotplug import machine

HOUR = 3600 * 10**6


def kill_all_at_the_deadline():
    write(f"{ETC}/iommud.conf", "[Revocation]\nAtDeadline=kill\n")
    reload()


def ended(who):
    """The process of an agent was killed."""
    check(gone(who.pid), f"{who.user}'s client lives")
    who.kill()                  # reaps it


def lives(pid):
    try:
        os.kill(pid, 0)
        return read(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def wait_broken(path, *pids):
    """Until the lease is broken; returns its properties. These processes, and no others, are named."""
    wait_until(lambda: lease(path).get("State") == "broken", lambda: f"broken; it is {lease(path)}")
    now = lease(path)
    equal(sorted({h[0] for h in now["Holders"]}), sorted(pids), "those who hold it")
    for p in pids:
        check(f"pid {p} " in now["StateReason"], now["StateReason"])
    return now


# --- asking ---

@test("intel", "amd")
def unmodified_qemu_unplugs_when_it_is_asked():
    first, second = addr("nvme2"), addr("nvme")
    configure(alice=(["nvme", "nvme2"], {"MemoryLock": "1G"}))
    with machine(first) as vm:
        wait_until(lambda: "cold" in vm.monitor.plugged(), "QEMU has the first")
        equal(vm.iommuctl("plug", "--bus", "port1", second)[0], 0)
        path = device(second)["Lease"]
        Agent("root").revoke(path, "the host is to be serviced", HOUR)
        # This slot needs no guest's consent. The other one does, and there is no guest.
        wait_free(second)
        equal((driver_of(second), override_of(second)), ("nvme", ""))
        equal([d for d in vm.monitor.plugged() if d.startswith("iommud-")], [])
        equal((lease(path)["State"], lease(path)["Devices"]), ("active", [first]))


@test("intel", "systemd")
def the_request_reaches_who_listens_in_every_form():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    for form in "unbound", "attached", "group":
        alice = Agent("alice")
        grant = alice.acquire([nvme], {"hand-over": form})
        if form == "group":
            mine = alice.use_group(grant.fds["container"], next(fd for name, fd in grant.fds.items() if name.isdigit()), nvme)
        else:
            mine = grant.fds[nvme]
        if form == "unbound":
            alice.bind(mine, grant.iommufd)
        event = alice.listen(mine)
        with signals(f"type='signal',interface='{agent.LEASE}',member='RevokeRequested'") as heard:
            Agent("root").revoke(grant.path, "make room", HOUR)
            wait_until(lambda: "make room" in next(heard), "the signal")
        equal(alice.wait_for_request(event), 1, form)
        equal(lease(grant.path)["State"], "active")
        # When the last device is closed there is nothing left to wait for: the lease ends, although its lifeline is held.
        if form == "unbound":
            alice.close(mine)
            wait_until(lambda: not lease(grant.path), "the lease has ended")
        alice.kill()
        wait_free(nvme)


@test("systemd")
def the_deadline_comes_over_a_restart_of_the_service():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    for seconds, commands in (15, [["restart"], ["kill", "-s", "KILL"]]), (1, [["stop"], ["start"]]):
        alice = Agent("alice")
        grant = alice.acquire([nvme])
        Agent("root").revoke(grant.path, "make room", seconds * 10**6)
        deadline = lease(grant.path)["RevokeDeadline"]
        for command in commands:
            was = pid() if has_owner() else 0
            run(["systemctl", *command, "iommud"], check=True)
            if command == ["stop"]:
                wait_until(lambda: time.time() * 10**6 > deadline, "the deadline is over")
                continue
            wait_for_another(was)
            equal(lease(grant.path)["RevokeDeadline"], deadline)
        wait_until(lambda: lease(grant.path)["State"] in ("releasing", "broken"), lambda: f"the deadline counts: {lease(grant.path)}")
        check(time.time() * 10**6 >= deadline, "it came too early")
        alice.kill()
        wait_free(nvme)
        equal(driver_of(nvme), "nvme")


# --- who is killed ---

@test("intel", "amd")
def a_planted_descriptor_kills_nobody():
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme"], {"AtDeadline": "kill-cgroup"}), bob=(["nvme2"], {}))
    alice, bob, elsewhere = Agent("alice"), Agent("bob"), Agent("alice")
    with cgroup("vm", alice.pid, bob.pid):
        grant = alice.acquire([nvme])
        # Bob's is even in her cgroup, and the other one is hers and is not.
        planted = alice.hand(bob, grant.fds[nvme])
        (kept,) = alice.hand(elsewhere, grant.fds[nvme])
        Agent("root").revoke(grant.path, "now", 0)
        ended(alice)
        now = wait_broken(grant.path, bob.pid, elsewhere.pid)
        check("now" in now["StateReason"] and bob.alive and lives(bob.pid) and lives(elsewhere.pid), now)
        equal(state(nvme), "broken")
        with refused("DeviceBroken") as box:
            Agent("root").acquire([nvme])
        check(f"pid {bob.pid} " in box.text, box.text)
        # Others are served meanwhile, bob too.
        theirs = bob.acquire([other])
        equal(bob.use(theirs, other)[0], 0x1B36)
        elsewhere.close(kept)
        # It stays what it is over a restart, and comes back when the last one lets go.
        restart()
        equal((lease(grant.path)["State"], state(nvme), state(other)), ("broken", "broken", "leased"))
        bob.close(*planted)
        wait_free(nvme)
        equal((driver_of(nvme), override_of(nvme)), ("nvme", ""))
        wait_until(lambda: not lease(grant.path), "the lease has ended")


@test("intel", "amd")
def at_the_deadline_the_client_and_its_own_are_killed():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"AtDeadline": "kill"}))
    alice, bystander = Agent("alice"), Agent("alice")
    with cgroup("vm", alice.pid, bystander.pid):
        grant = alice.acquire([nvme])
        child = alice.fork_keeping(grant.fds[nvme])
        Agent("root").revoke(grant.path, "make room", HOUR)
        equal(lease(grant.path)["State"], "active")
        check(lives(child), "nobody is killed before the deadline")
        # Brought forward.
        Agent("root").revoke(grant.path, "make room", 1)
        ended(alice)
        wait_free(nvme)
        check(not lives(child), "the child lives")
        check(lives(bystander.pid), "one who has nothing of it was killed")
        equal(driver_of(nvme), "nvme")


@test("intel")
def however_many_they_are():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"AtDeadline": "kill"}))
    alice = Agent("alice")
    with cgroup("vm", alice.pid):
        grant = alice.acquire([nvme])
        children = [alice.fork_keeping(grant.fds[nvme]) for _ in range(40)]
        Agent("root").revoke(grant.path, "make room", 0)
        ended(alice)
        wait_free(nvme)
        equal([c for c in children if lives(c)], [])


@test("intel")
def the_policy_for_all_kills_too_and_a_reservation_can_say_otherwise():
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme"], {}), bob=(["nvme2"], {"AtDeadline": "report"}))
    kill_all_at_the_deadline()
    alice, bob = Agent("alice"), Agent("bob")
    with cgroup("a", alice.pid), cgroup("b", bob.pid):
        mine, theirs = alice.acquire([nvme]), bob.acquire([other])
        for grant in mine, theirs:
            Agent("root").revoke(grant.path, "now", 0)
        ended(alice)
        wait_free(nvme)
        wait_broken(theirs.path, bob.pid)
        check(lives(bob.pid), "bob was killed")
        # The policy may change its mind: a broken lease can be revoked once more.
        write(f"{ETC}/reservations.d/bob.conf", read(f"{ETC}/reservations.d/bob.conf").replace("report", "kill") + "\n")
        reload()
        Agent("root").revoke(theirs.path, "now in earnest", 0)
        ended(bob)
        wait_free(other)


@test("intel", "amd")
def a_cgroup_is_killed_where_a_reservation_says_so():
    nvme = addr("nvme")
    for grant_says in "kill", "kill-cgroup":
        configure(alice=(["nvme"], {"AtDeadline": grant_says}))
        alice = Agent("alice")
        with cgroup("vm", alice.pid):
            grant = alice.acquire([nvme])
            # Nobody is to be seen with it: it lies in a socket, and the child has the socket.
            child = alice.fork_keeping(*alice.queue(grant.fds[nvme]))
            Agent("root").revoke(grant.path, "now", 0)
            ended(alice)
            if grant_says == "kill":
                wait_broken(grant.path)
                check("no process that can be seen" in lease(grant.path)["StateReason"], lease(grant.path))
                check(lives(child), "the child was killed")
                agent.kill(child)
            else:
                check(gone(child), "the child lives")
            wait_free(nvme)


@test("intel")
def who_ignores_everything_is_named():
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme"], {}), bob=(["nvme2"], {}))
    alice, bob = Agent("alice"), Agent("bob")
    grant = alice.acquire([nvme])
    event = None
    alice.bind(grant.fds[nvme], grant.iommufd)
    event = alice.listen(grant.fds[nvme])
    Agent("root").revoke(grant.path, "please", 1000)
    equal(alice.wait_for_request(event), 1)
    wait_until(lambda: lease(grant.path)["State"] in ("releasing", "broken"), "the deadline counts")
    theirs = bob.acquire([other])
    now = wait_broken(grant.path, alice.pid)
    check("please" in now["StateReason"], now)
    equal(state(nvme), "broken")
    check(f"pid {alice.pid} " in device(nvme)["StateReason"], device(nvme))
    bob.release(theirs.path, theirs.lifeline)
    alice.close(grant.fds[nvme])
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("intel")
def who_lets_go_in_time_is_not_killed_however_long_the_device_takes():
    slow = addr("vfio-user-slow")
    run(["/lab/ctl", "vfio-user-slow", "slow-reset", "0"], check=True)
    configure(alice=(["vfio-user-slow"], {"AtDeadline": "kill"}))
    alice = Agent("alice")
    grant = alice.acquire([slow])
    # Longer than any rung waits.
    run(["/lab/ctl", "vfio-user-slow", "slow-reset", "14"], check=True)
    alice.close(grant.fds[slow])
    result = run(["iommuctl", "revoke", "--deadline", "0", grant.id])
    equal((result.returncode, lease(grant.path), lives(alice.pid)), (0, {}, True), result.stdout)
    wait_free(slow)


@test("intel")
def the_ladder_goes_on_after_a_restart():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"AtDeadline": "kill"}))
    alice = Agent("alice")
    # Its pid is all that the file has of it, and what tells it from a later one: it is in no cgroup of its own.
    grant = alice.acquire([nvme])
    Agent("root").revoke(grant.path, "later", 4 * 10**6)
    restart()
    ended(alice)
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("intel")
def iommuctl_revokes():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    result = run(["iommuctl", "revoke", "--deadline", "1", "--reason", "maintenance", grant.id[:8]])
    check(result.returncode == 1 and f"pid {alice.pid}" in result.stdout and "broken" in result.stdout, result.returncode, result.stdout)
    alice.close(grant.fds[nvme])
    wait_free(nvme)
    grant = alice.acquire([nvme])
    result = run(["iommuctl", "revoke", "--no-wait", "--deadline", "3600", grant.id[:8]])
    equal((result.returncode, lease(grant.path)["State"]), (0, "active"))
    check(lease(grant.path)["RevokeDeadline"] > 0, lease(grant.path))
    alice.close(grant.fds[nvme])
    equal(run(["iommuctl", "revoke", grant.id[:8]]).returncode in (0, 1), True)
    wait_free(nvme)


# --- what is pulled ---

@test("intel", "amd")
def a_pulled_card_goes_up_the_ladder_at_once():
    nvme, other = addr("nvme"), addr("nvme2")
    for grant_says in "report", "kill":
        configure(alice=(["nvme"], {"AtDeadline": grant_says}), bob=(["nvme2"], {}))
        alice, bob = Agent("alice"), Agent("bob")
        grant = alice.acquire([nvme])
        alice.bind(grant.fds[nvme], grant.iommufd)
        remover = pull(nvme)
        if grant_says == "report":
            wait_until(lambda: state(nvme) == "broken", "broken")
            check(f"pid {alice.pid} " in device(nvme)["StateReason"], device(nvme))
            equal((lease(grant.path)["State"], remover.poll()), ("active", None))
            theirs = bob.acquire([other])
            equal(bob.use(theirs, other)[0], 0x1B36)
            bob.kill()
            alice.close(grant.fds[nvme])
        else:
            ended(alice)
        equal(remover.wait(LONG), 0)
        wait_until(lambda: not os.path.exists(PCI + nvme), "it is gone")
        write("/sys/bus/pci/rescan", "1")
        alice.kill()
        wait_until(lambda: (states().get(nvme), driver_of(nvme)) == ("free", "nvme"), "the host has the next one")
        wait_free(other)


@test("intel")
def an_unbind_by_hand_is_no_different():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    unbinder = subprocess.Popen(["sh", "-c", f"echo {nvme} > /sys/bus/pci/drivers/vfio-pci/unbind"], start_new_session=True)
    wait_until(lambda: state(nvme) == "broken", "broken")
    check(f"pid {alice.pid} " in device(nvme)["StateReason"], device(nvme))
    alice.close(grant.fds[nvme])
    equal(unbinder.wait(LONG), 0)
    wait_free(nvme)
    equal((driver_of(nvme), override_of(nvme)), ("nvme", ""))


@test("pulled")
def a_card_that_answers_no_more():
    dead, nvme = addr("vfio-user"), addr("nvme")
    configure(alice=(["vfio-user"], {"AtDeadline": "kill"}), bob=(["nvme"], {}))
    alice, bob = Agent("alice"), Agent("bob")
    grant = alice.acquire([dead])
    alice.bind(grant.fds[dead], grant.iommufd)
    run(["/lab/ctl", "vfio-user", "vanish"], check=True)
    pulled.add(dead)
    remover = pull(dead)
    ended(alice)
    theirs = bob.acquire([nvme])
    equal(bob.use(theirs, nvme)[0], 0x1B36)
    bob.kill()
    equal(remover.wait(LONG), 0)
    wait_until(lambda: not lease(grant.path), "the lease has ended")
    wait_free(nvme)


# --- within the unit's sandbox ---

KEEPS_IT_IN_A_SOCKET = """
import os, signal, socket
fds = dict(w.rsplit("=", 1) for w in os.environ["IOMMUD_FDS"].split())
fd = int(fds.popitem()[1])
a, b = socket.socketpair()
socket.send_fds(a, [b"x"], [fd])
for n in map(int, os.listdir("/proc/self/fd")):
    if n > 2 and n not in (a.fileno(), b.fileno(), int(fds["lifeline"])):
        try:
            os.close(n)
        except OSError:
            pass
os.fork()
while True:
    signal.pause()
"""


@test("systemd")
def a_service_is_killed():
    nvme = addr("nvme")
    for grant_says, program in ("kill", ["sleep", "infinity"]), ("kill-cgroup", ["python3", "-c", KEEPS_IT_IN_A_SOCKET]):
        configure(alice=(["nvme"], {"AtDeadline": grant_says}))
        run(["systemd-run", "-q", "--collect", "--uid=alice", "--unit=vm", "iommuctl", "run", "-d", nvme, "--", *program], check=True)
        wait_until(lambda: state(nvme) == "leased", "it has the device")
        path = device(nvme)["Lease"]
        equal(lease(path)["CGroup"], "/system.slice/vm.service")
        Agent("root").revoke(path, "now", 0)
        wait_free(nvme)
        equal(driver_of(nvme), "nvme")
        wait_until(lambda: run(["systemctl", "show", "-P", "LoadState", "vm"]).stdout.strip() == "not-found", "the service is gone")
