"""PASIDs are booked per cgroup, against every level up to the root. That the kernel holds a lease to what it has booked is not shown here."""
import contextlib
import os
import re
import signal

import agent
from agent import Agent
from lab import (ETC, addr, bus, check, configure, equal, lease, leases, objects, pid, refused, reload, remove_cgroup, restart, run, start, state,
                 stop, test, wait_for_another, wait_free, wait_until, write)

CGROUPS = "/sys/fs/cgroup"
TOP, VMS = "/lab.slice", "/lab.slice/lab-vms.slice"
A, B = VMS + "/a.service", VMS + "/b.service"
DEVICES = "nvme", "nvme2", "busreset"
NONE = 2 ** 64 - 1


def quota(cgroup):
    """The properties of its object, {} if it has none."""
    path = f"{agent.ROOT}/quota/" + "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in cgroup)
    try:
        return bus().get_all(path, agent.QUOTA)
    except agent.BusError as e:
        check(e.name.startswith("org.freedesktop.DBus.Error.Unknown"), e)
        return {}


def booked(*cgroups):
    return [quota(c).get("Booked", 0) for c in cgroups]


def limit(cgroup, n, **options):
    Agent("root").set_pasid_limit(cgroup, n, options)


def enter(client, cgroup):
    write(f"{CGROUPS}{cgroup}/cgroup.procs", str(client.pid))


def client(cgroup, user="alice"):
    a = Agent(user)
    enter(a, cgroup)
    return a


@contextlib.contextmanager
def cgroups(*paths):
    """Makes cgroups, and takes them and all limits that were set away again."""
    for path in paths:
        os.makedirs(CGROUPS + path, exist_ok=True)
    try:
        yield
    finally:
        agent.end_all()
        for q in [i[agent.QUOTA] for i in objects_with_limits()]:
            limit(q["CGroup"], NONE)
        agent.end_all()
        for path in sorted(found_below(TOP), key=len, reverse=True):
            remove_cgroup(os.fsdecode(path))


def objects_with_limits():
    return [i for i in objects().values() if i.get(agent.QUOTA, {}).get("Source") in ("runtime", "persistent")]


def found_below(path):
    return [d for d, _, _ in os.walk(os.fsencode(CGROUPS + path))]


def asks(c, device, n, error="QuotaExceeded", **options):
    """What the refusal says."""
    with refused(error) as box:
        c.acquire([addr(device)], {"pasids": n, **options})
    return box.text


def prepare(**grant):
    configure(alice=(list(DEVICES), grant), bob=(list(DEVICES), grant))


@test("intel", "amd")
def S2_1_S2_3_three_levels_each_with_a_limit():
    prepare()
    with cgroups(A, B, TOP + "/c.service"):
        limit(TOP, 20)
        limit(VMS, 12)
        limit(A, 8)
        a, b, c = client(A), client(B, "bob"), client(TOP + "/c.service")
        # Over its own limit by one, and at it.
        text = asks(a, "nvme", 9)
        check(f"0 are booked and 8 are left under the limit of 8 (persistent) of cgroup {A};" in text, text)
        equal((state(addr("nvme")), leases()), ("free", []))
        first = a.acquire([addr("nvme")], {"pasids": 8})
        equal(lease(first.path)["Pasids"], 8)
        equal(booked(A, B, VMS, TOP, "/"), [8, 0, 8, 8, 8])
        # A sibling has no limit of its own, but that of both.
        text = asks(b, "nvme2", 5)
        check(f"8 are booked and 4 are left under the limit of 12 (persistent) of cgroup {VMS};" in text, text)
        possible, findings = b.explain([addr("nvme2")], {"pasids": 5})
        equal((possible, [f[0] for f in findings if f[1] == "block"]), (False, ["quota-booked"]))
        b.acquire([addr("nvme2")], {"pasids": 4})
        text = asks(c, "busreset", 9)
        check(f"12 are booked and 8 are left under the limit of 20 (persistent) of cgroup {TOP};" in text, text)
        c.acquire([addr("busreset")], {"pasids": 8})
        equal(booked(A, B, VMS, TOP), [8, 4, 12, 20])
        # As an administrator sees it.
        shown = run(["iommuctl", "quota"]).stdout
        check(re.search(r"lab\.slice +20 +20 .*persistent", shown) and re.search(r"a\.service +8 +8 .*persistent", shown), shown)
        # What comes back can be had by whoever asks.
        a.kill()
        wait_free(addr("nvme"))
        equal(booked(A, VMS, TOP), [0, 4, 12])
        b.acquire([addr("nvme")], {"pasids": 8})
        equal(booked(B, VMS, TOP), [12, 12, 20])


