"""Kills the daemon, its worker or its client at each point that a scenario comes to (see ../crash/points.py), and sees that the
invariants hold afterwards, each time."""
import mmap
import os
import struct
import time

import lab
from agent import Agent, BusError, Died
from invariants import Invariants, lease_files
from lab import equal, has_owner, wait_until

WITH_SYSTEMD = {"fdstore-put", "fdstore-remove"}        # points of which there are none without it
PROGRAM, LIST, CONTROL = "/lab/iommud-crash", "/lab/crash-points", "/run/crash"
DEATH, DEATHS = 80, 1500
SELF, DAEMON, CLIENT = 1, 2, 4  # whoever comes to the point, the daemon, the client
VICTIMS = {SELF: "itself", DAEMON: "the daemon", CLIENT: "the client", DAEMON | CLIENT: "daemon and client"}


class Death:
    """Who died where: "1 restore bind 2" is whoever came to that point for the second time."""

    def __init__(self, text):
        self.victim, self.job, self.point = int(text.split()[0]), *text.split()[1:3]
        self.point = self.point.rpartition("/")[2]      # "gate_set_lease/gate-put" is within the other
        self.text = f"{text.partition(' ')[2]}: {VICTIMS[self.victim]} killed"
        self.of_daemon = bool(self.victim & DAEMON) or (self.victim == SELF and self.job == "daemon")


class Control:
    """What crash.c reads and writes."""
    ONLY = 16
    NOW = ONLY + DEATH
    DONE = NOW + DEATH

    def __init__(self):
        with open(CONTROL, "wb") as f:
            f.truncate(self.DONE + DEATH * DEATHS)
        with open(CONTROL, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 0)

    def begin(self, done, only):
        """Of these deaths none is wanted once more. only: points of these names, if any are given."""
        self.map[self.ONLY:self.NOW] = "".join(f" {name} " for name in only).encode().ljust(DEATH, b"\0")
        self.map[self.DONE:self.DONE + DEATH * len(done)] = b"".join(d.encode().ljust(DEATH, b"\0") for d in done)
        self.map[12:16] = struct.pack("<I", len(done))
        self.map[self.NOW:self.DONE] = bytes(DEATH)

    def arm(self, client):
        (window,) = struct.unpack("<I", self.map[4:8])
        self.map[0:12] = struct.pack("<III", 1, window + 1, client)

    def is_armed(self):
        return self.map[0:4] != bytes(4)

    def disarm(self):
        self.map[0:4] = bytes(4)

    def reached(self):
        return self.map[self.NOW:self.DONE].partition(b"\0")[0].decode()


def listed(kind):
    """The names of the points, or of the workers' jobs."""
    with open(LIST, encoding="utf-8") as f:
        return {name for k, name in map(str.split, f) if k == kind}


class Killed(Exception):
    """Somebody was, where it is new."""


class Window:
    """Only what is done in it comes to points."""

    def __init__(self, control, client):
        self.control, self.client = control, client

    def __enter__(self):
        self.control.arm(self.client.pid)

    def __exit__(self, *_):
        if not self.control.is_armed():     # somebody is at a new point, and is about to say at which
            wait_until(self.control.reached, "who has come to a point says so")
        self.control.disarm()

    def wait_until(self, condition, what):
        def is_over():
            if self.control.reached():
                raise Killed
            return condition()
        wait_until(is_over, what)

    def start(self):
        """A daemon, which may not come far."""
        try:
            lab.start()
        except lab.Failure:
            if self.control.reached():
                raise Killed from None
            raise

    def end(self):
        """Of all clients and leases."""
        lab.end_clients()
        self.wait_until(lambda: not lease_files(), "all leases have ended")


