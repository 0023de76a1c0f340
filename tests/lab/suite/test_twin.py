"""The simulated kernel of tests/sim and the real one: the same sequences of operations, of which each has to say the same in both."""
import errno
import re

from lab import addr, check, popen, run, start, stop, test

PASIDS = "vfio-user-slow"
DEVICES = ("nvme2", "multifunction.0", "multifunction.1", "noreset", "noreset2.0", "noreset2.1", "busreset",
           "bridge.e1000", "bridge.testdev", "bridge.edu", PASIDS, "igb")
STEPS = 60
SEQUENCES = 15                  # so many that every device is in the middle of some
LIMIT = 900                     # seconds, on a slow and busy machine

# What has to have come up.
RESULTS = {
    "alloc_pasid_table": {0, -errno.EINVAL, -errno.ENOENT},
    "attach_pasid": {0, -errno.EINVAL, -errno.ENOENT, -errno.ENOSPC, -errno.EBADF},
    "detach_pasid": {0, -errno.EINVAL, -errno.EBADF},
    "pasid_bits": {0, 20},
    "set_virtual_functions": {0, -errno.EBUSY, -errno.ENOENT, -errno.ERANGE},
    "set_autoprobe": {0, 1, -errno.ENOENT},
    "virtual_function": {0, -errno.ENOENT},
    "read_pasid_bits": {0},
    "appear": {1},
    "kill_process": {0, -errno.ESRCH},
}


def twin(sequences, *switches):
    """Its exit status and what it says."""
    process = popen(["/lab/twin", *switches, "1", str(sequences), str(STEPS), *(addr(d) for d in DEVICES)], text=True)
    said, _ = process.communicate(timeout=LIMIT)
    print(f"# {said.splitlines()[-1] if said else 'twin says nothing'}", flush=True)
    return process.returncode, said


def results(said, what):
    """Which results an operation had."""
    lines = [line for line in said.splitlines() if line.startswith(what + ":")]
    return {int(n) for line in lines for n in re.findall(r" (-?\d+) x", line)}


@test("intel")
def the_simulated_kernel_does_what_the_real_one_does():
    stop()                      # the devices are the program's now
    run(["/lab/ctl", PASIDS, "slow-reset", "0"], check=True)
    try:
        status, said = twin(SEQUENCES)
        wrong, said_wrong = twin(3, "--wrong")
    finally:
        start()
    check(status == 0, f"twin ends with {status}:\n{said[-6000:]}")
    check(wrong == 1 and "bind: the kernel 0" in said_wrong,
          f"a simulator with a wrong rule is not found out, twin ends with {wrong}:\n{said_wrong[-6000:]}")
    missing = {what: wanted - results(said, what) for what, wanted in RESULTS.items() if wanted - results(said, what)}
    check(not missing, f"these never were: {missing}; there were\n{said[-6000:]}")