@test("intel")
def S2_3_what_is_booked_is_bookable_once_whoever_races_for_it():
    prepare()
    with cgroups(A, B):
        limit(VMS, 4)
        racers = [client(A), client(B, "bob"), client(A, "root")]
        for round_ in range(6):
            for c, device in zip(racers, DEVICES):
                c.start("acquire", [addr(device)], {"pasids": 3})
            won = []
            for c in racers:
                try:
                    won.append((c, c.result()))
                except agent.BusError as e:
                    check(e.name.endswith("QuotaExceeded"), e)
            equal((len(won), booked(VMS)), (1, [3]), f"round {round_}")
            c, grant = won[0]
            c.release(grant.path, grant.lifeline)
            c.close(*grant.fds.values())
            wait_free(*map(addr, DEVICES))
            equal(booked(VMS), [0])


@test("intel")
def S2_1_without_a_limit_there_is_what_the_reservation_grants():
    prepare()
    with cgroups(A):
        a = client(A)
        check("grants 0" in asks(a, "nvme", 1), "the reservation grants nothing")
        prepare(Pasids="5")
        check("grants 5" in asks(a, "nvme", 6), "the reservation grants 5")
        a.acquire([addr("nvme")], {"pasids": 5})
        equal(booked(A, VMS, TOP, "/"), [5, 5, 5, 5])
        # The limit is for all together, the grant for each.
        limit(TOP, 6)
        check("grants 5" in asks(a, "nvme2", 6), "what the reservation grants is a cap all the same")
        a.acquire([addr("nvme2")], {"pasids": 1})


@test("intel")
def S2_3_booked_until_the_release_is_proven():
    prepare()
    nvme = addr("nvme")
    with cgroups(A, B):
        limit(VMS, 8)
        a, b = client(A), client(B, "bob")
        grant = a.acquire([nvme], {"pasids": 8})
        child = a.fork_keeping(grant.fds[nvme])
        a.kill()
        wait_until(lambda: state(nvme) == "releasing", "it is being released")
        equal(booked(A, VMS), [8, 8])
        check("0 are left" in asks(b, "nvme2", 8), "nothing is left")
        # Whoever waits gets them when they are free, and not before.
        b.start("acquire", [addr("nvme2")], {"pasids": 8, "wait": 60 * 10**6})
        wait_until(lambda: quota(VMS)["Booked"] == 8 and state(addr("nvme2")) == "free", "it waits")
        agent.kill(child)
        b.result()
        wait_free(nvme)
        equal(booked(A, B, VMS), [0, 8, 8])


@test("intel")
def S2_3_a_cgroup_that_is_removed_while_in_use():
    prepare()
    with cgroups(A):
        limit(A, 8)
        a = client(A)
        grant = a.acquire([addr("nvme")], {"pasids": 6})
        # The client goes elsewhere; the charge stays where it was.
        enter(a, "/")
        os.rmdir(CGROUPS + A)
        equal((booked(A, VMS, "/"), lease(grant.path)["CGroup"]), ([6, 6, 6], A))
        # The unit comes again: what its last run has is not to be had twice.
        os.mkdir(CGROUPS + A)
        again = client(A)
        check("2 are left" in asks(again, "nvme2", 3), "2 are left")
        again.acquire([addr("nvme2")], {"pasids": 2})
        equal(booked(A, VMS), [8, 8])
        a.kill()
        wait_free(addr("nvme"))
        equal(booked(A, VMS), [2, 2])


@test("intel")
def S2_1_a_limit_that_is_lowered_below_what_is_booked():
    prepare()
    with cgroups(A):
        a, b = client(A), client(A, "bob")
        limit(VMS, 8)
        grant = a.acquire([addr("nvme")], {"pasids": 8})
        limit(VMS, 3)
        equal((quota(VMS)["Limit"], quota(VMS)["Booked"], lease(grant.path)["State"]), (3, 8, "active"))
        check("8 are booked and 0 are left" in asks(b, "nvme2", 1), "nothing is left")
        a.kill()
        wait_free(addr("nvme"))
        check("3 are left" in asks(b, "nvme2", 4), "3 are left")
        b.acquire([addr("nvme2")], {"pasids": 3})
        # Raised: who waits is let in.
        c = client(A)
        c.start("acquire", [addr("nvme")], {"pasids": 2, "wait": 60 * 10**6})
        check("1 PASIDs were asked for; 3 are booked and 0 are left" in asks(client(A), "busreset", 1), "nothing is left")
        limit(VMS, 5, runtime=True)
        c.result()
        equal(booked(VMS), [5])


@test("intel")
def S2_3_bookings_and_limits_outlive_the_daemon():
    prepare()
    with cgroups(A, B):
        limit(VMS, 10)
        limit(A, 8, runtime=True)
        a, b = client(A), client(B, "bob")
        a.acquire([addr("nvme")], {"pasids": 6})
        b.acquire([addr("nvme2")], {"pasids": 1})
        for sig in signal.SIGTERM, signal.SIGKILL:
            restart(sig)
            a.disconnect()
            b.disconnect()
            equal((quota(VMS)["Limit"], quota(A)["Limit"], quota(A)["Source"]), (10, 8, "runtime"))
            equal(booked(A, B, VMS, "/"), [6, 1, 7, 7])
            check("2 are left" in asks(a, "busreset", 3), "2 are left in its cgroup")
            check("3 are left" in asks(b, "busreset", 4), "3 are left for both")
        # What ended while nobody looked comes back at the start.
        stop(signal.SIGKILL)
        b.kill()
        start()
        a.disconnect()
        wait_free(addr("nvme2"))
        equal(booked(A, VMS), [6, 6])
        a.acquire([addr("busreset")], {"pasids": 2})


