"""Clients that would have the daemon for themselves, by way of the bus. See siege.py for what holds in all of them."""
import os

import agent
from agent import LEASE, MANAGER, ROOT, Agent
from attacker import HUGE
from lab import addr, bus, check, device, equal, lease, leases, state, test, wait_free, wait_until, workers
from siege import siege

OBJECTS = ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"
EXPLAIN = ROOT, MANAGER, "Explain", "asa{sv}"
EXCEEDED = "org.iommud1.Error.LimitExceeded"
UNREAD_MAX = 24 << 20           # bytes of answers that lie unread in the bus; it hears no more of the daemon at 127 MiB


def unread():
    """Bytes of the daemon's that lie in the bus, as dbus-daemon tells."""
    (stats,) = bus().call("/org/freedesktop/DBus", "org.freedesktop.DBus.Debug.Stats", "GetConnectionStats", "s", (agent.SERVICE,),
                          "org.freedesktop.DBus")
    return stats["IncomingBytes"][1]


@test("intel")
def floods_of_calls_stop_nobody():
    nvme = addr("nvme")
    with siege(alice=(["nvme"], {})) as s:
        attackers = [Agent("alice") for _ in range(3)]
        for answered in True, False:
            for a in attackers:
                a.start("ask_often", *EXPLAIN, ([nvme], {}), 100, answered)
            s.hold()
            for a in attackers:
                a.result()
        # So many are under way as a user may have, and the rest was told so.
        answers = attackers[0].read_all()
        check(answers.get(EXCEEDED, 0) > 0 and answers.get("", 0) > 0, answers)
        # The attacker gets what is its own as soon as it behaves, and what it asked for is worked off.
        s.others_are_served()
        wait_until(lambda: not workers(), "the flood is over")
        for a in attackers[1:]:
            a.kill()
        attackers[0].use(attackers[0].acquire([nvme]), nvme)


