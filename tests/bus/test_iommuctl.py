# SPDX-License-Identifier: LGPL-2.1-or-later
"""iommuctl against fake-iommud.py on a private bus. IOMMUCTL names the built program."""

import json
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import time

import pytest

import privatebus

HERE = pathlib.Path(__file__).resolve().parent
IOMMUCTL = os.environ.get("IOMMUCTL")
pytestmark = pytest.mark.skipif(not IOMMUCTL, reason="IOMMUCTL does not name the built iommuctl")

NVME, NIC, FAR, NEAR = "0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:03:00.1"
MANY = [f"0000:05:{i // 8:02x}.{i % 8}" for i in range(20)]
VERBS = ("list", "tree", "show", "explain", "acquire", "run", "plug", "unplug", "release", "revoke", "vfs", "quota", "monitor")
WAIT = 120

# What a command under "run" does: reports its arguments, its environment, and what fstat says of every descriptor in IOMMUD_FDS.
CHILD = """
import json, os, sys
fds = dict(word.rsplit("=", 1) for word in os.environ["IOMMUD_FDS"].split())
stat = {name: [oct(os.fstat(int(fd)).st_mode & 0o170000), os.readlink("/proc/self/fd/" + fd), os.get_inheritable(int(fd))]
        for name, fd in fds.items()}
open_fds = [os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)]
print(json.dumps({"arguments": sys.argv[1:], "lease": os.environ["IOMMUD_LEASE"], "fds": fds, "stat": stat, "open": open_fds}))
"""


class Bus:
    """A private bus with, at times, a fake iommud on it."""

    def __init__(self, directory, activation=""):
        services = directory / "services"
        if activation:
            services.mkdir()
            (services / "org.iommud1.service").write_text(f"[D-BUS Service]\nName=org.iommud1\nExec={activation}\n")
        self.bus = privatebus.PrivateBus(services if activation else "")
        self.environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.bus.address}
        self.fake, self.started = None, []

    def start_fake(self):
        self.fake = subprocess.Popen([sys.executable, HERE / "fake-iommud.py"], env=self.environment, stdout=subprocess.PIPE,
                                     text=True)
        assert self.calls()["call"] == "ready"

    def stop_fake(self):
        self.fake.kill()
        self.fake.wait()

    def calls(self):
        """The next call that the fake has logged."""
        return json.loads(self.fake.stdout.readline())

    def run(self, *arguments, status=0, **more):
        p = subprocess.run([IOMMUCTL, *arguments], env={**self.environment, **more.pop("environment", {})}, text=True,
                           capture_output=True, timeout=WAIT, **more)
        assert p.returncode == status, (arguments, p.returncode, p.stdout, p.stderr)
        return p

    def json(self, *arguments, **more):
        return json.loads(self.run(*arguments, "--json", **more).stdout)

    def start(self, *arguments):
        p = subprocess.Popen([IOMMUCTL, *arguments], env=self.environment, text=True, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.started.append(p)
        return p

    def stop(self):
        for p in self.started:
            if p.poll() is None:
                p.kill()
            p.communicate()
        if self.fake:
            self.stop_fake()
        self.bus.stop()


@pytest.fixture
def bus(tmp_path):
    b = Bus(tmp_path)
    b.start_fake()
    yield b
    b.stop()


@pytest.fixture
def empty_bus(tmp_path):
    b = Bus(tmp_path)
    yield b
    b.stop()


def line(stream, pattern=""):
    """The next line that has the pattern. Read byte by byte, so that no buffer hides lines from the next select()."""
    end, seen, now = time.monotonic() + WAIT, [], b""
    while time.monotonic() < end:
        if not select.select([stream], [], [], 0.2)[0]:
            continue
        byte = os.read(stream.fileno(), 1)
        if byte not in (b"\n", b""):
            now += byte
            continue
        seen.append(now.decode())
        if not byte or re.search(pattern, seen[-1]):
            break
        now = b""
    assert seen and re.search(pattern, seen[-1]), (pattern, seen)
    return seen[-1]


def wait_until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def child(bus, *arguments, status=0):
    """Runs CHILD with these arguments of "run"; those behind "--" are the child's own."""
    options, own = arguments[:arguments.index("--")], arguments[arguments.index("--") + 1:]
    return json.loads(bus.run("run", *options, "--", sys.executable, "-c", CHILD, *own, status=status).stdout)


# The command line

def test_help_and_version(bus):
    text = bus.run("--help").stdout
    for verb in VERBS:
        assert f"\n  {verb} " in text
        own = bus.run(verb, "--help").stdout
        assert own.startswith(f"iommuctl {verb}") and "--help" in own
        assert max(map(len, own.splitlines())) <= 120
    assert re.fullmatch(r"iommuctl \S+\n", bus.run("--version").stdout)


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["--nonsense"], ["list", "--nonsense"], ["list", "cows"], ["list", "devices", "groups"], ["tree", "x"],
    ["show"], ["explain"], ["explain", "--wait", "3", NVME], ["explain", "--as", "no such user", NVME], ["acquire"],
    ["acquire", "nonsense"], ["acquire", "0000:01:20.0"], ["acquire", "0000:01:00.8"], ["acquire", NVME, "01:00.0"],
    ["acquire", "--pasids", "-1", NVME], ["acquire", "--pasids", "4294967296", NVME], ["acquire", "--wait", "1.5", NVME],
    ["acquire", "--wait", "99999999999999999", NVME], ["acquire", "--members", "x,y", NVME], ["run"], ["run", "-d", NVME],
    ["run", "--", "true"], ["release"], ["release", ""], ["release", "a", "b"], ["release", "--reason", "a\nb", "a"], ["revoke"], ["revoke", "a", "b"],
    ["revoke", "--deadline", "soon", "a"], ["revoke", "--reason", "a" * 121, "a"],
    ["vfs"], ["vfs", NVME], ["vfs", "nonsense", "1"], ["vfs", NVME, "-1"], ["vfs", NVME, "65536"], ["vfs", NVME, "1", "2"],
    ["monitor", "x"]])