class Killer:
    """A scenario is a function of a client and of a window."""
    only = ()

    def __init__(self):
        self.control = None
        self.done = {}          # deaths, by what was done: of whoever came to a point; by "": of the others

    def begin(self):
        """From now on the machine's daemon is one that can be killed."""
        no_rules()
        self.control = Control()
        lab.DAEMON = PROGRAM
        lab.restart()
        for limit in 1, 2 ** 64 - 1:    # the file of limits, once made, stays
            lab.run(["busctl", "call", "org.iommud1", "/org/iommud1", "org.iommud1.Manager", "SetPasidLimit", "sta{sv}", "/", str(limit), "1",
                     "runtime", "b", "true"], check=True)
        self.before = Invariants()

    def restart(self):
        lab.process.wait()
        wait_until(lambda: not has_owner(), "the bus knows that the daemon is gone")
        lab.start()

    def hold(self, is_over, when):
        """The invariants, as soon as what is on its way has ended."""
        def violations():
            if is_over and lease_files():
                return [f"there is {lease_files()}"]    # which is quickly seen
            return self.before.violations(is_over)
        wait_until(lambda: not violations(), lambda: f"{when}: {'; '.join(violations())}")

    def once(self, scenario, done):
        """One run of the scenario; returns who died where, None if nobody did."""
        alice = Agent("alice")
        self.control.begin(done, getattr(scenario, "only", self.only))
        try:
            scenario(alice, Window(self.control, alice))
        except (BusError, Died, Killed):
            if not self.control.reached():
                raise
        self.control.disarm()
        reached = self.control.reached()
        death = Death(reached) if reached else None
        when = f"{scenario.__name__}, {death.text if death else 'nobody killed'}"
        if death and death.of_daemon:
            self.restart()
        if death and death.of_daemon and not death.victim & CLIENT:
            self.hold(False, when)      # the client has what it had
        lab.end_clients()
        getattr(scenario, "undo", lambda: None)()
        self.hold(True, when)
        if death and death.of_daemon:
            self.before.heal()
        return reached

    def kill(self, scenario, what):
        """At each point whoever comes to it, and where its name is new each of the other victims. what: is done by the scenario."""
        if not self.control:
            self.begin()
        started, own, others = time.monotonic(), self.done.setdefault(what, []), self.done.setdefault("", [])
        names = []
        while reached := self.once(scenario, own + others):
            death = Death(reached)
            (own if death.victim == SELF else others).append(reached)
            names.append(f"{death.victim} {death.job} {death.point}")
        print(f"# {scenario.__name__}: {len(names)} deaths in {time.monotonic() - started:.0f} s: {', '.join(names)}", flush=True)

    def check_all_were_reached(self):
        """Of the list that the build has made."""
        deaths = [Death(text) for texts in self.done.values() for text in texts]
        for victim, name in VICTIMS.items():
            print(f"# killed: {name}: {sum(d.victim == victim for d in deaths)} times", flush=True)
        equal(listed("point") - {d.point for d in deaths} - WITH_SYSTEMD, set(), "points that no scenario comes to:")
        equal(listed("job") - {d.job for d in deaths}, set(), "jobs that no scenario has done:")


DROP_IN = "/run/systemd/system/iommud.service.d/crash.conf"


class Service(Killer):
    """Of systemd's, which starts a new daemon by itself and has what it is to keep."""
    only = *WITH_SYSTEMD, "answer"

    def begin(self):
        self.control = Control()
        self.use(f"[Service]\nExecStart=\nExecStart={PROGRAM}\nReadWritePaths={CONTROL}\nRestartSec=0\n")
        self.before = Invariants()

    def end(self):
        self.use("")

    def use(self, drop_in):
        os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
        lab.write(DROP_IN, drop_in)
        for command in ["daemon-reload"], ["restart", "iommud"]:
            lab.run(["systemctl", *command], check=True)
        self.pid = lab.pid()

    def restart(self):
        lab.wait_for_another(self.pid)
        self.pid = lab.pid()


def no_rules():
    """udev's rules take most of the time, and nothing here needs what they do."""
    os.makedirs("/run/udev/rules.d", exist_ok=True)
    for name in os.listdir("/usr/lib/udev/rules.d"):
        os.symlink("/dev/null", f"/run/udev/rules.d/{name}")
    lab.run(["udevadm", "control", "--reload"], check=True)
