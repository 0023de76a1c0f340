"""What has to hold at any time, whoever died and wherever."""
import contextlib
import json
import os
import re
import subprocess

import agent
import gatemaps
from agent import Agent
from lab import STATE, check, children, driver_of, group_of, holders, pid, sysfs, wait_free, wait_until

NO_LEASE = "/"


def kinds_of_fds():
    """What the daemon has open, sorted; without the numbers of sockets and the like."""
    found = []
    directory = f"/proc/{pid()}/fd"
    for fd in os.listdir(directory):
        with contextlib.suppress(OSError):
            found.append(re.sub(r":\[\d+\]", "", os.readlink(f"{directory}/{fd}")))
    return sorted(found)


def managed_objects():
    """As lab.objects(), several times as fast."""
    out = subprocess.run(["busctl", "--json=short", "call", "org.iommud1", "/org/iommud1", "org.freedesktop.DBus.ObjectManager",
                          "GetManagedObjects"], check=True, capture_output=True).stdout
    return {path: {i: {name: value["data"] for name, value in properties.items()} for i, properties in interfaces.items()}
            for path, interfaces in json.loads(out)["data"][0].items()}


def files():
    """Of the state directory, but for the lock files."""
    return sorted(f"{d}/{f}".removeprefix(STATE + "/") for d, _, names in os.walk(STATE) for f in names if not d.endswith("/locks"))


def lease_files():
    return os.listdir(STATE + "/leases")


class Invariants:
    """Begins with a machine of which nobody has anything."""

    def __init__(self):
        managed_objects()       # opens what describes devices
        wait_until(lambda: not children(), "no worker is at work, or waits to be reaped")
        self.sysfs, self.fds, self.unclean = sysfs(), kinds_of_fds(), []
        self.made = {}          # devices that a test has made, with what they are on as long as they are there
        self.dirty = set(os.listdir(STATE + "/devices"))       # not clean already
        self.files = [f for f in files() if not f.startswith("devices/")]

    def violations(self, is_over):
        """In words; none is good. is_over: nobody has anything any more."""
        known, drivers = managed_objects(), sysfs()

        def of(interface):
            return {path: interfaces[interface] for path, interfaces in known.items() if interface in interfaces}
        devices, groups, leases, quotas = map(of, (agent.DEVICE, agent.GROUP, agent.LEASE, agent.QUOTA))
        out = self.owners(devices, groups, leases) + self.devices(devices, drivers) + counts(leases, quotas) + self.state_files(leases)
        return out + (self.leftovers(devices, drivers, leases) if is_over else [])

    @staticmethod
    def owners(devices, groups, leases):
        """One per group, of all that is in it."""
        out = []
        address = {d["Address"]: d for d in devices.values()}
        for path, lease in leases.items():
            for a in [*lease["Devices"], *lease["Parked"]]:
                if a in address and address[a]["Lease"] != path:
                    out.append(f"{a} is of {path} and says {address[a]['Lease']}")
        for g in groups.values():
            owners = {devices[d]["Lease"] for d in g["Devices"]} - {NO_LEASE}
            if len(owners) > 1 or owners - {g["Lease"]}:
                out.append(f"group {g['Id']} is of {g['Lease']}, its devices of {owners}")
            if g["Lease"] != NO_LEASE and g["Lease"] not in leases:
                out.append(f"group {g['Id']} is of {g['Lease']}, which there is not")
        return out

    def devices(self, devices, drivers):
        """Free and on its original driver, or of a lease, or visibly broken."""
        out = []
        for d in devices.values():
            a, state = d["Address"], d["State"]
            if state in ("free", "changing") and d["Lease"] != NO_LEASE:
                out.append(f"{a} is {state} and of {d['Lease']}")
            was = self.sysfs.get(a) or self.made.get(a)
            if state == "free" and was and drivers.get(a, was) != was:
                out.append(f"{a} is free with driver {drivers[a]} instead of {was}")
            if state in ("preparing", "leased", "parked", "releasing") and d["Lease"] == NO_LEASE:
                out.append(f"{a} is {state} and nobody's")
            if state == "broken" and not d["StateReason"]:
                out.append(f"{a} is broken and nobody knows why")
        return out

    @staticmethod
    def state_files(leases):
        ids = sorted(lease["Id"] for lease in leases.values())
        there = files()
        out = [] if [f for f in there if f.startswith("leases/")] == [f"leases/{i}" for i in ids] else [f"leases are {ids}, files {there}"]
        return out + [f"{f} is of no lease" for f in there if f.startswith("lifelines/") and f.partition("/")[2] not in ids]

    def leftovers(self, devices, drivers, leases):
        out = [f"{path} is left over: {lease['State']} {lease['StateReason']}" for path, lease in leases.items()]
        out += [f"{d['Address']} is {d['State']}: {d['StateReason']}" for d in devices.values() if d["State"] != "free"]
        out += [f"{a} has driver {drivers.get(a, ('gone',))} instead of {was}" for a, was in self.sysfs.items() if drivers.get(a) != was]
        out += [f"{a} is left over" for a in {d["Address"] for d in devices.values()} - set(self.sysfs)]
        self.unclean = [d["Address"] for d in devices.values() if not d["Clean"]]
        if files() != sorted(self.files + [f"devices/{a}" for a in self.unclean]):
            out.append(f"files {files()} instead of {self.files}, and {self.unclean} are not clean")
        if not out:             # these take longer to see
            now = kinds_of_fds()
            out += [f"the daemon has {now} open instead of {self.fds}"] if now != self.fds else []
            out += [f"{p} has something of VFIO open" for p in holders()]
        return out

    def heal(self):
        """When daemon and worker die after a device was given back and before anybody knows, it counts as not reset, which is on the safe
        side. Its last user may have it all the same, and after that it is clean."""
        for a in set(self.unclean) - self.dirty:
            alice = Agent("alice")
            alice.acquire([a], {"members": [m for m in self.sysfs if group_of(m) == group_of(a) and m != a and driver_of(m) not in ("", "pcieport")]})
            alice.kill()
            wait_free(a)
        check(set(os.listdir(STATE + "/devices")) <= self.dirty, files())


def counts(leases, quotas):
    """Each level has booked what the leases below it have, and the gate knows those that it holds."""
    out = []
    for q in quotas.values():
        booked = sum(lease["Pasids"] for lease in leases.values() if f"{lease['CGroup']}/".startswith(q["CGroup"].rstrip("/") + "/"))
        if q["Booked"] != booked:
            out.append(f"{q['CGroup']} has {q['Booked']} booked, its leases {booked}")
        if not leases and q["InUse"]:
            out.append(f"{q['CGroup']} has {q['InUse']} in use")
    ids = {lease["Id"].encode() for lease in leases.values()}
    held = {lease["Id"].encode() for lease in leases.values() if lease["Enforcement"] == "kernel"}
    for name in ("rules", "lease_tallies"):
        now = {key for key in gatemaps.keys(name) if any(key)}  # the other tally is nobody's
        if not held <= now <= ids:
            out.append(f"the gate's map {name} has {now}, the leases are {ids} and it holds {held}")
    for name in ("cdevs", "groups", "attached"):
        if not ids and gatemaps.keys(name):
            out.append(f"the gate's map {name} has {gatemaps.keys(name)}")
    return out
