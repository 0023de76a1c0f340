# SPDX-License-Identifier: LGPL-2.1-or-later
"""iommud --check and the property Health, with the real daemon on a made machine (madesys.py). That has no /dev/iommu and no gate, so
something is off from the beginning; what each test adds is told besides, and goes again."""

import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest
from jeepney import DBusAddress, Properties

import madesys
from test_contract import MANAGER, NAME, NOWHERE, ROOT, WAIT, Daemon, made_daemon

IOMMUCTL = os.environ["IOMMUCTL"]
OF_THE_MACHINE = {("no-iommufd", "")}
ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def daemon():
    with made_daemon() as d:
        yield d


def check(daemon):
    """What iommud --check says: its exit status, {(code, subject)} of what is off, and all that it printed."""
    p = subprocess.run([*daemon.command, "--check"], env=daemon.environment, text=True, capture_output=True, timeout=WAIT)
    assert "Sanitizer" not in p.stderr and "runtime error" not in p.stderr, p.stderr
    lines = [re.fullmatch(r"(\S+) +(.*) \[(\S+)\]", line) for line in p.stdout.splitlines() if line.endswith("]")]
    found = {(m[3], m[2].split(": ")[0] if re.match(r"[\w./:-]+: ", m[2]) else "") for m in lines if m[1] in ("warn", "block")}
    return p.returncode, found, p.stdout


def health(daemon):
    (_, findings), = daemon.ask(Properties(DBusAddress(ROOT, NAME, MANAGER)).get("Health"))
    return {(code, subject) for code, severity, subject, _, _ in findings if severity in ("warn", "block")}


def snapshot(directory):
    return {p: (p.lstat().st_mode, p.lstat().st_mtime_ns, p.lstat().st_ino) for p in sorted(directory.rglob("*"))}


def only(found, code):
    return {x for x in found if x[0] == code}


def test_the_machine_itself(daemon):
    before = snapshot(daemon.directory / "run")
    status, found, text = check(daemon)
    assert (status, found) == (1, OF_THE_MACHINE) and "all well" not in text, text
    assert health(daemon) == OF_THE_MACHINE
    assert snapshot(daemon.directory / "run") == before
    assert daemon.as_other("Get", "ss", MANAGER, "Health", interface="org.freedesktop.DBus.Properties")[0] == ""


def test_iommuctl_shows_it(daemon):
    p = subprocess.run([IOMMUCTL, "health"], env=daemon.environment, text=True, capture_output=True, timeout=WAIT)
    assert p.returncode == 1 and "[no-iommufd]" in p.stdout and "remedy: " in p.stdout and "all well" not in p.stdout, p
    p = subprocess.run([IOMMUCTL, "health", "--json"], env=daemon.environment, text=True, capture_output=True, timeout=WAIT)
    findings = json.loads(p.stdout)["health"]
    assert p.returncode == 1 and {f["code"] for f in findings if f["severity"] != "info"} == {"no-iommufd"}, p


def test_configuration(daemon):
    reservation = daemon.config / "reservations.d/10-x.conf"
    reservation.write_text(f"[Device]\nAddress={NOWHERE}\n[Client]\nUser=root\n")
    try:
        found = check(daemon)[1]
        assert only(found, "not-reloaded") and ("reserves-nothing", NOWHERE) in found
        daemon.call("Reload")
        found = check(daemon)[1]
        assert not only(found, "not-reloaded") and ("reserves-nothing", NOWHERE) in found
        assert ("reserves-nothing", NOWHERE) in health(daemon)
        # A mistake: --check names the place, to whom it may not concern only that there is one is told.
        reservation.write_text("[Device]\nColour=secret\n")
        status, found, text = check(daemon)
        assert status == 1 and only(found, "bad-configuration") and f"{reservation}:2: " in text
        assert not only(health(daemon), "bad-configuration")
        with pytest.raises(Exception):
            daemon.call("Reload")
        assert only(health(daemon), "bad-configuration")
    finally:
        reservation.unlink()
        daemon.call("Reload")
    assert health(daemon) == OF_THE_MACHINE


@pytest.mark.parametrize("path, code", [
    (f"leases/{ID}", "state-unknown"), (f"lifelines/{ID}", "state-unknown"), (f"leases/{ID}.bad", "state-set-aside"),
    (f"devices/{NOWHERE}", "state-unknown"), ("locks/x", "state-unknown"), ("x", "state-unknown"), ("quotas.bad", "state-set-aside")])
def test_strange_files(daemon, path, code):
    file = daemon.directory / "run" / path
    file.touch(0o600)
    try:
        assert health(daemon) - OF_THE_MACHINE == {(code, path)}
        assert check(daemon)[1] - OF_THE_MACHINE == {(code, path)}
    finally:
        file.unlink()


@pytest.mark.parametrize("path, mode, uid, subject", [("", 0o755, 0, "/run/iommud"), ("leases", 0o700, 1000, "leases"),
                                                      ("configuration", 0o644, 0, "configuration")])
def test_owners_and_modes(daemon, path, mode, uid, subject):
    file = daemon.directory / "run" / path
    was = file.stat()
    os.chown(file, uid, -1)
    file.chmod(mode)
    try:
        assert health(daemon) - OF_THE_MACHINE == {("state-mode", subject)}
        assert check(daemon)[1] - OF_THE_MACHINE == {("state-mode", subject)}
    finally:
        os.chown(file, was.st_uid, -1)
        file.chmod(was.st_mode & 0o7777)


def test_locks_of_others(daemon):
    file = daemon.directory / "run/locks" / madesys.NVME
    with open(file, "w") as lock:
        file.chmod(0o600)
        assert not only(health(daemon), "stuck-worker")
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert health(daemon) - OF_THE_MACHINE == {("stuck-worker", madesys.NVME)}
        assert check(daemon)[1] - OF_THE_MACHINE == {("stuck-worker", madesys.NVME)}
    file.unlink()


def test_devices_that_changed_unnoticed(daemon):
    driver = daemon.directory / "sys/devices/pci0000:00" / madesys.DEVICES[madesys.NVME][0] / "driver"
    target = os.readlink(driver)
    driver.unlink()
    try:
        assert check(daemon)[1] - OF_THE_MACHINE == {("out-of-date", madesys.NVME)}
    finally:
        driver.symlink_to(target)
    assert check(daemon)[1] == OF_THE_MACHINE


def test_without_a_daemon(daemon):
    daemon.end()
    run = daemon.directory / "run"
    before = snapshot(run)
    try:
        status, found, text = check(daemon)
        assert (status, found) == (1, OF_THE_MACHINE) and "[not-running]" in text, text
        lease = run / "leases" / ID
        lease.write_text("VERSION=1\n")
        lease.chmod(0o600)
        assert check(daemon)[1] - OF_THE_MACHINE == {("state-untrusted", f"leases/{ID}")}
        lease.unlink()
        assert {p: s[::2] for p, s in snapshot(run).items()} == {p: s[::2] for p, s in before.items()}
    finally:
        daemon.start()


def test_without_anything(daemon):
    """A machine on which it never ran; and it has not begun to."""
    d = pathlib.Path(tempfile.mkdtemp())
    p = subprocess.run([*daemon.command[:-3], *Daemon.directories(d), "--check"],
                       env={**daemon.environment, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"},
                       text=True, capture_output=True, timeout=WAIT)
    left = list(d.iterdir())
    shutil.rmtree(d)
    # Without the bus it is not known who runs, and nothing is called well.
    assert (p.returncode, left) == (2, []) and "[cannot-tell]" in p.stdout and "all well" not in p.stdout, p
