"""The machines that the tests are run in: arguments of tests/lab/run. In this order: those that take longest first."""
MACHINES = {
    "intel": ["--devices", "nvme,nvme2,multifunction,noreset,noreset2,busreset,vfio-user-slow,igb,nvme-sriov,bridge,virtio-sriov"],
    "crash": ["--devices", "nvme,multifunction,vfio-user,busreset,igb,bridge"],
    "amd": ["--iommu", "amd", "--devices", "nvme,nvme2,multifunction,noreset,busreset,igb,nvme-sriov,bridge,virtio-sriov"],
    "systemd": ["--boot", "systemd", "--devices", "nvme,nvme2,multifunction,noreset,noreset2,busreset,igb"],
    "gate": ["--devices", "vfio-user,vfio-user2,nvme"],
    "stock": ["--kernel", "stock", "--devices", "nvme,multifunction"],
    "virtio": ["--iommu", "virtio", "--devices", "nvme"],
    "pulled": ["--devices", "nvme,vfio-user"],
    "direct": ["--direct", "nvme", "--devices", "nvme,multifunction"],
    "none": ["--iommu", "none", "--devices", "nvme"],
    "nolsm": ["--append", "lsm=landlock,yama", "--devices", "vfio-user"],
}
