"""What the host uses is not taken away silently."""
import contextlib
import glob
import os

from agent import Agent
from lab import (DENIED, addr, check, configure, device, driver_of, equal, override_of, refused, run, settle, state, sysfs, test, wait_free,
                 wait_until)

NVME_RIGHTS = {"MemoryLock": "8G"}


def disk(address):
    name = os.path.basename(wait_until(lambda: glob.glob(f"/sys/bus/pci/devices/{address}/nvme/nvme*"), "the disk is there")[0])
    node = f"/dev/{name}n1"

    def can_be_read():      # the node is there before that
        with contextlib.suppress(OSError), open(node, "rb"):
            return True
    wait_until(can_be_read, "its node is there")
    return node


@contextlib.contextmanager
def swapped(address):
    node = disk(address)
    run(["mkswap", node], check=True)
    run(["swapon", node], check=True)
    try:
        yield node
    finally:
        run(["swapoff", node], check=True)
        # So that no later test meets what was seen in this one.
        Agent("root").explain([address])


@contextlib.contextmanager
def mounted(address):
    node = disk(address)
    run(["mkfs.ext4", "-q", "-F", node], check=True)
    os.makedirs("/run/mounted", exist_ok=True)
    run(["mount", node, "/run/mounted"], check=True)
    try:
        yield node
    finally:
        run(["umount", "/run/mounted"], check=True)
        Agent("root").explain([address])


@test("intel")
def mounted_disk_is_refused_naming_the_mount():
    # The second disk: the first has the boot sector.
    other = addr("nvme2")
    configure(alice=(["nvme2"], NVME_RIGHTS))
    before = sysfs()
    with mounted(other):
        for user in "alice", "root":
            with refused("DeviceInUse") as why:
                Agent(user).acquire([other])
            check("/run/mounted" in why.text and other in why.text, why.text)
        possible, findings = Agent("alice").explain([other])
        check(not possible and any(f[0] == "in-use" and "/run/mounted" in f[3] for f in findings), findings)
        equal(sysfs(), before)
        check(any("/run/mounted" in use[1] for use in device(other)["HostUse"]), device(other)["HostUse"])


@test("intel")
def others_questions_do_not_hide_a_use():
    other = addr("nvme2")
    configure(alice=(["nvme2"], NVME_RIGHTS))
    alice, bobs = Agent("alice"), [Agent("bob") for _ in range(3)]
    with mounted(other):
        for bob in bobs:
            bob.start("explain_often", other, 100)
        for _ in range(15):
            with refused("DeviceInUse"):
                alice.acquire([other])
        for bob in bobs:
            bob.result()
    equal(driver_of(other), "nvme")


@test("intel")
def disk_is_lent_as_soon_as_it_is_unmounted():
    other = addr("nvme2")
    configure(alice=(["nvme2"], {}))
    alice = Agent("alice")
    node = disk(other)
    run(["mkfs.ext4", "-q", "-F", node], check=True)
    os.makedirs("/run/mounted", exist_ok=True)
    run(["mount", node, "/run/mounted"], check=True)
    try:
        for _ in range(2):
            with refused("DeviceInUse"):
                alice.acquire([other])
    finally:
        run(["umount", "/run/mounted"], check=True)
    try:
        # Nothing happens in between that would make the daemon look: asking is enough.
        grant = alice.acquire([other])
        equal(alice.use(grant, other)[0], 0x1B36)
        alice.kill()
        wait_free(other)
    finally:
        Agent("root").explain([other])


@test("intel")
def force_in_use_beyond_the_right_is_refused():
    nvme = addr("nvme2")
    configure(alice=(["nvme2"], {}))
    with swapped(nvme) as node:
        before = sysfs()
        with refused("DeviceInUse") as why:
            Agent("alice").acquire([nvme])
        check(os.path.basename(node) in why.text and "swap" in why.text, why.text)
        with refused(*DENIED):
            Agent("alice").acquire([nvme], {"force-in-use": True})
        equal(sysfs(), before)
        equal(state(nvme), "free")


def interface(address):
    settle()                # it gets its final name from udev
    return wait_until(lambda: os.path.isdir(f"/sys/bus/pci/devices/{address}/net") and os.listdir(f"/sys/bus/pci/devices/{address}/net"),
                      "the network interface is there")[0]


@test("intel")
def configured_network_card_is_refused_naming_the_address():
    igb = addr("igb")
    configure(alice=(["igb"], {}), bob_force=(["igb"], {"ForceInUse": "yes"}))
    before = sysfs()
    name = interface(igb)
    run(["ip", "addr", "add", "192.0.2.7/24", "dev", name], check=True)
    run(["ip", "link", "set", name, "up"], check=True)
    for user in "alice", "root", "bob":
        with refused("DeviceInUse") as why:
            Agent(user).acquire([igb])
        check("192.0.2.7" in why.text and name in why.text, why.text)
    with refused(*DENIED):
        Agent("alice").acquire([igb], {"force-in-use": True})
    equal(sysfs(), before)
    # Who has the right and says so gets it: root, and by the reservation bob.
    for user in "root", "bob":
        who = Agent(user)
        grant = who.acquire([igb], {"force-in-use": True})
        equal((driver_of(igb), who.use(grant, igb)), ("vfio-pci", (0x8086, 0x10C9)))
        who.kill()
        wait_free(igb)
        equal((driver_of(igb), override_of(igb)), ("igb", ""))
        name = interface(igb)
        run(["ip", "addr", "add", "192.0.2.7/24", "dev", name], check=True)
        run(["ip", "link", "set", name, "up"], check=True)
    run(["ip", "link", "set", name, "down"], check=True)
    run(["ip", "addr", "flush", "dev", name], check=True)
    Agent("root").explain([igb])


@test("intel")
def interface_that_is_down_does_not_hinder():
    igb = addr("igb")
    configure(alice=(["igb"], {}))
    run(["ip", "link", "set", interface(igb), "down"], check=True)
    alice = Agent("alice")
    grant = alice.acquire([igb])
    equal(alice.use(grant, igb), (0x8086, 0x10C9))
    alice.kill()
    wait_free(igb)
    equal(driver_of(igb), "igb")
