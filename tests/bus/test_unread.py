# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients that ask and do not read: what may lie in the bus for them, and who else is served. On a private bus and a made machine."""

import contextlib
import os
import re
import signal

import pytest
from jeepney import DBusAddress, HeaderFields, MessageFlag, MessageType, new_method_call

import madesys
import privatebus
from test_contract import MANAGER, NAME, ROOT, WAIT, connect, made_daemon

OBJECTS = new_method_call(DBusAddress(ROOT, NAME, "org.freedesktop.DBus.ObjectManager"), "GetManagedObjects")
EXPLAIN = new_method_call(DBusAddress(ROOT, NAME, MANAGER), "Explain", "asa{sv}", ([madesys.NVME], {}))
BOUND = 24 << 20                # bytes that may lie unread; dbus-daemon hears no more of the daemon at 127 MiB
GROWTH = 4096                   # KiB


@pytest.fixture
def daemon():
    with made_daemon() as d:
        yield d


class Lazy:
    def __init__(self, bus, uid=1000):
        self.connection = connect(bus, uid)

    def ask(self, message, n):
        for _ in range(n):
            self.connection.send(message)

    def read(self, n):
        """The names of errors of n answers, "" for none."""
        out = []
        while len(out) < n:
            header = self.connection.receive(timeout=WAIT).header
            if header.message_type in (MessageType.method_return, MessageType.error):
                out.append(header.fields.get(HeaderFields.error_name, ""))
        return out


def kib(daemon):
    """None under a sanitizer, which keeps what was freed."""
    with open(f"/proc/{daemon.process.pid}/maps") as f:
        if "libasan" in f.read():
            return None
    with open(f"/proc/{daemon.process.pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])


def unread(daemon):
    """Bytes of the daemon's that lie in the bus; dbus-broker does not tell, for it counts them as the receiver's."""
    if privatebus.BROKER != "dbus-daemon":
        return 0
    (stats,) = daemon.call("GetConnectionStats", "s", (NAME,), "/org/freedesktop/DBus", "org.freedesktop.DBus.Debug.Stats",
                           "org.freedesktop.DBus")
    return stats["IncomingBytes"][1]


@contextlib.contextmanager
def stopped(daemon):
    """What is sent meanwhile is there at once."""
    daemon.process.send_signal(signal.SIGSTOP)
    yield
    daemon.process.send_signal(signal.SIGCONT)


def is_served(daemon):
    assert daemon.call("Explain", "asa{sv}", ([madesys.NVME], {}))[1]


def test_answers_that_nobody_reads(daemon):
    before = kib(daemon)
    lazy = [Lazy(daemon.bus) for _ in range(3)]
    most = 0
    for _ in range(16):
        for client in lazy:
            client.ask(OBJECTS, 100)
            is_served(daemon)
        most = max(most, unread(daemon))
        assert most < BOUND
    assert privatebus.BROKER != "dbus-daemon" or most > 2 << 20, "that was no attack"
    # Who has read nothing is told so, until it is left alone.
    if privatebus.BROKER == "dbus-daemon":
        answers = lazy[0].read(400)
        assert answers[0] == "" and set(answers) <= {"", f"{NAME}.Error.LimitExceeded", "org.freedesktop.DBus.Error.LimitsExceeded"}
    # And one that reads is served, whoever else does not.
    other = Lazy(daemon.bus, 1001)
    for _ in range(5):
        other.ask(OBJECTS, 20)
        assert other.read(20) == [""] * 20
    for client in [*lazy, other]:
        client.connection.close()
    is_served(daemon)
    assert unread(daemon) < 1 << 20
    print(f"at most {most} bytes unread; {before} KiB before, {kib(daemon)} after")
    assert before is None or kib(daemon) < before + GROWTH


def test_calls_that_want_no_answer(daemon):
    """No bus counts them. Of each connection so many are looked at as a user may have, and no answer is lost for them."""
    before, fds = kib(daemon), len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    flood = [Lazy(daemon.bus) for _ in range(3)]
    silent = new_method_call(DBusAddress(ROOT, NAME, MANAGER), "Explain", "asa{sv}", ([madesys.NVME], {}))
    silent.header.flags |= MessageFlag.no_reply_expected
    with stopped(daemon):
        for client in flood:
            client.ask(silent, 1500)
            client.ask(EXPLAIN, 60)
    possible = {"", f"{NAME}.Error.LimitExceeded"}
    assert {a for client in flood for a in client.read(60)} <= possible
    is_served(daemon)
    # Without those before them all are looked at, and they are more than one user may have.
    crowd = [Lazy(daemon.bus, 1001) for _ in range(3)]
    with stopped(daemon):
        for client in crowd:
            client.ask(EXPLAIN, 60)
    assert {a for client in crowd for a in client.read(60)} == possible
    for client in [*flood, *crowd]:
        client.connection.close()
    is_served(daemon)
    daemon.wait(lambda: len(os.listdir(f"/proc/{daemon.process.pid}/fd")) <= fds)
    assert before is None or kib(daemon) < before + GROWTH
