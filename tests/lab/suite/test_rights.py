"""Who may ask for what, and what nobody may get by asking."""
import contextlib
import os
import subprocess

from agent import LONG, Agent
from lab import (DENIED, addr, configure, device, equal, lease, refused, reload, run, state, test, wait_free, wait_until,
                 write)

RULES = "/etc/polkit-1/rules.d/10-test.rules"


@contextlib.contextmanager
def polkit(**rules):
    """With these rules of polkit: acquire_for_others="true", an expression of action and subject. What none says is the default's."""
    def restart():
        equal(run(["systemctl", "restart", "polkit"]).returncode, 0, "polkit is restarted")
    cases = "\n".join(f'if (action.id == "org.iommud1.{a.replace("_", "-")}" && ({test})) return polkit.Result.YES;'
                      for a, test in rules.items())
    write(RULES, "polkit.addRule(function (action, subject) {\n" + cases + "\n});\n")
    restart()
    try:
        yield
    finally:
        os.unlink(RULES)
        restart()


def reserve(name, *lines):
    write(f"/etc/iommud/reservations.d/{name}.conf", "\n".join(["[Device]", "Address=*", "[Client]", *lines, ""]))
    reload()


# --- in the name of another process ---

@test("systemd")
def asking_for_root_is_not_being_root():
    nvme = addr("nvme")
    alice, root = Agent("alice"), Agent("root")
    with polkit(acquire_for_others='subject.user == "alice"'):
        with refused(*DENIED):
            alice.acquire([nvme])
        with refused(*DENIED):
            alice.acquire([nvme], {"for": alice.pidfd(root.pid)})
        configure(root=(["nvme"], {}))
        for more in {"restore": False}, {"hand-over": "none", "restore": False}:
            with refused(*DENIED):
                alice.acquire([nvme], {"for": alice.pidfd(root.pid), **more})
        with refused("QuotaExceeded"):
            alice.acquire([nvme], {"for": alice.pidfd(root.pid), "pasids": 1})
        grant = alice.acquire([nvme], {"for": alice.pidfd(root.pid)})
        equal((lease(grant.path)["Uid"], lease(grant.path)["Pid"]), (0, root.pid))
        alice.kill()
        wait_free(nvme)
        bob = Agent("bob")
        with refused(*DENIED):
            bob.acquire([nvme], {"for": bob.pidfd(root.pid)})


@test("systemd")
def right_to_any_device_has_to_be_the_askers():
    nvme = addr("nvme")
    alice, bob = Agent("alice"), Agent("bob")
    with polkit(acquire_for_others="true", acquire='subject.user == "alice"'):
        with refused(*DENIED):
            bob.acquire([nvme], {"for": bob.pidfd(alice.pid)})
        grant = alice.acquire([nvme], {"for": alice.pidfd(bob.pid)})
        equal((lease(grant.path)["Uid"], lease(grant.path)["Pid"]), (bob.uid, bob.pid))


@test("systemd")
def unit_in_rules_of_polkit_is_the_askers():
    nvme = addr("nvme")
    alice = Agent("alice")
    run(["systemd-run", "-q", "--uid=alice", "--unit=vm-2.service", "sleep", "1000"])
    pid = int(run(["systemctl", "show", "-P", "MainPID", "vm-2.service"]).stdout)
    with polkit(acquire_for_others='action.lookup("for-unit") == "vm-2.service"', acquire='action.lookup("unit") == "vm-2.service"'):
        with refused(*DENIED):
            alice.acquire([nvme], {"for": alice.pidfd(pid)})
        reserve("unit", "Unit=vm-2.service")
        grant = alice.acquire([nvme], {"for": alice.pidfd(pid)})
        equal(lease(grant.path)["Unit"], "vm-2.service")
    run(["systemctl", "stop", "vm-2.service"])


@test("systemd")
def groups_of_the_process_count_and_not_the_askers():
    nvme = addr("nvme")
    alice, bob = Agent("alice"), Agent("bob")
    member = subprocess.Popen(["sleep", "1000"], user=bob.uid, group=bob.uid, extra_groups=[4242, 4243])
    try:
        with polkit(acquire_for_others="true"):
            reserve("group", "Group=alice")
            with refused(*DENIED):
                alice.acquire([nvme], {"for": alice.pidfd(member.pid)})
            reserve("group", "Group=4243")
            with refused(*DENIED):
                alice.acquire([nvme], {"for": alice.pidfd(bob.pid)})
            grant = alice.acquire([nvme], {"for": alice.pidfd(member.pid)})
            equal(lease(grant.path)["Uid"], bob.uid)
    finally:
        member.kill()
        member.wait()


