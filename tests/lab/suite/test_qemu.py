"""A virtual machine boots from a device that its user may not touch."""
import glob
import os

from agent import Agent
from lab import (HELLO, addr, cdev_of, check, configure, driver_of, equal, group_of, override_of, run, test, wait_free, wait_until,
                 QEMU)


@test("intel", "amd", "systemd")
def boot_from_brokered_nvme():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"MemoryLock": "8G"}))
    equal(driver_of(nvme), "nvme")
    result = run(["iommuctl", "run", "-d", nvme, "--", *QEMU], "alice")
    check(HELLO in result.stdout, f"QEMU (status {result.returncode}) did not boot from it:", result.stdout)
    wait_free(nvme)
    equal(driver_of(nvme), "nvme", "the driver afterwards")
    equal(override_of(nvme), "", "the override afterwards")
    wait_until(lambda: glob.glob(f"/sys/bus/pci/devices/{nvme}/nvme/nvme*"), "the disk is there again")


@test("intel", "amd")
def the_default_memory_limit_is_not_enough_and_explain_says_so():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    possible, findings = Agent("alice").explain([nvme])
    check(possible, findings)
    check([f for f in findings if f[0] == "memlock" and f[1] == "warn" and "RLIMIT_MEMLOCK" in f[4]["remedy"]], findings)
    result = run(["iommuctl", "run", "-d", nvme, "--", *QEMU], "alice")
    check(HELLO not in result.stdout and result.returncode != 0, result.stdout)


def nodes(address):
    return ["/dev/iommu", f"/dev/vfio/{group_of(address)}", cdev_of(address)]


@test("intel")
def no_access_without_broker():
    # Also while her own lease is active: what she got she got from the daemon, and can open nothing more of it.
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    for node in ["/dev/iommu"]:
        equal(alice.can_open(node), "EACCES", node)
    grant = alice.acquire([nvme])
    check(cdev_of(nvme), "there is no cdev although the device is leased")
    for who in alice, Agent("alice"), Agent("bob"):
        for node in nodes(nvme):
            if os.path.exists(node):
                equal(who.can_open(node), "EACCES", f"{node} for {who.user}")
        equal(who.can_open("/run/iommud/lifelines", os.O_RDONLY), "EACCES")
        equal(who.can_open(f"/run/iommud/lifelines/{grant.id}", os.O_WRONLY), "EACCES")
    # Not by way of what she has, either: the descriptors' own names in /proc are the nodes, with the nodes' modes.
    equal(alice.can_open(f"/proc/self/fd/{grant.fds[nvme]}"), "EACCES", "a second open of the passed device")
