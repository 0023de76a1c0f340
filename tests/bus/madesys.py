# SPDX-License-Identifier: LGPL-2.1-or-later
"""A /sys made of plain files, for a machine with an IOMMU where there is none: a port, and behind it an NVMe disk in group 7; a network
card of two functions in group 8; and a device in no group. Nothing can be done with it, only looked at."""

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


def make(root):
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