@test("systemd")
def process_that_cannot_be_dumped_is_not_taken_for_root():
    nvme = addr("nvme")
    alice, bob = Agent("alice"), Agent("bob")
    bob.undumpable()
    with polkit(acquire_for_others="true"):
        reserve("both", "User=bob")
        grant = alice.acquire([nvme], {"for": alice.pidfd(bob.pid)})
        equal(lease(grant.path)["Uid"], bob.uid)


@test("systemd")
def polkit_is_asked_again_after_a_wait():
    nvme, yes = addr("nvme"), "/run/test-yes"
    configure(alice=(["nvme"], {}))
    alice, bob = Agent("alice"), Agent("bob")
    alice.acquire([nvme])
    write(yes, "")
    with polkit(acquire=f'subject.user == "bob" && polkit.spawn(["logger", "-t", "rules", "asked"]) == "" && '
                        f'polkit.spawn(["test", "-e", "{yes}"]) == ""'):
        bob.start("acquire", [nvme], {"wait": 3600 * 10**6})
        wait_until(lambda: "asked" in run(["journalctl", "-t", "rules", "-o", "cat", "--no-pager"]).stdout, "polkit is asked")
        os.unlink(yes)
        alice.kill()
        with refused(*DENIED):
            bob.result()
    wait_free(nvme)


# --- revocation ---


@test("intel")
def deadline_of_a_revocation_is_bounded():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice, root = Agent("alice"), Agent("root")
    grant = alice.acquire([nvme])
    for deadline in 2**64 - 1, 31 * 24 * 3600 * 10**6:
        with refused("InvalidArgument"):
            root.revoke(grant.path, "some day", deadline)
    equal((lease(grant.path)["State"], lease(grant.path)["RevokeDeadline"]), ("active", 0))
    root.revoke(grant.path, "in a month", 30 * 24 * 3600 * 10**6)
    equal(lease(grant.path)["State"], "active")
    root.revoke(grant.path, "now", 0)
    alice.kill()
    wait_free(nvme)


# --- what waits keeps nothing alive ---

def waiting_request():
    """A lease; and somebody else with its lifeline, whose AddDevices waits for what yet another one has."""
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme", "nvme2"], {}))
    owner, helper = Agent("alice"), Agent("alice")
    grant = owner.acquire([nvme])
    Agent("alice").acquire([other])
    (lifeline,) = owner.hand(helper, grant.lifeline)
    helper.send_add_devices(grant.path, lifeline, [other], {"wait": 3600 * 10**6})
    with refused("DeviceBusy"):         # which is said when the request before it waits
        helper.acquire([other])
    return grant, owner, helper, lifeline


def wait_ended(grant):
    wait_until(lambda: not lease(grant.path), "the lease has ended")


@test("intel")
def request_that_waits_is_no_lifeline():
    grant, owner, helper, lifeline = waiting_request()
    owner.kill()
    helper.close(lifeline)
    wait_ended(grant)


@test("intel")
def request_of_a_client_that_died_is_no_lifeline():
    grant, owner, helper, _ = waiting_request()
    owner.kill()
    helper.kill()
    wait_ended(grant)


# --- what is not read ---

@test("intel")
def descriptors_that_nobody_reads_are_bounded():
    # The lease of a lifeline that lies in the bus can be revoked, and the next one be asked for; at 64 dbus-daemon would be deaf.
    edu, nvme = addr("noreset"), addr("nvme")
    configure(alice=(["noreset"], {}), bob=(["nvme"], {}))
    lazy, root = Agent("alice"), Agent("root")
    Agent("alice").signal(lazy.unique_name(), 1 << 20)          # fills its socket
    for _ in range(24):
        lazy.send_acquire([edu], {"hand-over": "none"})
        wait_until(lambda: state(edu) == "leased", "the lease is there")
        root.revoke(device(edu)["Lease"])
        wait_free(edu)
    lazy.send_acquire([edu], {"hand-over": "none"})
    bob = Agent("bob")
    bob.use(bob.acquire([nvme]), nvme)
    reader = Agent("alice")
    with refused("LimitExceeded"):
        reader.acquire([edu], {"wait": LONG * 10**6})
    equal(lazy.answers(25), [""] * 24 + ["org.iommud1.Error.LimitExceeded"])
    # What was read does not count any more, though no lifeline of it was ever used.
    reader.use(reader.acquire([edu], {"wait": LONG * 10**6}), edu)
