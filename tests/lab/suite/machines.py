"""The machines that the tests are run in: arguments of tests/lab/run. In this order."""
MACHINES = {
    "intel": ["--devices", "nvme,nvme2,multifunction,noreset,noreset2,busreset,vfio-user-slow,igb,nvme-sriov,bridge,virtio-sriov"],
    "gate": ["--devices", "vfio-user,vfio-user2,nvme"],
    "nolsm": ["--append", "lsm=landlock,yama", "--devices", "vfio-user"],
    "amd": ["--iommu", "amd", "--devices", "nvme,nvme2,multifunction,noreset,busreset,igb,nvme-sriov,bridge,virtio-sriov"],
    "virtio": ["--iommu", "virtio", "--devices", "nvme"],
    "none": ["--iommu", "none", "--devices", "nvme"],
    "direct": ["--direct", "nvme", "--devices", "nvme,multifunction"],
    "stock": ["--kernel", "stock", "--devices", "nvme,multifunction"],
    "pulled": ["--devices", "nvme,vfio-user"],
    "crash": ["--devices", "nvme,multifunction,vfio-user,busreset,igb,bridge"],
    "systemd": ["--boot", "systemd", "--devices", "nvme,nvme2,multifunction,noreset,noreset2,busreset,igb"],
}
