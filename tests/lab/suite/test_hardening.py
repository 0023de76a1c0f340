"""What the unit and the workers have given up, and that all else still works."""
import re

from agent import Agent
from lab import DAEMON, addr, check, configure, driver_of, equal, pid, popen, read, run, test, wait_free, wait_until, workers
from test_endings import slow_device
from test_systemd import show

# Numbers of capabilities.
DAC_READ_SEARCH, KILL, SYS_MODULE, SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE = 2, 5, 16, 19, 21, 24


def status(p, key):
    return re.search(rf"^{key}:\s*(\w+)$", read(f"/proc/{p}/status"), re.M)[1]


def mask(*capabilities):
    return f"{sum(1 << c for c in capabilities):016x}"


def rights(p):
    """Of a worker; None if it has ended."""
    try:
        return status(p, "CapEff"), status(p, "CapPrm"), status(p, "Seccomp")
    except OSError:
        return None


@test("systemd")
def exposure_of_the_unit_is_low():
    said = run(["systemd-analyze", "security", "--no-pager", "iommud.service"]).stdout
    check(float(re.search(r"Overall exposure level for iommud.service: (\d+\.\d)", said)[1]) <= 3.2, said)
    # What it says is what the process has.
    equal((status(pid(), "CapBnd"), status(pid(), "NoNewPrivs"), status(pid(), "Seccomp")),
          (mask(DAC_READ_SEARCH, KILL, SYS_PTRACE, SYS_ADMIN, SYS_RESOURCE), "1", "2"))


@test("systemd")
def the_service_is_bounded():
    for what in "MemoryMax", "TasksMax", "CPUQuotaPerSecUSec", "LimitNOFILE":
        check(show(what).strip() not in ("infinity", ""), what, show(what))
    # And has room within, also for the gate, which takes most.
    run(["systemctl", "stop", "iommud"], check=True)
    equal(run([DAEMON, "--unload-gate"]).returncode, 0)
    run(["systemctl", "start", "iommud"], check=True)
    peak, high = int(show("MemoryPeak")), int(show("MemoryHigh"))
    print(f"# memory: at most {peak >> 20} MiB of {high >> 20}", flush=True)
    check(peak < high / 2, peak, high)


@test("systemd")
def devices_of_others_are_closed():
    # A process of ours in the service's cgroup, which is what its device rules are about.
    cgroup = "/sys/fs/cgroup" + read(f"/proc/{pid()}/cgroup").rpartition("::")[2]
    look = f"""echo $$ > {cgroup}/cgroup.procs
        for f in /dev/mem /dev/vda /dev/vfio/vfio /dev/iommu; do (: < $f) 2> /dev/null && echo open $f; done
        (: >> /dev/vda) 2> /dev/null && echo written"""
    equal(run(["bash", "-c", look]).stdout.split("\n")[:-1], ["open /dev/vda", "open /dev/vfio/vfio", "open /dev/iommu"])


@test("systemd")
def drivers_are_loaded_by_systemd():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    equal(run(["rmmod", "vfio_pci"]).stdout, "")
    alice = Agent("alice")
    alice.use(alice.acquire([nvme]), nvme)
    equal(driver_of(nvme), "vfio-pci")
    alice.kill()
    wait_free(nvme)


@test("intel")
def a_worker_has_only_what_its_job_needs():
    slow = slow_device()
    configure(alice=(["vfio-user-slow"], {}))
    popen(["iommuctl", "run", "-d", slow, "--", "sleep", "1000"], "alice")
    # Others, with other jobs, come and go before it.
    wanted = (mask(DAC_READ_SEARCH, SYS_MODULE, SYS_PTRACE, SYS_ADMIN),) * 2 + ("2",)
    wait_until(lambda: wanted in [rights(w) for w in workers()], "a worker has what preparing needs")
