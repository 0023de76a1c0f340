# SPDX-License-Identifier: LGPL-2.1-or-later
"""iommuctl quota against fake-iommud.py, see test_iommuctl.py."""

import re

import pytest

from test_iommuctl import NVME, bus, line       # noqa: F401


@pytest.mark.parametrize("arguments", [
    ["x"], ["set"], ["set", "/x"], ["set", "x", "1"], ["set", "/x", "many"], ["set", "/x", "4294967296"], ["unset"], ["unset", "/x", "1"],
    ["--runtime"], ["--json", "set", "/x", "1"]])
def test_usage_errors(bus, arguments):
    p = bus.run("quota", *arguments, status=2)
    assert p.stdout == "" and p.stderr.startswith("iommuctl: ")


def test_quota_tree(bus):
    lines = bus.run("quota").stdout.splitlines()
    assert lines[0].split() == ["CGROUP", "LIMIT", "BOOKED", "SVA", "IN", "USE", "PEAK", "REFUSED", "KILLED", "LIMIT", "BY"]
    rows = [line.split() for line in lines[1:]]
    assert [len(line) - len(line.lstrip(" │├└─")) for line in lines[1:]] == [0, 2, 2, 4, 2]
    assert rows[0] == ["/", "-", "24", "0", "0", "0", "0", "0"]
    assert rows[1] == ["├─machine-x.slice", "0", "0", "0", "0", "0", "0", "0", "persistent"]
    assert rows[2] == ["├─machine.slice", "64", "24", "2", "5", "7", "3", "1", "/etc/iommud/quota.d/vms.conf"]
    assert rows[3][:3] == ["│", "└─machine-qemu\\x2d1.scope", "16"]
    # What is not there in between does not hide what is below it; and nobody talks to the terminal.
    assert rows[4][0].startswith("└─user.slice/user-1000.slice/") and "\x1b" not in lines[5]


def test_quota_json(bus):
    quotas = bus.json("quota")["quotas"]
    assert [q["CGroup"] for q in quotas][:3] == ["/", "/machine-x.slice", "/machine.slice"]
    assert quotas[0]["Limit"] == 2 ** 64 - 1 and quotas[2]["InUse"] == 5 and quotas[2]["Path"].endswith("/quota/_2fmachine_2eslice")


def test_quota_set(bus):
    bus.run("quota", "set", "/machine.slice", "32")
    assert bus.calls() == {"call": "SetPasidLimit", "cgroup": "/machine.slice", "limit": 32, "options": {}}
    bus.run("quota", "--runtime", "set", "/machine.slice", "0")
    assert bus.calls() == {"call": "SetPasidLimit", "cgroup": "/machine.slice", "limit": 0, "options": {"runtime": 1}}
    bus.run("quota", "unset", "/machine.slice")
    assert bus.calls() == {"call": "SetPasidLimit", "cgroup": "/machine.slice", "limit": 2 ** 64 - 1, "options": {}}
    assert "there is no cgroup /none" in bus.run("quota", "set", "/none", "1", status=1).stderr
    # Looking changes nothing.
    bus.calls()
    bus.run("quota")
    bus.run("explain", NVME)
    assert bus.calls()["call"] == "Explain"


def test_monitor_tells_of_quotas(bus):
    p = bus.start("monitor")
    line(p.stdout, "iommud started|is running")
    bus.run("quota", "set", "/machine.slice", "32")
    assert re.search(r" quota /machine.slice changed Limit=32 Source=persistent", line(p.stdout, "quota"))
