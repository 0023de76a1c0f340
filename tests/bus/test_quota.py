# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits of PASIDs in the real daemon, on a private bus and over a made /sys with a few cgroups (madesys.py). Nothing can be booked here,
for nothing can be acquired; that is for the lab."""

import pytest
from jeepney import DBusAddress, MatchRule, new_method_call

import madesys
from test_contract import MANAGER, NAME, ROOT, Daemon, made_daemon, refused

QUOTA = f"{NAME}.Quota"
NONE = 2 ** 64 - 1
MACHINE, VM_A, USER, APP = "/machine.slice", "/machine.slice/vm@a.service", "/user.slice/user@1000.service", "/user.slice/user@1000.service/app.slice"


class Limited(Daemon):
    def set(self, cgroup, limit, **options):
        self.call("SetPasidLimit", "sta{sv}", (cgroup, limit, {k: ("b", v) for k, v in options.items()}))

    def quotas(self):
        """{cgroup: (limit, source)} of all objects."""
        found = [{k: v[1] for k, v in o[QUOTA].items()} for o in self.managed().values() if QUOTA in o]
        return {q["CGroup"]: (q["Limit"], q["Source"]) for q in found}

    def configure(self, **files):
        (self.config / "quota.d").mkdir(exist_ok=True)
        for old in (self.config / "quota.d").iterdir():
            old.unlink()
        for name, text in files.items():
            (self.config / f"quota.d/{name}.conf").write_text(text)
        self.call("Reload")

    def restart(self):
        self.end()
        self.wait_until_gone()
        self.start()

    def wait_until_gone(self):
        while self.owned(NAME):
            pass


@pytest.fixture
def daemon():
    with made_daemon(Limited) as d:
        yield d


def test_a_limit_is_set_and_taken_back(daemon):
    assert daemon.quotas() == {"/": (NONE, "")}
    daemon.set(MACHINE, 64)
    daemon.set(VM_A, 0)
    assert daemon.quotas() == {"/": (NONE, ""), MACHINE: (64, "persistent"), VM_A: (0, "persistent")}
    daemon.set(VM_A, NONE)
    daemon.set(MACHINE, 2 ** 32 - 1)
    daemon.set("/", 7)
    assert daemon.quotas() == {"/": (7, "persistent"), MACHINE: (2 ** 32 - 1, "persistent")}


def test_until_reboot_counts_first_and_goes_with_a_lasting_one(daemon):
    daemon.set(MACHINE, 64)
    daemon.set(MACHINE, 8, runtime=True)
    assert daemon.quotas()[MACHINE] == (8, "runtime")
    daemon.set(MACHINE, NONE, runtime=True)
    assert daemon.quotas()[MACHINE] == (64, "persistent")
    daemon.set(MACHINE, 8, runtime=True)
    daemon.set(MACHINE, 9)
    assert daemon.quotas()[MACHINE] == (9, "persistent")
    daemon.set(MACHINE, 8, runtime=True)
    daemon.set(MACHINE, NONE)
    assert daemon.quotas() == {"/": (NONE, "")}


def test_limits_outlive_the_daemon_and_the_machine(daemon):
    daemon.set(MACHINE, 64)
    daemon.set(VM_A, 8, runtime=True)
    daemon.restart()
    assert daemon.quotas() == {"/": (NONE, ""), MACHINE: (64, "persistent"), VM_A: (8, "runtime")}
    daemon.end()
    daemon.wait_until_gone()
    (daemon.directory / "run/quotas").unlink()          # as a reboot does
    daemon.start()
    assert daemon.quotas() == {"/": (NONE, ""), MACHINE: (64, "persistent")}


@pytest.mark.parametrize("change", [lambda text: text[:-4], lambda text: text.replace("64", "-1"), lambda text: text + text,
                                    lambda text: text.replace("/machine", "machine"), lambda text: "", lambda text: text + "\0"])
def test_a_file_that_cannot_be_trusted_is_set_aside(daemon, change):
    daemon.set(MACHINE, 64)
    file = daemon.directory / "state/quotas"
    daemon.end()
    daemon.wait_until_gone()
    file.write_text(change(file.read_text()))
    daemon.start()
    assert daemon.quotas() == {"/": (NONE, "")}
    assert not file.exists() and (daemon.directory / "state/quotas.bad").exists()
    assert "quotas" in daemon.log.read_text()


def test_what_cannot_be_written_down_does_not_count(daemon):
    daemon.set(MACHINE, 64)
    (daemon.directory / "state/.quotas.new").mkdir()
    refused(lambda: daemon.set(MACHINE, 65), f"{NAME}.Error.Failed", "written down")
    refused(lambda: daemon.set(VM_A, 1), f"{NAME}.Error.Failed")
    assert daemon.quotas() == {"/": (NONE, ""), MACHINE: (64, "persistent")}


def test_of_many_at_once_the_last_counts(daemon):
    for limit in range(1, 16):     # a user may have 16 under way
        options = {"runtime": ("b", limit % 7 == 0)}
        daemon.connection.send(new_method_call(DBusAddress(ROOT, NAME, MANAGER), "SetPasidLimit", "sta{sv}", (MACHINE, limit, options)))
    daemon.set(VM_A, 3)
    assert daemon.quotas() == {"/": (NONE, ""), MACHINE: (15, "persistent"), VM_A: (3, "persistent")}
    daemon.restart()
    assert daemon.quotas() == {"/": (NONE, ""), MACHINE: (15, "persistent"), VM_A: (3, "persistent")}


def test_files_of_the_administrator(daemon):
    daemon.configure(a=f"[Quota]\nCGroup={MACHINE} /gone.slice /x/*\nPasids=16\n", b="[Quota]\nSlice=*.slice\nPasids=99\n",
                     c="[Quota]\nUnit=vm@*.service\nPasids=5\n")
    source = f"{daemon.config}/quota.d/a.conf"
    assert daemon.quotas() == {"/": (NONE, ""), MACHINE: (16, source), "/gone.slice": (16, source)}
    daemon.set(VM_A, 8)
    assert daemon.quotas()[VM_A] == (8, "persistent")
    daemon.set(MACHINE, 17)
    daemon.configure(c="[Quota]\nUnit=vm@*.service\nPasids=5\n")
    assert daemon.quotas() == {"/": (NONE, ""), MACHINE: (17, "persistent"), VM_A: (8, "persistent")}
    with pytest.raises(Exception, match="wrong.conf:1: "):
        daemon.configure(wrong="nonsense\n")
    assert MACHINE in daemon.quotas()


def test_limits_are_kept_where_nobody_else_can_go_around_them(daemon):
    daemon.set(USER, 4)
    refused(lambda: daemon.set(APP, 4), f"{NAME}.Error.InvalidArgument", APP, f"below {USER}, which is delegated")
    refused(lambda: daemon.set("/none.slice", 4), f"{NAME}.Error.NoSuchCGroup", "/none.slice", "quota.d")
    assert daemon.quotas() == {"/": (NONE, ""), USER: (4, "persistent")}
    # What was set is taken back although its cgroup is gone.
    (daemon.directory / "sys/fs/cgroup" / APP[1:]).rmdir()
    (daemon.directory / "sys/fs/cgroup" / USER[1:]).rmdir()
    assert daemon.quotas()[USER] == (4, "persistent")
    daemon.set(USER, NONE)
    assert daemon.quotas() == {"/": (NONE, "")}


def test_setting_limits_is_an_administrators(daemon):
    for limit in 5, NONE:
        error, (text,) = daemon.as_other("SetPasidLimit", "sta{sv}", MACHINE, limit, {})
        assert error == f"{NAME}.Error.NotAuthorized" and "manage-quotas" in text
    # And nothing is looked up for who may not ask.
    assert daemon.as_other("SetPasidLimit", "sta{sv}", "/none.slice", 5, {})[0] == f"{NAME}.Error.NotAuthorized"
    assert daemon.quotas() == {"/": (NONE, "")}


def test_changes_are_told(daemon):
    rule = MatchRule(type="signal", sender=NAME)
    daemon.call("AddMatch", "s", (rule.serialise(),), "/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
    with daemon.connection.filter(MatchRule(type="signal"), bufsize=64) as heard:
        def next_signal(member):
            while True:
                m = daemon.connection.recv_until_filtered(heard, timeout=120)
                if m.header.fields[3] == member:
                    return m.header.fields[1], m.body
        daemon.set(MACHINE, 64)
        path, (object_, interfaces) = next_signal("InterfacesAdded")
        assert (path, object_) == (ROOT, f"{ROOT}/quota/_2fmachine_2eslice")
        assert interfaces[QUOTA]["Limit"] == ("t", 64) and interfaces[QUOTA]["Booked"] == ("t", 0)
        daemon.set(MACHINE, 65)
        while True:
            path, (interface, changed, _) = next_signal("PropertiesChanged")
            if path == object_:
                break
        assert interface == QUOTA and changed["Limit"] == ("t", 65)
        daemon.set(MACHINE, NONE)
        assert next_signal("InterfacesRemoved") == (ROOT, (object_, [QUOTA]))


def explain_pasids(daemon, n):
    _, findings = daemon.call("Explain", "asa{sv}", ([madesys.NIC0], {"pasids": ("u", n)}))
    return [(code, subject, text) for code, severity, subject, text, _ in findings if severity == "block" and code.startswith("quota")]


def test_explain_says_which_level_has_how_many_left(daemon):
    assert explain_pasids(daemon, 5) == []              # root, and no limit
    daemon.set("/", 4)
    assert explain_pasids(daemon, 4) == []
    (code, subject, text), = explain_pasids(daemon, 5)
    assert (code, subject) == ("quota", "/") and "limit of 4" in text and "4 are left" in text and "persistent" in text