def test_usage_errors(bus, arguments):
    p = bus.run(*arguments, status=2)
    assert p.stdout == "" and p.stderr.startswith("iommuctl: ")


def test_no_daemon(empty_bus):
    for arguments in ["list"], ["tree"], ["show", "7"], ["explain", NVME], ["acquire", NVME], ["release", "1"]:
        assert "iommud is not running, or not installed" in empty_bus.run(*arguments, status=1).stderr
    assert "not running" in empty_bus.run("run", "-d", NVME, "--", "true", status=1).stderr


def test_no_bus(empty_bus):
    p = empty_bus.run("list", status=1, environment={"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent"})
    assert "system bus" in p.stderr


if privatebus.BROKER == "dbus-daemon":          # dbus-broker starts nothing itself, but has systemd do it
    def test_daemon_does_not_start(tmp_path):
        b = Bus(tmp_path, activation="/bin/false")
        try:
            assert "iommud could not be started" in b.run("list", status=1).stderr
        finally:
            b.stop()


def test_full_disk(bus):
    with open("/dev/full", "w") as full:
        p = subprocess.run([IOMMUCTL, "list"], env=bus.environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert p.returncode == 1 and "standard output" in p.stderr


# Looking

def test_list_devices(bus):
    lines = bus.run("list").stdout.splitlines()
    assert lines[0].split() == ["ADDRESS", "GROUP", "DRIVER", "STATE", "LEASE", "MODEL"]
    addresses = [x.split()[0] for x in lines[1:]]
    assert addresses == sorted(addresses) and "0000:00:01.0" not in addresses and len(addresses) == 26
    assert lines[1].split()[:4] == [NVME, "7", "nvme", "free"]
    # Names that the daemon has not come from pci.ids.
    assert "Intel Corporation" in lines[1] and "82574L" in lines[1]
    assert bus.run("list", "devices").stdout.splitlines() == lines
    assert "0000:00:01.0" in bus.run("list", "--all").stdout
    devices = bus.json("list")["devices"]
    assert [d["Address"] for d in devices] == addresses
    assert devices[0]["HostUse"] == [{"kind": "mount", "text": "/dev/nvme0n1p1 is mounted on /srv"}]
    assert devices[0]["Path"].endswith("/device/0000_01_00_0") and devices[0]["NumaNode"] == -1
    assert len(bus.json("list", "-a")["devices"]) == 27


def test_list_groups_and_leases(bus):
    assert bus.run("list", "leases").stdout == "" and bus.json("list", "leases") == {"leases": []}
    lines = bus.run("list", "groups").stdout.splitlines()
    assert [x.split()[0] for x in lines[1:6]] == ["1", "7", "8", "9", "10"]
    assert lines[3].split()[1:] == ["no", "DMA-FQ", NIC, "0000:02:00.1"]
    groups = {g["Id"]: g for g in bus.json("list", "groups")["groups"]}
    assert groups[8]["Blockers"][0] == {"subject": "0000:02:00.1", "code": "host-driver", "text": "is on e1000e, a host driver"}
    holder = bus.start("acquire", NVME)
    id = line(holder.stdout)
    row = bus.run("list", "leases").stdout.splitlines()[1].split()
    assert row[0] == id[:8] and row[2] == str(holder.pid) and NVME in row
    assert f"{id[:8]} " in bus.run("list").stdout.splitlines()[1]


def test_tree(bus):
    text = bus.run("tree").stdout
    assert "group 1 " not in text and "group 1 " in bus.run("tree", "--all").stdout
    assert re.search(r"group 8 +blocked .*no interrupt remapping", text)
    assert re.search(r"0000:02:00\.1 .*blocked \(host-driver\): is on e1000e", text)
    assert re.search(r"0000:03:00\.0 .*reset also hits 0000:03:00\.1 \(group 10\)", text)
    assert not re.search(r"0000:01:00\.0 .*reset also", text)
    assert text.index("no group") < text.index("0000:04:00.0")
    document = bus.json("tree")
    assert [g["Id"] for g in document["groups"]][:4] == [7, 8, 9, 10]
    assert [d["Address"] for d in document["groups"][1]["Devices"]] == [NIC, "0000:02:00.1"]
    assert [d["Address"] for d in document["outside"]] == ["0000:04:00.0"]


def test_show(bus):
    text = bus.run("show", "01:00.0").stdout
    for pattern in (r"Device: +0000:01:00\.0", r"Class: +Non-Volatile memory controller \[010802\]", r"NUMA node: +-1",
                    r"Model: +Intel Corporation 82574L", r"Used by the host: +mount +/dev/nvme0n1p1 is mounted"):
        assert re.search(pattern, text), pattern
    assert re.search(r"Reserved regions: +0xfee00000-0xfeefffff +msi", bus.run("show", "8").stdout)
    assert bus.json("show", "8")["Id"] == 8
    assert [x.get("Id", x.get("Address")) for x in bus.json("show", "8", NVME)] == [8, NVME]
    assert bus.json("show", "/org/iommud1/group/8")["Id"] == 8
    for unknown in "0000:09:00.0", "4711", "abcdef", "/org/iommud1/lease/0", "", "/":
        assert "iommud knows no" in bus.run("show", unknown, status=1).stderr


def test_show_lease(bus):
    first, second = bus.start("acquire", NVME), bus.start("acquire", FAR)
    ids = [line(p.stdout) for p in (first, second)]
    for name in ids[0], ids[0][:8], ids[0].upper(), f"/org/iommud1/lease/{ids[0]}":
        assert bus.json("show", name)["Id"] == ids[0]
    text = bus.run("show", ids[1][:8]).stdout
    assert "\x1b" not in text and "\\x1b]0;forged\\x07" in text
    # The beginning that both ids have is "": so make one that is ambiguous only if the ids allow it.
    if ids[0][0] == ids[1][0] and not ids[0][0].isdigit():
        assert "several leases" in bus.run("show", ids[0][0], status=1).stderr


def test_explain(bus):
    text = bus.run("explain", NVME).stdout
    assert text.splitlines()[-1] == "possible: yes" and bus.calls()["options"] == {}
    text = bus.run("explain", NIC, status=1).stdout
    assert re.findall(r"^(\w+)  ", text, re.M) == ["block", "ask", "warn", "info"]
    assert "remedy: --members 0000:02:00.1" in text and "action: org.iommud1.acquire" in text
    assert text.splitlines()[-1] == "possible: no"
    answer = bus.json("explain", NIC, status=1)
    assert answer["possible"] is False and [f["severity"] for f in answer["findings"]] == ["block", "ask", "warn", "info"]
    assert answer["findings"][0]["details"] == {"remedy": "--members 0000:02:00.1"}
    assert "no such device" in bus.run("explain", "0000:09:00.0", status=1).stderr


def test_options(bus):
    bus.run("explain", "--as", "root", "--members", "02:00.1,0000:03:00.0", "--members", "03:00.1", "--hand-over", "attached",
            "--driver", "vfio-pci", "--pasids", "7", "--force-in-use", "--no-restore", "--reservation", "r", NIC, status=1)
    assert bus.calls() == {"call": "Explain", "devices": [NIC], "options": {
        "as": 0, "members": ["0000:02:00.1", FAR, NEAR], "hand-over": "attached", "driver": "vfio-pci", "pasids": 7,
        "force-in-use": True, "restore": False, "reservation": "r"}}
    bus.run("run", "-d", NVME, "--wait", "3", "--", "true")
    assert bus.calls()["options"] == {"wait": 3000000}
    assert 'unknown hand-over "x"' in bus.run("acquire", "--hand-over", "x", NVME, status=1).stderr


# Leases

def test_acquire_until_signal(bus):
    for s in signal.SIGINT, signal.SIGTERM:
        holder = bus.start("acquire", NVME, FAR)
        id = line(holder.stdout)
        assert re.fullmatch("[0-9a-f]{32}", id) and bus.json("show", NVME)["State"] == "leased"
        assert "is leased" in bus.run("acquire", NVME, status=1).stderr
        holder.send_signal(s)
        assert holder.wait(WAIT) == 0
        wait_until(lambda: bus.json("show", NVME)["State"] == "free")


def test_acquire_json(bus):
    holder = bus.start("acquire", "--json", NVME)
    answer = json.loads(line(holder.stdout))
    assert answer["pid"] == holder.pid and answer["path"] == "/org/iommud1/lease/" + answer["lease"]
    assert [(f["kind"], f["name"]) for f in answer["fds"]] == [("lifeline", ""), ("iommufd", ""), ("device", NVME)]
    assert os.readlink(f"/proc/{holder.pid}/fd/{answer['fds'][2]['fd']}") == f"/memfd:{NVME} (deleted)"
    assert answer["found"][NVME]["driver"] == "vfio-pci"


def test_acquire_error_is_escaped(bus):
    assert bus.run("acquire", "09:00.0", status=1).stderr == \
        "iommuctl: 0000:09:00.0: no such device\\x1b[31m; see lspci\n"


def test_acquire_ends_with_lease(bus):
    holder = bus.start("acquire", NVME)
    id = line(holder.stdout)
    p = bus.run("release", id[:8], "--reason", "maintenance")
    assert "qe\\x1bmu" in p.stderr
    errors = holder.communicate(timeout=WAIT)[1]
    assert holder.returncode == 1
    for text in "asked to end at once: maintenance", "being released", "ended: maintenance":
        assert errors.count(text) == 1


def test_acquire_outlives_the_daemon(bus):
    holder = bus.start("acquire", NVME)
    line(holder.stdout)
    bus.stop_fake()
    line(holder.stderr, "iommud stopped; lease .* goes on")
    # The fake forgets its leases, so this one is gone when it is back.
    bus.start_fake()
    line(holder.stderr, "ended: iommud no longer knows it")
    assert holder.wait(WAIT) == 1


def test_release_waits(bus):
    holder = bus.start("run", "-d", NVME, "--", "sleep", "60")
    wait_until(lambda: bus.json("list", "leases")["leases"])
    id = bus.json("list", "leases")["leases"][0]["Id"]
    waiter = bus.start("release", f"/org/iommud1/lease/{id}")
    line(waiter.stderr, f"waiting for .* which holds {NVME}")
    assert bus.json("show", id)["State"] == "releasing" and waiter.poll() is None
    holder.kill()
    assert waiter.wait(WAIT) == 0
    assert "no lease" in bus.run("release", id, status=1).stderr


def test_release_does_not_wait(bus):
    holder = bus.start("run", "-d", NVME, "--", "sleep", "60")
    wait_until(lambda: bus.json("list", "leases")["leases"])
    id = bus.json("list", "leases")["leases"][0]["Id"]
    bus.run("release", "--no-wait", id)
    assert bus.json("show", id)["State"] == "releasing" and holder.poll() is None


def test_release_survives_the_daemon(bus):
    bus.start("run", "-d", NVME, "--", "sleep", "60")
    wait_until(lambda: bus.json("list", "leases")["leases"])
    waiter = bus.start("release", bus.json("list", "leases")["leases"][0]["Id"])
    line(waiter.stderr, "waiting for")
    bus.stop_fake()
    line(waiter.stderr, "iommud stopped")
    bus.start_fake()
    assert waiter.wait(WAIT) == 0


def test_release_fails(bus):
    holder = bus.start("run", "-d", NVME, "--", "sleep", "60")
    wait_until(lambda: bus.json("list", "leases")["leases"])
    id = bus.json("list", "leases")["leases"][0]["Id"]
    assert bus.run("release", id, "--reason", "not yours", status=1).stderr == "iommuctl: polkit says no\n"
    assert "is broken: the device does not come back" in bus.run("release", id, "--reason", "break", status=1).stderr
    assert holder.poll() is None


def test_revoke_gives_a_deadline(bus):
    bus.start("run", "-d", NVME, "--", "sleep", "60")
    wait_until(lambda: bus.json("list", "leases")["leases"])
    id = bus.json("list", "leases")["leases"][0]["Id"]
    assert bus.calls()["call"] == "Acquire"
    bus.run("revoke", "--no-wait", id)
    call = bus.calls()
    assert (call["call"], call["deadline"]) == ("Revoke", 30_000_000) and call["reason"].startswith("revoked by ")
    bus.run("revoke", "--no-wait", "--deadline", "5", "--reason", "maintenance", id)
    call = bus.calls()
    assert (call["deadline"], call["reason"]) == (5_000_000, "maintenance")


# Running a command

def test_run_inherits(bus):
    c = child(bus, "-d", NVME, "-d", FAR, "--")
    assert list(c["fds"]) == ["lifeline", "iommufd", NVME, FAR]
    assert c["stat"]["lifeline"][0] == "0o10000" and c["stat"]["iommufd"][1] == "/memfd:iommufd (deleted)"
    for address in NVME, FAR:
        assert c["stat"][address] == ["0o100000", f"/memfd:{address} (deleted)", True]
    # Nothing else is left open: neither a second copy nor the bus.
    assert len([x for x in c["open"] if "memfd:" in x]) == 3 and not [x for x in c["open"] if "socket:" in x]
    assert re.fullmatch("[0-9a-f]{32}", c["lease"]) and all(int(fd) > 2 for fd in c["fds"].values())
    wait_until(lambda: bus.json("show", NVME)["State"] == "free")


def test_run_fetches_what_did_not_fit(bus):
    c = child(bus, *[x for d in MANY for x in ("-d", d)], "--", "{0}", "{19}")
    assert set(c["fds"]) == {"lifeline", "iommufd", *MANY}
    assert all(c["stat"][d][1] == f"/memfd:{d} (deleted)" for d in MANY)
    assert c["arguments"] == [c["fds"][MANY[0]], c["fds"][MANY[19]]]


def test_run_placeholders(bus):
    c = child(bus, "-d", FAR, "-d", NVME, "--", "iommufd,id=iommufd0,fd={iommufd}", "{lifeline}", '{"driver":"vfio-pci","fd":"{0}"}',
              "{1}{0}", "{{1}}", "{}", "{", "}", "{01}", "{-1}", "{x}", "{iommufd", "${1}", "${iommufd}", "$ {1}", "{12345678}", "")
    f = c["fds"]
    assert c["arguments"] == [
        f"iommufd,id=iommufd0,fd={f['iommufd']}", f["lifeline"], '{"driver":"vfio-pci","fd":"%s"}' % f[FAR], f[NVME] + f[FAR],
        "{%s}" % f[NVME], "{}", "{", "}", "{01}", "{-1}", "{x}", "{iommufd", "${1}", "${iommufd}", "$ " + f[NVME], "{12345678}", ""]


def test_run_refuses_before_it_acquires(bus, tmp_path):
    assert "no device {2}" in bus.run("run", "-d", NVME, "-d", FAR, "--", "true", "x{1}y{2}", status=2).stderr
    for form, word in ("none", "iommufd"), ("node", "group"), ("node", "0"), ("group", "iommufd"), ("group", "0"), ("unbound", "container"):
        assert "hands out no {%s}" % word in bus.run("run", "--hand-over", form, "-d", NVME, "--", "true", "{%s}" % word, status=2).stderr
    for form in "unbound", "none":
        assert "{ioas}" in bus.run("run", "--hand-over", form, "-d", NVME, "--", "true", "id={ioas}", status=2).stderr
    for missing in "no-such-command", str(tmp_path / "missing"), "":
        assert "command not found" in bus.run("run", "-d", NVME, "--", missing, status=127).stderr
    for wrong in str(tmp_path), "/dev/null":
        assert "not a program" in bus.run("run", "-d", NVME, "--", wrong, status=126).stderr
    # The first call that the fake sees is this one.
    bus.run("run", "-d", NVME, "true")
    assert bus.calls()["devices"] == [NVME]
    assert not select.select([bus.fake.stdout], [], [], 0.2)[0]


def test_run_exec_fails(bus, tmp_path):
    program = tmp_path / "not-really"
    program.write_text("neither ELF nor a script\n")
    program.chmod(0o755)
    assert "cannot run" in bus.run("run", "-d", NVME, "--", str(program), status=126).stderr
    wait_until(lambda: bus.json("show", NVME)["State"] == "free")


def test_run_exit_status_and_path(bus, tmp_path):
    program = tmp_path / "from-path"
    program.write_text("#!/bin/sh\nexit 42\n")
    program.chmod(0o755)
    bus.run("run", "-d", NVME, "from-path", status=42, environment={"PATH": f"/nonexistent:{tmp_path}:/bin"})


def test_run_none(bus):
    for form in "none", "node":
        assert list(child(bus, "--hand-over", form, "-d", NVME, "--", "{lifeline}")["fds"]) == ["lifeline"]


def test_run_group(bus):
    number = bus.json("show", NVME)["Group"].rpartition("/")[2]
    c = child(bus, "--hand-over", "group", "-d", NVME, "--", "c={container},g={group}")
    assert list(c["fds"]) == ["lifeline", "container", "group:" + number]
    assert c["arguments"] == [f"c={c['fds']['container']},g={c['fds']['group:' + number]}"]


def test_run_attached(bus):
    c = child(bus, "--hand-over", "attached", "-d", NVME, "--", "ioas={ioas}", "{0}", "${ioas}")
    assert c["arguments"] == ["ioas=2", c["fds"][NVME], "${ioas}"]


def test_plug_needs_a_lease_and_a_monitor(bus, tmp_path):
    for environment in {}, {"IOMMUD_LEASE": "../x", "IOMMUD_FDS": "lifeline=0"}, {"IOMMUD_LEASE": "ab", "IOMMUD_FDS": "lifeline=99"}:
        assert "no lease here" in bus.run("plug", "--qmp", "/none", NVME, status=1, environment=environment).stderr
    command = f"{IOMMUCTL} plug --qmp {tmp_path}/missing {NIC}"
    assert "monitor at" in bus.run("run", "-d", NVME, "--", "sh", "-c", command, status=1).stderr
    assert "belongs to no lease" in bus.run("unplug", "--qmp", f"{tmp_path}/missing", NIC, status=1).stderr
    for verb in "plug", "unplug":
        bus.run(verb, NVME, status=2)
        bus.run(verb, "--qmp", "/none", status=2)


def test_lifeline_travels(bus):
    """The lease lives as long as a descendant has the lifeline, not as long as the command."""
    p = bus.run("run", "-d", NVME, "--", "sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!")
    assert bus.json("show", NVME)["State"] == "leased"
    os.kill(int(p.stdout), signal.SIGKILL)
    wait_until(lambda: bus.json("show", NVME)["State"] == "free")


# Watching

def test_monitor(bus):
    text, lines = bus.start("monitor"), bus.start("monitor", "--json")
    line(text.stdout, "iommud started")
    assert json.loads(line(lines.stdout))["event"] == "started"
    bus.run("run", "-d", NVME, "--", "true")
    for pattern in (r"lease [0-9a-f]{8} added .*\\x1b\]0;forged", rf"device {NVME} changed State=leased .*HostUse=null",
                    r"group 7 changed Lease=/org/iommud1/lease/", r'lease [0-9a-f]{8} Ended reason="its lifeline was closed"',
                    r"lease [0-9a-f]{8} removed"):
        line(text.stdout, pattern)
    bus.stop_fake()
    line(text.stdout, "iommud stopped")
    bus.start_fake()
    line(text.stdout, "iommud started")
    events = []
    while len(events) < 2 or events[-1]["event"] != "started":
        events.append(json.loads(line(lines.stdout)))
    kinds = [e["event"] for e in events]
    assert kinds[0] == "added" and kinds[-3:] == ["removed", "stopped", "started"] and "signal" in kinds
    assert next(e for e in events if e["event"] == "signal")["arguments"] == {"reason": "its lifeline was closed"}
    assert next(e for e in events if e["event"] == "changed")["properties"]["State"] == "leased"


def test_monitor_loses_the_bus(empty_bus):
    p = empty_bus.start("monitor")
    line(p.stdout, "iommud stopped")
    empty_bus.bus.process.kill()
    assert p.wait(WAIT) == 1 and "lost the connection" in p.stderr.read()


# Virtual functions

def test_vfs(bus):
    functions = bus.run("vfs", "01:00.0", "4").stdout.splitlines()
    assert len(functions) == 20 and functions == sorted(functions) and functions[0] == "0000:05:00.0"
    assert bus.calls() == dict(call="SetVirtualFunctions", device=NVME, n=4, options={})
    bus.run("vfs", "--force-in-use", NVME, "0")
    assert bus.calls()["options"] == {"force-in-use": True}
    assert "no SR-IOV" in bus.run("vfs", "02:00.0", "1", status=1).stderr
    assert "no device 0000:77:00.0" in bus.run("vfs", "77:00.0", "1", status=1).stderr


# Completion

@pytest.mark.parametrize("typed, some", [
    ("iommuctl ", VERBS), ("iommuctl re", ["release", "revoke"]), ("iommuctl list g", ["groups"]), ("iommuctl explain --a", ["--as"]),
    ("iommuctl run --hand-over ", ["unbound", "attached", "group", "node", "none"]), ("iommuctl run -d 0000:01:00.0 -- tru", ["true"]),
    ("iommuctl run -d 0000:01:00.0 --wa", ["--wait"])])
def test_completion(typed, some):
    script = HERE.parent.parent / "client" / "iommuctl.bash"
    p = subprocess.run(["bash", "-c", f'. "{script}"; COMP_LINE=$1 COMP_POINT=${{#1}}; _iommuctl; printf "%s\\n" "${{COMPREPLY[@]}}"',
                        "bash", typed], text=True, capture_output=True, timeout=WAIT)
    assert p.stderr == "" and set(some) <= set(p.stdout.split())
