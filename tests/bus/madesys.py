# SPDX-License-Identifier: LGPL-2.1-or-later
"""A /sys made of plain files, with a few cgroups, for a machine with an IOMMU where there is none: a port, and behind it an NVMe disk in group 7; a network
card of two functions in group 8, the first of which has SR-IOV; and a device in no group. Nothing can be done with it, only looked at."""

import os

NVME, NIC0, NIC1, BARE, PORT = "0000:01:00.0", "0000:02:00.0", "0000:02:00.1", "0000:00:05.0", "0000:00:01.0"
DEVICES = {
    # address: (directory below /sys/devices/pci0000:00, class, driver, group)
    PORT: (PORT, 0x060400, "pcieport", 7),
    NVME: (f"{PORT}/{NVME}", 0x010802, "nvme", 7),
    NIC0: (f"0000:00:02.0/{NIC0}", 0x020000, "", 8),
    NIC1: (f"0000:00:02.0/{NIC1}", 0x020000, "vfio-pci", 8),
    BARE: (BARE, 0x020000, "", None),
}


# Whose they are; the last but one is delegated to a user, what is below it is that user's business.
CGROUPS = {"machine.slice": 0, "machine.slice/vm@a.service": 0, "machine.slice/vm@b.service": 0, "user.slice": 0,
           "user.slice/user@1000.service": 1000, "user.slice/user@1000.service/app.slice": 1000}


def make_cgroups(root):
    root.mkdir(parents=True)
    (root / "cgroup.controllers").write_text("pids\n")
    for path, owner in CGROUPS.items():
        (root / path).mkdir()
        os.chown(root / path, owner, owner)
    # The tests' own, which is that of whoever asks.
    for line in open("/proc/self/cgroup"):
        if line.startswith("0::/"):
            (root / line[4:].strip()).mkdir(parents=True, exist_ok=True)


def make(root):
    make_cgroups(root / "fs/cgroup")

    def link(target, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(os.path.relpath(target, path.parent))

    for address, (directory, class_, driver, group) in DEVICES.items():
        d = root / "devices/pci0000:00" / directory
        d.mkdir(parents=True, exist_ok=True)
        for name, value in dict(vendor="0x8086", device="0x10d3", subsystem_vendor="0x1af4", subsystem_device="0x1100",
                                modalias="pci:v00008086d000010D3sv00001AF4sd00001100bc02sc00i00", driver_override="(null)",
                                numa_node="-1", reset_method="flr bus").items():
            (d / name).write_text(value + "\n")
        (d / "class").write_text(f"0x{class_:06x}\n")
        (d / "config").write_bytes(bytes(256))
        if address == NIC0:
            for name, value in dict(totalvfs=4, numvfs=0, drivers_autoprobe=1).items():
                (d / f"sriov_{name}").write_text(f"{value}\n")
        link(d, root / "bus/pci/devices" / address)
        if driver:
            (root / "bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            link(root / "bus/pci/drivers" / driver, d / "driver")
        if group is not None:
            g = root / "kernel/iommu_groups" / str(group)
            g.mkdir(parents=True, exist_ok=True)
            (g / "type").write_text("DMA-FQ\n")
            (g / "reserved_regions").write_text("0x00000000fee00000 0x00000000feefffff msi\n")
            link(d, g / "devices" / address)
            link(g, d / "iommu_group")
