"""The daemon as a service."""
import json

import agent
from agent import Agent
from lab import (addr, bus, check, configure, device, driver_of, equal, has_owner, lease, pid, refused, reload, run, state, test, wait_free,
                 wait_for_another, wait_until)


def systemctl(*args):
    result = run(["systemctl", "--no-pager", *args])
    equal(result.returncode, 0, f"systemctl {' '.join(args)}: {result.stdout}")
    return result.stdout


def show(what):
    return systemctl("show", "-P", what, "iommud")


@test("systemd")
def service_is_active_and_its_unit_is_clean():
    check("active (running)" in systemctl("status", "iommud"), systemctl("status", "iommud"))
    equal(int(show("MainPID")), pid())
    result = run(["systemd-analyze", "verify", "iommud.service"])
    equal((result.returncode, result.stdout), (0, ""), "systemd-analyze verify")


@test("systemd")
def a_call_starts_the_service():
    systemctl("stop", "iommud")
    wait_until(lambda: not has_owner(), "it is gone")
    (version,) = bus().call(agent.ROOT, "org.freedesktop.DBus.Properties", "Get", "ss", (agent.MANAGER, "Version"))
    check(version[1], version)
    equal(show("ActiveState").strip(), "active")


@test("systemd")
def a_grant_is_in_the_journal_with_its_fields():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])

    def entries():
        out = run(["journalctl", "-o", "json", "--no-pager", f"IOMMUD_LEASE={grant.id}"]).stdout
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    entry = wait_until(lambda: [e for e in entries() if "granted" in e["MESSAGE"]], "it is in the journal")[0]
    equal((entry.get("IOMMUD_DEVICE"), entry.get("IOMMUD_UID"), entry.get("IOMMUD_PID"), entry.get("IOMMUD_HAND_OVER")),
          (nvme, "1000", str(alice.pid), "unbound"))
    check(entry.get("MESSAGE_ID"), entry)
    equal(entry.get("_SYSTEMD_UNIT"), "iommud.service")
    alice.kill()
    wait_free(nvme)
    wait_until(lambda: any("ended" in e["MESSAGE"] for e in entries()), "the end is in the journal, too")
    with refused("NotAuthorized", "InteractiveAuthorizationRequired"):
        Agent("bob").acquire([nvme])
    wait_until(lambda: run(["journalctl", "-o", "cat", "--no-pager", "IOMMUD_UID=1001"]).stdout, "a refusal is in the journal")


@test("systemd")
def leases_live_over_a_restart_of_the_service():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}), bob=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    for command in ["restart", "iommud"], ["kill", "-s", "KILL", "iommud"]:
        was = pid()
        systemctl(*command)
        wait_for_another(was)
        equal((state(nvme), lease(grant.path)["State"]), ("leased", "active"))
        with refused("DeviceBusy"):
            Agent("bob").acquire([nvme])
    equal(alice.use(grant, nvme)[0], 0x1B36)
    alice.kill()
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("systemd")
def last_close_during_a_restart_is_not_missed():
    # The watch is in systemd's store while the daemon is away.
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    child = alice.fork_keeping(*alice.queue(grant.fds[nvme]))
    alice.release(grant.path, grant.lifeline)
    alice.kill()
    was = pid()
    systemctl("restart", "iommud")
    wait_for_another(was)
    check(state(nvme) in ("releasing", "broken"), device(nvme))
    systemctl("stop", "iommud")
    agent.kill(child)
    systemctl("start", "iommud")
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("systemd")
def reload_by_systemctl():
    nvme = addr("nvme")
    configure()
    bob = Agent("bob")
    with open("/etc/iommud/reservations.d/bob.conf", "w", encoding="utf-8") as f:
        f.write(f"[Device]\nAddress={nvme}\n[Client]\nUser=bob\n")
    systemctl("reload", "iommud")
    wait_until(lambda: any(f[1] == "ask" and f[4]["action"].endswith("acquire-reserved") for f in bob.explain([nvme])[1]), "the new rule counts")


@test("systemd")
def unit_of_the_client_decides():
    nvme = addr("nvme")
    configure()
    with open("/etc/iommud/reservations.d/unit.conf", "w", encoding="utf-8") as f:
        f.write(f"[Device]\nAddress={nvme}\n[Client]\nUnit=vm-*.service\n[Grant]\nMemoryLock=1G\n")
    reload()
    command = ["iommuctl", "run", "-d", nvme, "--", "sh", "-c", "echo $IOMMUD_FDS"]
    result = run(["systemd-run", "-q", "--wait", "--pipe", "--uid=alice", "--unit=vm-1.service", *command])
    check(result.returncode == 0 and nvme + "=" in result.stdout, result.stdout)
    wait_free(nvme)
    result = run(["systemd-run", "-q", "--wait", "--pipe", "--uid=alice", "--unit=other.service", *command])
    check(result.returncode == 1, result.stdout)
    equal(driver_of(nvme), "nvme")