@test("intel")
def S2_3_who_has_a_delegated_cgroup_cannot_go_around_its_limit():
    prepare()
    box = VMS + "/box.scope"
    with cgroups(box + "/own/x", box + "/\x1b[31m"):
        for path in found_below(box):
            os.chown(path, 1000, 1000)
        limit(box, 4)
        a = client(box + "/own/x")
        grant = a.acquire([addr("nvme")], {"pasids": 3})
        equal((lease(grant.path)["CGroup"], booked(box, VMS, box + "/own/x")), (box + "/own/x", [3, 3, 0]))
        for path in box, box + "/own", box + "/\x1b[31m":
            check("1 are left" in asks(client(path), "nvme2", 2), "1 is left, wherever in it one is:", path)
        for path in box + "/own", box + "/own/x":
            with refused("InvalidArgument") as why:
                limit(path, 100)
            check(f"below {box}, which is delegated" in why.text, why.text)
        client(box + "/\x1b[31m").acquire([addr("nvme2")], {"pasids": 1})
        equal(booked(box), [4])


@test("intel")
def S2_1_setting_limits_is_not_for_everybody():
    with cgroups(A):
        for c in (client(A), client("/", "bob")):
            for n in 100, NONE:
                with refused("NotAuthorized", "InteractiveAuthorizationRequired", "AccessDenied"):
                    c.set_pasid_limit(A, n)
        equal(quota(A), {})


@test("systemd")
def S2_3_units_and_slices_have_their_limits_from_files():
    configure(alice=(["nvme", "noreset"], {}))
    os.makedirs(f"{ETC}/quota.d", exist_ok=True)
    write(f"{ETC}/quota.d/10-units.conf", "[Quota]\nUnit=lab-vm@*.service\nPasids=3\n")
    write(f"{ETC}/quota.d/20-slices.conf", "[Quota]\nSlice=lab*.slice\nPasids=4\n")
    reload()

    def acquires(unit, slice_, n, *more):
        command = ["systemd-run", "-q", "--wait", "--pipe", "--uid=alice", f"--unit={unit}", f"--slice={slice_}", *more, "--",
                   "iommuctl", "run", "-d", addr("nvme"), "--pasids", str(n), "--", "iommuctl", "quota", "--json"]
        return run(command).stdout
    try:
        said = acquires("lab-vm@1.service", "lab-x.slice", 3)
        check(re.search(r'"CGroup" *: *"[^"]*/lab-vm@1.service", *"Limit" *: *3, *"Source" *: *"[^"]*10-units.conf", *"Booked" *: *3', said), said)
        wait_free(addr("nvme"))
        said = acquires("lab-vm@1.service", "lab-x.slice", 4)
        check("limit of 3" in said and "10-units.conf" in said and "/lab-vm@1.service" in said, said)
        said = acquires("lab-other.service", "lab-x.slice", 5)
        check("limit of 4" in said and "20-slices.conf" in said and "lab-x.slice" in said, said)
        # A user's own unit of such a name is that user's: what is below a delegated cgroup matches nothing.
        said = acquires("trap.service", "system.slice", 1, "-p", "Delegate=yes", "-p", "DelegateSubgroup=lab-vm@9.service")
        check("grants 0" in said, said)
    finally:
        for name in os.listdir(f"{ETC}/quota.d"):
            os.unlink(f"{ETC}/quota.d/{name}")
        reload()


@test("systemd")
def S2_1_polkit_says_who_may_set_limits():
    rules = "/etc/polkit-1/rules.d/10-lab.rules"
    alice = Agent("alice")
    with refused("NotAuthorized", "InteractiveAuthorizationRequired") as why:
        alice.set_pasid_limit("/system.slice", 5)
    check("manage-quotas" in why.text, why.text)
    write(rules, 'polkit.addRule(function(action, subject) { if (action.id == "org.iommud1.manage-quotas" && subject.user == "alice" && '
                 'action.lookup("device") == "/system.slice") return polkit.Result.YES; });\n')

    def is_set():
        with contextlib.suppress(agent.BusError):
            alice.set_pasid_limit("/system.slice", 5)
            return True
    try:
        wait_until(is_set, "the rule counts")
        equal((quota("/system.slice")["Limit"], quota("/system.slice")["Source"]), (5, "persistent"))
        for who, what in (alice, "/"), (Agent("bob"), "/system.slice"):
            with refused("NotAuthorized", "InteractiveAuthorizationRequired"):
                who.set_pasid_limit(what, 5)
        was = pid()
        run(["systemctl", "restart", "iommud"], check=True)
        wait_for_another(was)
        equal(quota("/system.slice")["Limit"], 5)
    finally:
        os.unlink(rules)
        run(["iommuctl", "quota", "unset", "/system.slice"], check=True)
    equal(quota("/system.slice"), {})
