"""What makes a group impossible to lend: found before anything is touched where sysfs tells, explained where only the kernel knows."""
from agent import Agent
from lab import (HELLO, addr, cdev_of, check, configure, device, driver_of, equal, give_to, group, group_path, qemu, refused, run,
                 state, test, wait_free, wait_until, write)

NOIOMMU = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"


@test("virtio")
def without_interrupt_remapping_the_refusal_says_so():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"MemoryLock": "8G"}))
    with refused("NoIsolation") as why:
        Agent("alice").acquire([nvme])
    check("interrupts" in why.text and "not isolated" in why.text, why.text)
    check("allow_unsafe_interrupts" in why.text, "no remedy:", why.text)
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")
    # What the kernel said once is known from then on.
    possible, findings = Agent("alice").explain([nvme])
    check(not possible and any(f[0] == "no-interrupt-isolation" for f in findings), findings)
    result = qemu(nvme)
    out = result.communicate()[0].decode()
    check(result.returncode == 1 and "not isolated" in out and HELLO not in out, out)


@test("none")
def without_an_iommu_the_refusal_says_so():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"MemoryLock": "8G"}))
    with refused("NoIsolation") as why:
        Agent("alice").acquire([nvme])
    check("no IOMMU group" in why.text and nvme in why.text and "firmware" in why.text, why.text)
    equal(driver_of(nvme), "nvme")
    equal(state(nvme), "free")
    equal(device(nvme)["Group"], "/")
    possible, findings = Agent("alice").explain([nvme])
    check(not possible and findings[0][0] == "no-iommu-group", findings)


@test("direct")
def a_direct_region_of_the_firmware_is_found_before_the_kernel_refuses():
    nvme, neighbour = addr("nvme"), addr("multifunction.0")
    configure(alice=(["nvme", "multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    with refused("GroupNotViable") as why:
        alice.acquire([nvme])
    check("0xfffc0000-0xfffc3fff" in why.text and "direct DMA" in why.text and "RMRR" in why.text, why.text)
    equal((driver_of(nvme), state(nvme)), ("nvme", "free"))
    possible, findings = alice.explain([nvme])
    check(not possible and any(f[:2] == ("direct-reserved-region", "block") for f in findings), findings)
    equal(group(nvme)["Viable"], False)
    check((0xFFFC0000, 0xFFFC3FFF, "direct") in group(nvme)["ReservedRegions"], group(nvme))
    # The kernel is of the same mind.
    root = Agent("root")
    give_to(nvme, "vfio-pci")
    try:
        node = root.open(wait_until(lambda: cdev_of(nvme), "it has a node"))
        equal(root.bind(node, root.open("/dev/iommu")), "EINVAL")
    finally:
        root.kill()
        give_to(nvme, "nvme")
    # Nobody else is concerned.
    equal(alice.use(alice.acquire([neighbour], {"members": [addr("multifunction.1")]}), neighbour), (0x8086, 0x10D3))


@test("none")
def what_goes_round_the_iommu_is_lent_to_nobody():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"HandOver": "unbound attached group node none"}))
    run(["modprobe", "vfio-pci"])
    write(NOIOMMU, "Y")
    try:
        give_to(nvme, "vfio-pci")
        wait_until(lambda: device(nvme)["Group"] != "/", "the kernel has made up a group")
        alice = Agent("alice")
        for form in "unbound", "attached", "group", "node", "none":
            with refused("NoIsolation") as why:
                alice.acquire([nvme], {"hand-over": form})
            check("no-IOMMU" in why.text and "kernel command line" in why.text, why.text)
        possible, findings = alice.explain([nvme])
        check(not possible and any(f[:2] == ("noiommu", "block") for f in findings), findings)
        check(not group(nvme)["Viable"], group(nvme))
        # She got nothing, and it is where it was.
        node = "/dev/vfio/noiommu-" + group_path(nvme).rsplit("/", 1)[1]
        equal((alice.can_open(node), driver_of(nvme), state(nvme)), ("EACCES", "vfio-pci", "free"))
    finally:
        give_to(nvme, "nvme")
        write(NOIOMMU, "N")