@test("intel")
def answers_that_nobody_reads_are_bounded():
    nvme = addr("nvme")
    with siege(alice=(["nvme"], {})) as s:
        lazy = [Agent("alice") for _ in range(3)]
        most = 0
        for _ in range(10):
            for a in lazy:
                a.ask_often(*OBJECTS, "", (), 60)
            device(nvme)                # is answered when those are
            most = max(most, unread())
            check(most < UNREAD_MAX, f"{most} bytes are unread")
        check(most > UNREAD_MAX // 4, f"that was no attack: {most} bytes")
        s.hold()
        # Another client of the same user is served, though that user's others do not read.
        alice = Agent("alice")
        alice.use(alice.acquire([nvme]), nvme)


@test("intel")
def a_thousand_connections_are_one_user():
    nvme = addr("nvme")
    with siege(alice=(["nvme"], {})) as s:
        owner, many = Agent("alice"), Agent("alice")
        owner.acquire([nvme])
        for _ in range(5):
            n = many.connect_more(220)
            check(n >= 200, f"only {n} connections")
            many.ask_by_all(*EXPLAIN[:2], "Acquire", "asa{sv}", ([nvme], {"wait": ("t", 3600 * 10**6)}))
            s.hold()
            # Sixteen may wait, and some of those that have left just now may count still; the others were told at once.
            answers = many.answers_of_all()
            equal(set(answers), {EXCEEDED})
            check(n - 16 <= len(answers) < n, f"{len(answers)} of {n} were answered")
            many.leave()


@test("intel")
def requests_that_stop_half_way_hold_nobody_up():
    nvme = addr("nvme")
    acquire = *EXPLAIN[:2], "Acquire", "asa{sv}", ([nvme], {})
    with siege(alice=(["nvme"], {})) as s:
        alice = Agent("alice")
        null = [alice.open("/dev/null") for _ in range(8)]
        for _ in range(3):
            for how in "connected", "authenticating":
                for _ in range(10):
                    alice.begin_and_stop(how)
            for fds in (), null:
                for _ in range(10):
                    alice.begin_and_stop("half", acquire, fds)
            s.is_bounded()
            equal(state(nvme), "free")
            alice.leave()
        # One that asks, is heard, and is stopped there.
        stopped = Agent("alice")
        stopped.send_acquire([nvme])
        os.kill(stopped.pid, 19)
        wait_until(lambda: state(nvme) == "leased", "it has the device, and does not know")
        s.hold()
        stopped.kill()
        wait_free(nvme)


@test("intel")
def clients_that_vanish_at_each_step_leave_nothing():
    nvme, other = addr("nvme"), addr("nvme2")
    steps = [
        lambda a: a.connect_only(),
        lambda a: a.begin_and_stop("half", (*EXPLAIN[:2], "Acquire", "asa{sv}", ([nvme], {}))),
        lambda a: a.send_acquire([nvme]),
        lambda a: (a.send_acquire([nvme]), wait_until(lambda: state(nvme) != "free", "it is at work")),
        lambda a: (a.send_acquire([nvme]), wait_until(lambda: state(nvme) == "leased", "it is answered")),
        lambda a: a.acquire([nvme]),
        lambda a: a.use(a.acquire([nvme]), nvme),
        lambda a: a.send_add_devices((g := a.acquire([nvme])).path, g.lifeline, [other]),
        lambda a: (a.send_add_devices((g := a.acquire([nvme])).path, g.lifeline, [other]),
                   wait_until(lambda: state(other) != "free", "it is at work")),
        lambda a: a.remove_devices((g := a.acquire([nvme, other])).path, g.lifeline, [other]),
        lambda a: a.release((g := a.acquire([nvme])).path, g.lifeline),
        lambda a: a.send_acquire([nvme], {"wait": 3600 * 10**6}),
    ]
    with siege("LeasesPerUser=1 DevicesPerUser=2", alice=(["nvme", "nvme2"], {})) as s:
        for step in steps:
            a = Agent("alice")
            step(a)
            a.kill()
            s.bob.explain([s.device])       # is answered after what came before
            wait_until(lambda: not leases() and not workers(), "all of it is over")
            s.is_bounded()
        # Nothing of them counts against their user.
        a = Agent("alice")
        a.acquire([nvme, other])


@test("intel")
def messages_with_too_many_or_wrong_descriptors_are_refused():
    nvme = addr("nvme")
    with siege(alice=(["nvme"], {})) as s:
        owner, alice = Agent("alice"), Agent("alice")
        grant = owner.acquire([nvme])
        null = alice.open("/dev/null")
        for _ in range(20):
            for method in "Release", "TakeDevices", "RemoveDevices":
                body = (null, {}) if method == "Release" else (null, [nvme], {})
                signature = "ha{sv}" if method == "Release" else "hasa{sv}"
                equal(alice.call_with(grant.path, LEASE, method, signature, body, [null] * 15), "org.iommud1.Error.WrongLifeline")
            equal(alice.call_with(ROOT, MANAGER, "Explain", "asa{sv}", ([nvme], {}), [null] * 16), "")
        s.hold()
        # More than a message may have: the bus ends the connection.
        for n in 17, 200:
            crowd = Agent("alice")
            more = [crowd.open("/dev/null") for _ in range(n)]
            try:
                crowd.call_with(ROOT, MANAGER, "Explain", "asa{sv}", ([nvme], {}), more)
                raise AssertionError(f"{n} descriptors were taken")
            except RuntimeError:
                crowd.kill()
        equal(lease(grant.path)["State"], "active")
        owner.release(grant.path, grant.lifeline)


@test("intel")
def huge_arguments_are_refused_and_forgotten():
    nvme = addr("nvme")
    with siege(alice=(["nvme"], {})) as s:
        s.left = 3 * HUGE >> 10     # the C library gives the heap's end back when there is twice the largest block
        alice = Agent("alice")
        for i in range(7):
            try:
                alice.acquire_hugely(nvme, i)
                raise AssertionError("that was taken")
            except agent.BusError as e:
                check(e.name.rpartition(".")[2] in ("InvalidArgument", "InvalidArgs", "UnknownOption"), str(e)[:300])
                check(len(e.text) < 1024, "the refusal is as huge")
            s.is_bounded()
        equal(device(nvme)["State"], "free")
