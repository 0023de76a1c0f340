"""Clients that would have what others have: by their leases, their names, their numbers and their descriptors. See siege.py."""
import contextlib
import ctypes
import os
import signal

import agent
from agent import LEASE, Agent
from lab import (DENIED, addr, check, device, equal, lease, leases, refused, reload, state, states, test, wait_free, wait_until,
                 write)
from siege import siege

GROUPS = "/sys/fs/cgroup"


def every_method(path, fd, nvme):
    """All that the lease has, by whoever shows this descriptor."""
    return [(path, LEASE, "Release", "ha{sv}", (fd, {})), (path, LEASE, "TakeDevices", "hasa{sv}", (fd, [], {})),
            (path, LEASE, "AddDevices", "hasa{sv}", (fd, [nvme], {})), (path, LEASE, "RemoveDevices", "hasa{sv}", (fd, [nvme], {})),
            (path, LEASE, "Reset", "hsa{sv}", (fd, nvme, {})), (path, LEASE, "AttachPasid", "hsuua{sv}", (fd, nvme, 1, 1, {})),
            (path, LEASE, "DetachPasid", "hsua{sv}", (fd, nvme, 1, {}))]


@test("intel")
def nobody_does_anything_with_the_lease_of_another():
    nvme, other = addr("nvme"), addr("nvme2")
    with siege(alice=(["nvme"], {}), bob=(["nvme2"], {})) as s:
        alice, thief = Agent("alice"), Agent("bob")
        grant, own = alice.acquire([nvme]), thief.acquire([other])
        before = lease(grant.path)
        theirs = alice.hand(thief, grant.fds[nvme], grant.iommufd)
        for fd in own.lifeline, own.iommufd, own.fds[other], *theirs:
            for call in every_method(grant.path, fd, nvme):
                with refused("WrongLifeline"):
                    thief.call(*call)
        with refused(*DENIED):
            thief.revoke(grant.path)
        s.is_bounded()
        equal(lease(grant.path), before)
        thief.close(*theirs)
        alice.release(grant.path, grant.lifeline)


@test("intel")
def forged_paths_are_no_leases():
    nvme = addr("nvme")
    with siege(alice=(["nvme"], {})):
        alice, thief = Agent("alice"), Agent("bob")
        grant = alice.acquire([nvme])
        fd = thief.open("/dev/null")
        (lifeline,) = alice.hand(thief, grant.lifeline)
        base = grant.path.rpartition("/")[0]
        forged = [f"{base}/{grant.id.upper()}", f"{base}/{grant.id}/x", f"{base}/{grant.id[:-1]}", f"{base}/{grant.id}0", base,
                  f"{base}/{'0' * 32}", f"{base}s/{grant.id}", f"{base}/x{grant.id[1:]}"]
        for path in forged:
            if path == grant.path:
                continue                # an id without letters
            # Not even with the right lifeline.
            for call in every_method(path, fd, nvme) + every_method(path, lifeline, nvme):
                with refused("UnknownObject", "UnknownMethod", "UnknownInterface"):
                    thief.call(*call)
        equal(lease(grant.path)["State"], "active")
        thief.release(grant.path, lifeline)
        thief.close(lifeline)


@contextlib.contextmanager
def delegated(user, *names):
    """A cgroup that is this user's, as systemd gives one to a user's manager; and below it what that user has made."""
    top = f"{GROUPS}/user.slice/user-{user.uid}.slice/user@{user.uid}.service"
    os.makedirs(top)
    os.chown(top, user.uid, user.uid)
    made = []
    try:
        for name in names:
            path = top
            for part in name.split("/"):
                path += "/" + part
                if not os.path.exists(path):
                    os.mkdir(path)
                    made.append(path)
        yield [f"{top}/{name}" for name in names]
    finally:
        with contextlib.suppress(ProcessLookupError):
            write(f"{GROUPS}/cgroup.procs", str(user.pid))
        for path in [*reversed(made), top, os.path.dirname(top), f"{GROUPS}/user.slice"]:
            with contextlib.suppress(OSError):
                os.rmdir(path)


