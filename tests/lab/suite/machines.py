"""The machines that the tests are run in: arguments of tests/lab/run. In this order."""
MACHINES = {
    "intel": ["--devices", "nvme,nvme2,multifunction,noreset,noreset2,busreset,vfio-user-slow,igb,bridge"],
    "amd": ["--iommu", "amd", "--devices", "nvme"],
    "virtio": ["--iommu", "virtio", "--devices", "nvme"],
    "none": ["--iommu", "none", "--devices", "nvme"],
    "systemd": ["--boot", "systemd", "--devices", "nvme,noreset"],
}
