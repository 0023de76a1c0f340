"""What the gate costs. Runs in the machine of tests/bench/gate: with the gate and without it by turns, so that what else the machine is
busy with hits both. With it the device is a lease's; without it the administrator's own."""
import os
import statistics
import subprocess
import sys

sys.path.insert(0, "/tests/lab/suite")
sys.dont_write_bytecode = True
import lab                      # noqa: E402

ROUNDS = int(sys.argv[1])
NAMES = "attach a PASID", "detach it", "an unrelated ioctl"


def numbers(out):
    return [int(n) for n in out.split()]


def with_gate(address):
    lab.start()
    lab.equal(lab.device(address)["Enforcement"], "kernel")
    out = subprocess.run(["iommuctl", "run", "--pasids", "4", "-d", address, "--", "/lab/cost", "{0}", "{iommufd}"], check=True,
                         capture_output=True, text=True).stdout
    lab.wait_free(address)
    lab.stop()
    return numbers(out)


def without_gate(address):
    subprocess.run([lab.DAEMON, "--unload-gate"], check=True)
    lab.give_to(address, "vfio-pci")
    device, iommufd = os.open(lab.cdev_of(address), os.O_RDWR), os.open("/dev/iommu", os.O_RDWR)
    out = subprocess.run(["/lab/cost", str(device), str(iommufd)], check=True, capture_output=True, text=True, pass_fds=(device, iommufd)).stdout
    os.close(device)
    os.close(iommufd)
    lab.give_to(address, "")
    return numbers(out)


def main():
    lab.begin()
    lab.stop()
    address = lab.addr("vfio-user")
    pairs = [(with_gate(address), without_gate(address)) for _ in range(ROUNDS)]
    print(f"nanoseconds, median of {ROUNDS} rounds (lowest to highest)")
    for i, name in enumerate(NAMES):
        sides = [sorted(p[side][i] for p in pairs) for side in (0, 1)]
        shown = [f"{statistics.median(s):.0f} ({s[0]} to {s[-1]})" for s in sides]
        more = statistics.median(p[0][i] - p[1][i] for p in pairs)
        print(f"{name:20} with the gate {shown[0]:28} without {shown[1]:28} {more:+.0f} in a pair")


main()