@test("intel")
def names_that_look_like_others_open_nothing():
    nvme = addr("nvme")
    with siege():
        write("/etc/iommud/reservations.d/web.conf", f"[Device]\nAddress={nvme}\n[Client]\nUnit=web.service\n")
        reload()
        alice = Agent("alice")
        names = "web.service", "system.slice/web.service", "system.slice/web.service/web.service", "app.slice/web.service"
        with delegated(alice, *names) as made:
            for path in made:
                write(f"{path}/cgroup.procs", str(alice.pid))
                # systemd's units are those of the system's manager, whatever a user calls its own.
                with refused(*DENIED):
                    alice.acquire([nvme])
                check(lease_of(nvme) == "/", path)
        # Nor is the name of the daemon to be had, or one that begins with it.
        for name in "org.iommud1", "org.iommud1.Manager":
            try:
                (result,) = alice.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su", (name, 7),
                                       "org.freedesktop.DBus")
                check(name != "org.iommud1", f"{name} was given: {result}")
            except agent.BusError as e:
                check(e.name.endswith("AccessDenied"), str(e))


def lease_of(address):
    return device(address)["Lease"]


@test("intel")
def who_moves_to_another_cgroup_takes_nothing_along():
    nvme = addr("nvme")
    with siege(alice=(["nvme"], {})) as s:
        alice = Agent("alice")
        with delegated(alice, "a", "b") as (first, second):
            write(f"{first}/cgroup.procs", str(alice.pid))
            grant = alice.acquire([nvme])
            was = lease(grant.path)["CGroup"]
            equal(was, first.removeprefix(GROUPS))
            for path in second, first, GROUPS:
                write(f"{path}/cgroup.procs", str(alice.pid))
                s.is_bounded()
                equal(lease(grant.path)["CGroup"], was, "what is charged")
            alice.release(grant.path, grant.lifeline)
            alice.kill()
            wait_free(nvme)


def fork_as(pid):
    """fork(), by clone3() with set_tid, which root may."""
    tid = (ctypes.c_int * 1)(pid)
    args = (ctypes.c_uint64 * 11)(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(tid), 1, 0)
    result = ctypes.CDLL(None, use_errno=True).syscall(435, args, ctypes.sizeof(args))
    check(result >= 0, f"clone3: {os.strerror(ctypes.get_errno())}")
    return result


def with_pid(pid, user):
    """A client that has this number."""
    fork, os.fork = os.fork, lambda: fork_as(pid)
    try:
        who = Agent(user)
    finally:
        os.fork = fork
    equal(who.pid, pid)
    return who


@test("intel")
def who_has_the_number_of_a_client_has_nothing_of_it():
    nvme = addr("nvme")
    with siege(alice=(["nvme"], {"AtDeadline": "kill"})) as s:
        # Not a child: its process group would keep the number.
        alice, keeper = Agent("alice"), Agent("alice")
        grant = alice.acquire([nvme])
        alice.hand(keeper, grant.lifeline, grant.fds[nvme])
        alice.kill()
        heir = with_pid(alice.pid, "bob")
        equal((lease(grant.path)["Pid"], lease(grant.path)["Uid"]), (heir.pid, 1000))
        # The right to the lease is not his, and its end does not reach him.
        with refused(*DENIED):
            heir.revoke(grant.path)
        with refused(*DENIED, "DeviceBusy"):
            heir.acquire([nvme])
        Agent("root").revoke(grant.path, "a test", 0)
        s.is_bounded()
        keeper.kill()
        wait_free(nvme)
        equal(heir.explain([addr("noreset")])[0], True, "he lives, and is served")


@test("intel")
def a_descriptor_that_was_passed_on_counts_against_who_had_the_lease():
    nvme, other = addr("nvme"), addr("nvme2")
    with siege("DevicesPerUser=1", alice=(["nvme", "nvme2"], {}), bob=(["nvme2"], {})):
        alice, friend = Agent("alice"), Agent("bob")
        grant = alice.acquire([nvme])
        (passed,) = alice.hand(friend, grant.fds[nvme])
        alice.release(grant.path, grant.lifeline)
        alice.close(grant.fds[nvme], grant.lifeline, grant.iommufd)
        wait_until(lambda: [h for h in lease(grant.path)["Holders"] if h[0] == friend.pid], "who has it is named")
        with refused("LimitExceeded"):
            alice.acquire([other])
        # It takes nothing of his friend's.
        theirs = friend.acquire([other])
        friend.release(theirs.path, theirs.lifeline)
        friend.close(*theirs.fds.values())
        wait_free(other)
        check(state(nvme) in ("releasing", "broken"), device(nvme))
        friend.close(passed)
        wait_free(nvme)
        alice.acquire([other])
        equal(len(leases()), 1, states())
