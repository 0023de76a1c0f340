"""S2: the PASIDs that SVA takes, as the kernel holds cgroups to their limits. See daemon/bpf/sva.h.

QEMU's IOMMU lacks what a bind itself wants, so no open succeeds; the process has its PASID by then, and keeps it while it lives. What the
gate refuses fails with EDQUOT, or with EAGAIN in a cgroup that it was not told of."""
import contextlib
import os
import signal

import agent
import gatemaps
from lab import ETC, PCI, addr, check, configure, equal, give_to, reload, restart, run, start, stop, test, wait_free, wait_until, write
from test_quota import A, B, CGROUPS, TOP, VMS, asks, booked, cgroups, client, limit, quota

C = TOP + "/c.service"


@contextlib.contextmanager
def sva_node(name="vfio-user"):
    """The node of a device of which whoever opens it gets a PASID."""
    run(["modprobe", "uio_pci_generic_sva"], check=True)
    give_to(addr(name), "uio_pci_sva")
    node = "/dev/" + os.listdir(f"{PCI}{addr(name)}/uio")[0]
    wait_until(lambda: any(e["value"] == 1 for e in gatemaps.dump("nodes")), "the gate knows nodes with SVA")
    try:
        yield node
    finally:
        agent.end_all()
        give_to(addr(name), "")


def wait_known(**limits):
    """Until the gate knows the cgroups: a new one has nothing before."""
    for cgroup, n in limits.items():
        wait_until(lambda: gatemaps.limit(CGROUPS + cgroup).get("limit") == n, f"{cgroup} may have {n}")


def opens(cgroup, node):
    """A new process in the cgroup that opens the node, and whether it was let."""
    a = client(cgroup, "root")
    return a, may_open(a, node)


def may_open(a, node):
    error = a.can_open(node)
    check(error != "", "QEMU can bind by now, and this test has to look at what is open")
    return error not in ("EDQUOT", "EAGAIN")


def counts(cgroup):
    """Of SVA, by the kernel's own word, which has to be what the daemon says. One may go between two looks."""
    def agreed():
        tally, shown = gatemaps.level(CGROUPS + cgroup), quota(cgroup)
        both = not shown or [shown[k] for k in ("Shared", "InUse", "Refused")] == [tally.get(k, 0) for k in ("shared", "in_use", "refused")]
        return (tally,) if both else None
    (tally,) = wait_until(agreed, lambda: f"{cgroup}: {quota(cgroup)}, and the kernel says {gatemaps.level(CGROUPS + cgroup)}")
    return tally.get("shared", 0)


@test("gate")
def S2_2_sva_is_held_to_the_limit_of_each_of_three_levels():
    with sva_node() as node, cgroups(A, B, C):
        before = counts("/")
        limit(TOP, 3)
        limit(VMS, 2)
        limit(A, 1)
        wait_known(**{TOP: 3, VMS: 2, A: 1, B: 2 ** 64 - 1, C: 2 ** 64 - 1})
        a, let = opens(A, node)
        check(let, "the first one")
        check(may_open(a, node), "who has its PASID already needs none")
        check(not opens(A, node)[1], "one more than its own limit")
        b, let = opens(B, node)
        check(let, "its own has no limit, and the one above has room")
        check(not opens(B, node)[1], "one more than the limit of the level above")
        check(opens(C, node)[1], "the uppermost has room")
        check(not opens(C, node)[1], "one more than the uppermost limit")
        equal([counts(c) for c in (A, B, C, VMS, TOP, "/")], [1, 1, 1, 2, 3, before + 3])
        equal([quota(c)["Refused"] for c in (A, VMS, TOP)], [1, 2, 3])
        # What is let go of can be had, and goes with the process wherever that is by then.
        write(f"{CGROUPS}/cgroup.procs", str(a.pid))
        equal([counts(c) for c in (A, VMS, TOP, "/")], [1, 2, 3, before + 3])
        a.kill()
        wait_until(lambda: counts(A) == 0, "it goes with the process")
        equal([counts(c) for c in (VMS, TOP, "/")], [1, 2, before + 2])
        check(opens(A, node)[1], "the one that was let go of")
        # Lowered below what is there: that stays, and nothing comes.
        limit(TOP, 1)
        check(not opens(C, node)[1], "there are more than the limit already")
        b.kill()
        wait_until(lambda: counts(B) == 0, "it goes with the process")
        check(not opens(B, node)[1], "there are still more than the limit")
        equal(counts(TOP), 2)


@test("gate")
def S2_2_a_process_that_becomes_another_program_gives_its_pasid_back():
    with sva_node() as node, cgroups(A):
        limit(A, 1)
        wait_known(**{A: 1})
        root = client(A, "root")
        pid, _ = root.open_in_child(node)
        equal((counts(A), root.open_in_child(node)[1]), (1, "EDQUOT"))
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: counts(A) == 0, "its address space is another one")
        check(may_open(root, node), "the one that was let go of")


