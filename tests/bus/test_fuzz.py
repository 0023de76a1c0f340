# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every method and property of the contract (dbus/*.xml) with random and mutated arguments, in the real daemon, on a private bus and a
made machine (madesys.py) on which somebody has a lease. FUZZ_SECONDS says for how long (default 10), FUZZ_SEED with which seed; the same
seed makes the same calls in the same order. tests/bus/fuzz runs it for longer. IOMMUD and VTABLES name the built programs.

What has to hold: the daemon lives and no sanitizer says anything; each call is answered, by an error only if that is of the contract's
table or says that there is no such thing; what was refused has changed nothing; and another client is served meanwhile."""

import array
import collections
import os
import random
import re
import time

from jeepney import DBusAddress, HeaderFields, MessageType, Properties, new_method_call

import madesys
import privatebus
from test_contract import CONTRACT, HERE, MANAGER, NAME, NOWHERE, ROOT, WAIT, Daemon, connect

SECONDS = float(os.environ.get("FUZZ_SECONDS") or 10)
SEED = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(10**9))
BATCH = 12                      # calls under way at once: fewer than a user may have
USER, OWNER = 1000, 1001         # who calls beside root, and whose the lease is
LEASE_ID = "0123456789abcdef" * 2
LEASE = f"{ROOT}/lease/{LEASE_ID}"

# What ends the lease, or would go on when the test is over: not by root, who may, nor by the lifeline.
ENDS = {"Revoke", "Release", "RemoveDevices"}
# Not of the table, but said by sd-bus or the bus itself: there is no such thing, or its types are others.
OF_DBUS = {f"org.freedesktop.DBus.Error.{e}" for e in (
    "UnknownMethod", "UnknownObject", "UnknownInterface", "UnknownProperty", "PropertyReadOnly", "InvalidArgs", "AccessDenied")}
ERRORS = (HERE.parent.parent / "daemon/core/errors.h").read_text()
TABLE = {NAME + ".Error." + e for e in re.findall(r'ERROR_PREFIX "(\w+)"', ERRORS)}
assert len(TABLE) > 15
TABLE.remove(NAME + ".Error.Failed")            # it says nothing, and nothing here should fail like that



def lines(**values):
    return "".join(f"{k}={v}\n" for k, v in values.items())


def block(address, role):
    return lines(DEVICE=address, ROLE=role, GROUP=8, SET=madesys.NIC0, DRIVER="vfio-pci", MODULE="vfio_pci", ORIGINAL_DRIVER="",
                 ORIGINAL_OVERRIDE="", OPENED=0, TAKEN=0, CLOSED=0, WATCH=-1, NEWCOMER=0, JOINING=0, LEAVING=0, ASKED=0, PULLED=0,
                 RELEASED=0, DEVID=0, PASID_BITS=0, CAN_RESET=0, HOT_RESET_POSSIBLE=0, HOT_RESET_OWNED=0, IOAS=0, PT=0, VF_TOKEN="")


LEASE_FILE = "# iommud lease, private: do not edit\n" + lines(
    VERSION=1, ID=LEASE_ID, UID=OWNER, PID=4711, PROCESS=1, UNIT="qemu@web.service", CGROUP="/machine.slice", CHARGED="/machine.slice",
    LEVELS=1, RESERVATION="", HAND_OVER="none", STATE="active", REASON="", RESET_SET=0, RESTORE=1, PER_PROCESS=1, MEMLOCK=0, PASIDS=0,
    CREATED=1763690000000000, REVOKE_DEADLINE=0) + block(madesys.NIC1, "leased") + block(madesys.NIC0, "held") + lines(END=1)


class Machine(Daemon):
    """With a lease, whose lifeline is here."""

    def start(self):
        for name in "leases", "lifelines":
            (self.directory / "run" / name).mkdir(mode=0o700, parents=True)
        (self.directory / "run").chmod(0o700)
        (self.directory / "run/leases" / LEASE_ID).write_text(LEASE_FILE)
        (self.directory / "run/leases" / LEASE_ID).chmod(0o600)
        fifo = self.directory / "run/lifelines" / LEASE_ID
        os.mkfifo(fifo, 0o600)
        reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.lifeline = os.open(fifo, os.O_WRONLY)
        os.close(reading)
        super().start()

    def snapshot(self):
        below = [p for d in ("run", "state", "sys") for p in (self.directory / d).rglob("*")]
        files = {p: p.read_bytes() for p in below if p.is_file()}
        return self.managed(), files

    def stop(self):
        os.close(self.lifeline)
        super().stop()


class Values:
    """Random arguments by their types."""

    WORDS = [*madesys.DEVICES, NOWHERE, "", "x", "@x", "/", "/machine.slice", "/machine.slice/vm@a.service", "/a/../b", "unbound",
             "attached", "group", "node", "none", "vfio-pci", "../../x", "%s%n%d", "\x1b[31m", "\x7f", "ä", "\u202e", "0000:01:00.0 ", "0000:1:00.0",
             "\n", LEASE_ID]
    OPTIONS = {"hand-over": "s", "members": "as", "driver": "s", "reservation": "s", "pasids": "u", "force-in-use": "b",
               "reset-set": "b", "restore": "b", "wait": "t", "for": "h", "as": "u", "runtime": "b", "colour": "s", "": "s"}
    NUMBERS = [0, 1, 2, 4, 5, 16, 1000, 65535, 65536, 2**20, 2**20 + 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63,
               2**64 - 1]
    BITS = {"y": 8, "q": 16, "n": 15, "u": 32, "i": 31, "t": 64, "x": 63}

    def __init__(self, random_, fds):
        self.random, self.fds, self.paths = random_, fds, [ROOT]

    def text(self):
        r = self.random.random()
        if r < 0.8:
            return self.random.choice(self.WORDS)
        if r < 0.95:
            word = list(self.random.choice(self.WORDS) or "x")
            word[self.random.randrange(len(word))] = chr(self.random.choice([*range(1, 128), 0x100, 0x1f600]))
            return "".join(word)
        return self.random.choice(["x", "0000:01:00.0", "/x"]) * self.random.choice([300, 5000, 200000])

    def path(self):
        p = self.random.choice(self.paths)
        r = self.random.random()
        if r < 0.5:
            return p
        return self.random.choice([p + "/x", p + "0", p[:-1].rstrip("/") or "/", "/", f"{ROOT}/lease/{'0' * 32}",
                                   f"{ROOT}/lease/{LEASE_ID.upper()}", f"{ROOT}/group/007", f"{ROOT}/quota/_2F",
                                   f"{ROOT}/device/0000_01_00", f"{ROOT}/" + "x" * 3000])

    def signature(self, depth=0):
        kinds = "ysbnqiuxtdoghsvu" + ("a({" if depth < 3 else "")
        kind = self.random.choice(kinds)
        if kind == "a":
            return "a" + self.signature(depth + 1)
        if kind == "(":
            return "(" + "".join(self.signature(depth + 1) for _ in range(self.random.randint(1, 3))) + ")"
        if kind == "{":
            return "a{s" + self.signature(depth + 1) + "}"
        return kind

    def options(self):
        """Names that are known, mostly with their types."""
        out = {}
        for _ in range(self.random.choice([0, 0, 1, 1, 2, 4])):
            name = self.random.choice(list(self.OPTIONS))
            kind = self.OPTIONS[name] if self.random.random() < 0.8 else self.signature(1)
            value = self.value(kind)
            # What waits is answered later than this test is over.
            out[name] = (kind, min(value, 1000) if name == "wait" and kind == "t" and value < 2**60 else value)
        return out

    def value(self, signature):
        kind = signature[0]
        if signature == "a{sv}":
            return self.options()
        if signature.startswith("a{s"):
            return {self.text(): self.value(signature[3:-1]) for _ in range(self.random.randrange(3))}
        if kind == "a":
            n = self.random.choice([0, 1, 1, 2, 3, 70]) if len(signature) < 4 else self.random.randrange(2)
            return [self.value(signature[1:]) for _ in range(n)]
        if kind == "(":
            return tuple(self.value(s) for s in split(signature[1:-1]))
        if kind == "v":
            inner = self.signature(2)
            return inner, self.value(inner)
        if kind == "s":
            return self.text()
        if kind == "o":
            return self.path()
        if kind == "g":
            return self.signature()
        if kind == "b":
            return self.random.random() < 0.5
        if kind == "d":
            return self.random.choice([0.0, -1.5, float("inf"), 1e300])
        if kind == "h":
            return self.random.choice(self.fds)
        number = self.random.choice(self.NUMBERS) % 2 ** self.BITS[kind]
        return -number if kind in "nix" and self.random.random() < 0.3 else number


def split(signature):
    """"sa{sv}u" into its single types."""
    out, at = [], 0
    while at < len(signature):
        end = at
        while signature[end] == "a":
            end += 1
        depth = 0
        while True:
            depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(signature[end], 0)
            end += 1
            if depth == 0:
                break
        out.append(signature[at:end])
        at = end
    return out


class Caller:
    """One connection, of one user."""

    def __init__(self, bus, uid, random_, daemon, fds):
        self.uid, self.random, self.lifeline, self.fds = uid, random_, daemon.lifeline, fds
        self.connection = connect(bus, uid)
        self.values = Values(random_, [*fds, daemon.lifeline])
        self.members = [(interface, *key, described) for interface, members in sorted(CONTRACT.items())
                        for key, described in sorted(members.items()) if key[0] in ("method", "property")]

    def place(self, interface):
        """Mostly where there is such an object."""
        fitting = [p for p in self.values.paths if p.startswith(f"{ROOT}/{interface.rpartition('.')[2].lower()}/")] or [ROOT]
        return self.random.choice(fitting) if self.random.random() < 0.8 else self.values.path()

    def method(self, interface, name, arguments):
        signature = "".join(a[1] for a in arguments)
        r = self.random.random()
        if r < 0.15:
            signature = "".join(self.values.signature() for _ in range(self.random.randrange(4)))
        body = tuple(self.values.value(s) for s in split(signature))
        if name in ENDS:
            body = tuple(self.fds[0] if v == self.lifeline and s == "h" else v for v, s in zip(body, split(signature)))
        at = DBusAddress(self.place(interface), NAME, interface)
        return new_method_call(at, "Frobnicate" if r > 0.98 else name, signature or None, body)

    def property(self, interface, name):
        at = Properties(DBusAddress(self.place(interface), NAME, interface))
        what = self.random.randrange(4)
        if what == 0:
            return at.get_all()
        if what == 1:
            kind = self.values.signature()
            return at.set(name, kind, self.values.value(kind))
        return at.get(name if self.random.random() < 0.8 else self.values.text())

    STANDARD = ("Introspectable", "Introspect"), ("Peer", "Ping"), ("ObjectManager", "GetManagedObjects")

    def standard(self):
        interface, name = self.random.choice(self.STANDARD)
        return new_method_call(DBusAddress(self.values.path(), NAME, "org.freedesktop.DBus." + interface), name)

    def next(self):
        """A message and what it is about."""
        while True:
            if self.random.random() < 0.03:
                return self.standard(), "a standard interface"
            interface, kind, name, described = self.random.choice(self.members)
            if (self.uid == 0 and name in ENDS) or (kind == "property" and self.random.random() < 0.7):
                continue                                # there are many properties
            message = self.property(interface, name) if kind == "property" else self.method(interface, name, described[0])
            return message, f"{interface}.{name}"

    def send(self, message):
        """Its number; None if it is none that a bus takes: a message has at most 16 descriptors."""
        fields = message.header.fields
        signature, fds = fields.get(HeaderFields.signature, ""), array.array("i")
        if self.random.random() < 0.1:
            fds.extend(self.random.choice(self.fds) for _ in range(self.random.choice([1, 2, 15])))    # that nobody has asked for
        types = split(signature)
        forged = "h" in types and self.random.random() < 0.3
        if forged:
            # Numbers of descriptors that are not there.
            unforged = "".join("u" if s == "h" else s for s in types)
            fields[HeaderFields.signature] = unforged
            message.body = tuple(self.random.choice([0, 1, 17, 2**32 - 1]) if s == "h" else v for v, s in zip(message.body, types))
        serial = next(self.connection.outgoing_serial)
        data = message.serialise(serial, fds)
        if forged:
            length = bytes([len(signature)])
            data = data.replace(length + unforged.encode() + b"\0", length + signature.encode() + b"\0", 1)
        if len(fds) > 16:
            return None
        if fds:
            self.connection._send_with_fds(data, fds)
        else:
            self.connection.sock.sendall(data)
        return serial

    def batch(self):
        """(what, name of the error or "") of some calls that are under way at the same time."""
        waiting, answers = {}, []
        for _ in range(BATCH):
            message, what = self.next()
            serial = self.send(message)
            if serial is not None:
                waiting[serial] = what, message
        end = time.monotonic() + WAIT
        while waiting:
            try:
                reply = self.connection.receive(timeout=end - time.monotonic())
            except TimeoutError:
                raise AssertionError(f"no answer to {[str(m)[:1000] for m in waiting.values()]}") from None
            what, message = waiting.pop(reply.header.fields.get(HeaderFields.reply_serial), (None, None))
            if what:
                error = reply.header.fields.get(HeaderFields.error_name, "")
                assert not error or error in TABLE | OF_DBUS, (error, reply.body, what, str(message)[:2000])
                answers.append((what, error))
        return answers


READING = {f"{MANAGER}.{m}" for m in ("Explain", "ChooseDriver", "Identify")}


def changes_nothing(answers):
    """As far as the answers tell: were all refused but those that only look?"""
    return all(error or what in READING or "method" not in kinds(what) for what, error in answers)


def kinds(what):
    interface, _, name = what.rpartition(".")
    return {kind for kind, n in CONTRACT.get(interface, {}) if n == name}


def test_random_calls():
    random_ = random.Random(SEED)
    print(f"seed {SEED}, {SECONDS} s")
    bus = privatebus.PrivateBus()
    daemon = Machine(bus, "made")
    other = connect(bus, OWNER)
    pipe = os.pipe()
    fds = [os.open("/dev/null", os.O_RDWR), *pipe, os.open("/", os.O_RDONLY), os.pidfd_open(os.getpid()), os.open("/dev/zero", os.O_RDONLY)]
    callers = [Caller(bus, uid, random_, daemon, fds) for uid in (USER, USER, 0, OWNER)]
    ordinary = new_method_call(DBusAddress(ROOT, NAME, MANAGER), "Explain", "asa{sv}", ([madesys.NVME], {}))
    calls, refusals, met = 0, collections.Counter(), collections.Counter()
    methods = {f"{i}.{n}" for i, members in CONTRACT.items() for kind, n in members if kind == "method"}
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or methods - set(met):
        before = daemon.snapshot()
        caller = random_.choice(callers)
        for c in callers:
            c.values.paths = sorted(before[0])
        answers = caller.batch()
        calls += len(answers)
        refusals.update(error for _, error in answers if error)
        met.update(what for what, _ in answers)
        if changes_nothing(answers):
            after = daemon.snapshot()
            changes = differences(before, after)
            assert not changes, f"{changes} by {answers}; the daemon says {daemon.log.read_text()[-3000:]}"
        reply = other.send_and_get_reply(ordinary, timeout=WAIT)
        assert reply.header.message_type == MessageType.method_return, reply
        assert daemon.process.poll() is None, daemon.log.read_text()
    assert LEASE in daemon.managed()
    print(f"{calls} calls of {len(met)} members; {dict(refusals)}")
    for c in callers:
        c.connection.close()
    other.close()
    daemon.stop()
    for fd in fds:
        os.close(fd)
    bus.stop()


def differences(before, after):
    flat = [{**files, **{(path, i, name): value for path, interfaces in objects.items() for i, properties in interfaces.items()
                         for name, value in [("", ""), *properties.items()]}} for objects, files in (before, after)]
    return {str(k): (flat[0].get(k), flat[1].get(k)) for k in {*flat[0], *flat[1]} if flat[0].get(k) != flat[1].get(k)}
