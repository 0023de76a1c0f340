"""Devices come and go while QEMU runs: "iommuctl plug" and "unplug" in a shell that holds the lease."""
import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile

from lab import addr, check, configure, device, driver_of, equal, lease, override_of, popen, run, state, test, wait_free, wait_until

# Nothing to boot from: the firmware waits for ever. Without ACPI's way of hotplug the root ports do it as PCIe
# says, and a slot that the guest has not powered on needs no guest's consent.
QEMU = ("qemu-system-x86_64 -accel tcg -machine q35 -m 64 -nodefaults -display none -serial none -monitor none -boot reboot-timeout=-1 "
        "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off -object iommufd,id=iommufd0,fd={iommufd} "
        "-device pcie-root-port,id=port0,chassis=1 -device pcie-root-port,id=port1,chassis=2 "
        "-device vfio-pci,id=cold,bus=port0,iommufd=iommufd0,fd={0} ")


class Monitor:
    """A monitor of QEMU of our own, beside the one that iommuctl uses."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        wait_until(lambda: self.socket.connect_ex(path) == 0, "QEMU listens")
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command):
        print(json.dumps({"execute": command}), file=self.file, flush=True)
        for line in self.file:
            if "event" not in json.loads(line):
                return json.loads(line)["return"]
        return None

    def plugged(self):
        """The ids that QEMU knows of devices, "vendor:device" by id."""
        found, buses = {}, [d for b in self.ask("query-pci") for d in b["devices"]]
        for d in buses:
            buses.extend(d.get("pci_bridge", {}).get("devices", []))
            found[d["qdev_id"]] = f'{d["id"]["vendor"]:04x}:{d["id"]["device"]:04x}'
        return found


class Machine:
    """Alice's shell under "iommuctl run", with QEMU in the background."""

    def __init__(self, address, directory):
        command = QEMU + "".join(f"-qmp unix:{directory}/{s},server=on,wait=off " for s in ("qmp", "ours"))
        self.shell = popen(["iommuctl", "run", "-d", address, "--", "sh", "-c", command + f"2> {directory}/log & exec sh -s"], "alice", stdin=subprocess.PIPE)
        self.socket = f"{directory}/qmp"
        self.monitor = Monitor(f"{directory}/ours")

    def iommuctl(self, verb, *arguments):
        """Its exit status and what it said."""
        command = f"iommuctl {verb} --qmp {self.socket} {' '.join(arguments)} 2>&1; echo exit $?\n"
        self.shell.stdin.write(command.encode())
        self.shell.stdin.flush()
        said = []
        for line in iter(lambda: self.shell.stdout.readline().decode().rstrip(), ""):
            if line.startswith("exit "):
                return int(line[5:]), "\n".join(said)
            said.append(line)
        raise AssertionError(f"the shell ended: {said}")


@contextlib.contextmanager
def machine(address):
    directory = tempfile.mkdtemp()
    os.chown(directory, 1000, 1000)
    try:
        yield Machine(address, directory)
    finally:
        shutil.rmtree(directory)


@test("intel", "amd")
def a_second_device_comes_and_goes_while_qemu_runs():
    first, second = addr("nvme2"), addr("nvme")
    configure(alice=(["nvme", "nvme2"], {"MemoryLock": "1G"}))
    with machine(first) as vm:
        wait_until(lambda: "cold" in vm.monitor.plugged(), "QEMU has the first")
        path, name = device(first)["Lease"], f"iommud-{second.replace(':', '-')}"
        for _ in range(2):
            equal((state(second), driver_of(second)), ("free", "nvme"))
            equal(vm.iommuctl("plug", "--bus", "port1", second), (0, name))
            equal((state(second), driver_of(second), device(second)["Lease"]), ("leased", "vfio-pci", path))
            equal(sorted(lease(path)["Devices"]), sorted([first, second]))
            equal(vm.monitor.plugged().get(name), "1b36:0010")
            # When unplug ends the host has it back, without another word to the daemon.
            equal(vm.iommuctl("unplug", second), (0, ""))
            check(name not in vm.monitor.plugged(), "QEMU still has it")
            equal((state(second), driver_of(second), override_of(second)), ("free", "nvme", ""))
            equal((state(first), lease(path)["Devices"], lease(path)["State"]), ("leased", [first], "active"))


@test("intel")
def what_qemu_refuses_goes_back_to_the_host():
    first, second, foreign = addr("nvme2"), addr("nvme"), addr("busreset")
    configure(alice=(["nvme", "nvme2"], {"MemoryLock": "1G"}))
    with machine(first) as vm:
        status, said = vm.iommuctl("plug", "--bus", "pcie.0", second)
        check(status == 1 and "does not support hotplugging" in said, status, said)
        wait_free(second)
        equal(driver_of(second), "nvme")
        # This one QEMU refuses when it has the descriptor already.
        status, said = vm.iommuctl("plug", "--bus", "port1", "--iommufd", "nothing", second)
        check(status == 1 and "nothing" in said, status, said)
        wait_free(second)
        status, said = vm.iommuctl("plug", "--bus", "port1", foreign)
        check(status == 1 and "org.iommud1.acquire" in said, status, said)
        equal(state(foreign), "free")
        status, said = vm.iommuctl("unplug", second)
        check(status == 1 and "no lease" in said, status, said)
        # Who is not below "iommuctl run" has no lifeline.
        result = run(["iommuctl", "plug", "--qmp", vm.socket, "--bus", "port1", second], "alice")
        check(result.returncode == 1 and "no lease here" in result.stdout, result.stdout)
        equal((state(first), state(second)), ("leased", "free"))