@test("gate")
def S2_2_the_last_one_is_had_once_whoever_races_for_it():
    with sva_node() as node, cgroups(A, B):
        limit(VMS, 2)
        wait_known(**{VMS: 2, A: 2 ** 64 - 1, B: 2 ** 64 - 1})
        racers = [client(A, "root"), client(B, "root")]
        for r in racers:
            r.start("race_to_open", node, 32)
        errors = [e for r in racers for e in r.result()]
        equal((len(errors), sum(e != "EDQUOT" for e in errors)), (64, 2), "of 64, and of those that were let:")
        equal((counts(VMS), counts(A) + counts(B)), (2, 2))


@test("gate")
def S2_2_leases_and_sva_have_one_limit_together():
    configure(alice=(["vfio-user", "nvme"], {}))
    with sva_node("vfio-user2") as node, cgroups(A, B):
        limit(VMS, 3)
        wait_known(**{VMS: 3, A: 2 ** 64 - 1, B: 2 ** 64 - 1})
        alice = client(A)
        grant = alice.acquire([addr("vfio-user")], {"pasids": 2})
        equal((booked(VMS), gatemaps.limit(CGROUPS + VMS)["booked"]), ([2], 2))
        taker, let = opens(B, node)
        check(let, "one is left")
        # Booked is booked, whether it is attached or not.
        check(not opens(B, node)[1], "none is left")
        text = asks(alice, "nvme", 1)
        check("2 are booked, 1 taken by SVA and 0 are left under the limit of 3" in text, text)
        taker.kill()
        wait_until(lambda: counts(VMS) == 0, "it goes with the process")
        more = alice.acquire([addr("nvme")], {"pasids": 1})
        check(not opens(B, node)[1], "leases have all")
        alice.release(more.path, more.lifeline)
        alice.close(*more.fds.values())
        wait_free(addr("nvme"))
        equal(gatemaps.limit(CGROUPS + VMS)["booked"], 2)
        check(opens(B, node)[1], "what a lease gave back")
        alice.release(grant.path, grant.lifeline)
        alice.close(*grant.fds.values())
        wait_free(addr("vfio-user"))
        equal((gatemaps.limit(CGROUPS + VMS)["booked"], counts(VMS)), (0, 1))


@test("gate")
def S2_2_limits_hold_while_the_daemon_is_down_also_for_what_is_new():
    rule = f"{ETC}/quota.d/10-lab.conf"
    os.makedirs(os.path.dirname(rule), exist_ok=True)
    with sva_node() as node, cgroups(A):
        try:
            write(rule, f"[Quota]\nCGroup={VMS}/*.service\nPasids=1\n")
            reload()
            wait_known(**{A: 1})
            a, let = opens(A, node)
            check(let, "the first one")
            stop(signal.SIGKILL)
            equal([opens(A, node)[0].can_open(node) for _ in range(2)], ["EDQUOT", "EDQUOT"])
            os.mkdir(CGROUPS + B)
            equal(opens(B, node)[0].can_open(node), "EAGAIN", "nobody has said yet what a new cgroup may have:")
            start()
            wait_known(**{B: 1})
            equal((counts(A), gatemaps.level(CGROUPS + A)["in_use"]), (1, 1))
            check(opens(B, node)[1], "it is known now")
            check(not opens(B, node)[1], "one more than the limit")
            check(not opens(A, node)[1], "what was had before counts")
            # A cgroup of the same path is another one; its limit is the same.
            agent.end_all()
            was = os.stat(CGROUPS + A).st_ino
            os.rmdir(CGROUPS + A)
            os.mkdir(CGROUPS + A)
            wait_known(**{A: 1})
            check(os.stat(CGROUPS + A).st_ino != was, "the cgroup is the same")
            equal([opens(A, node)[1] for _ in range(2)], [True, False])
        finally:
            os.unlink(rule)
            reload()
        # Without any limit nobody waits for the daemon.
        stop()
        os.mkdir(CGROUPS + C)
        check(opens(C, node)[1], "there is no limit")
        start()


@test("gate")
def S2_2_who_has_a_delegated_cgroup_takes_from_that_ones_limit():
    box = VMS + "/box.scope"
    with sva_node() as node, cgroups(box):
        for attempt in ("owner", "mark"):
            limit(box, 1)
            wait_known(**{box: 1})
            if attempt == "owner":
                os.chown(CGROUPS + box, 1000, 1000)
            else:
                os.setxattr(CGROUPS + box, "trusted.delegate", b"1")
            wait_until(lambda: not gatemaps.limit(CGROUPS + box)["closed"], "it is known to be delegated")
            stop()
            os.makedirs(CGROUPS + box + "/own/x")
            taker, let = opens(box + "/own/x", node)
            check(let, "what is below a delegated one needs no limit of its own")
            check(not opens(box + "/own", node)[1], "one more than the limit")
            start()
            agent.end_all()
            for path in "/own/x", "/own", "":
                os.rmdir(CGROUPS + box + path)
            os.mkdir(CGROUPS + box)


@test("gate")
def S2_2_what_was_never_limited_is_counted_all_the_same():
    with sva_node() as node, cgroups(A):
        before = counts("/")
        a, _ = opens(A, node)
        equal((counts(A), counts("/")), (1, before + 1))
        restart(signal.SIGKILL)
        equal((counts(A), counts("/")), (1, before + 1))
        a.kill()
        wait_until(lambda: counts(A) == 0, "it goes with the process")
        equal((gatemaps.level(CGROUPS + A)["peak"], counts("/")), (1, before))
