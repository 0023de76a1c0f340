"""The tests' machine: its devices, the daemon, the configuration, and what has to be as before when a test is over."""
import contextlib
import glob
import os
import re
import signal
import subprocess
import time

import agent
from agent import LONG, BusError, kill

BOOT = os.environ.get("LAB_BOOT", "fast")
PCI, LOG, DAEMON, STATE = "/sys/bus/pci/devices/", "/run/iommud.log", "/usr/libexec/iommud", "/run/iommud"
ETC = "/etc/iommud"
HELLO = "Hello from the brokered NVMe"

TESTS = []


def test(*machines):
    """Marks a function as a test of these machines (see machines.py)."""
    def mark(function):
        TESTS.append((function.__module__.removeprefix("test_"), function.__name__, machines, function))
        return function
    return mark


class Failure(AssertionError):
    pass


def check(condition, *why):
    if not condition:
        raise Failure(" ".join(str(w) for w in why))


def equal(is_now, should, what=""):
    check(is_now == should, what, f"is {is_now!r}, not {should!r}")


def wait_until(condition, what, seconds=LONG):
    """Waits for a condition, which is a function; returns its value. Looks every 30 ms."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"after {seconds} s still not: {what() if callable(what) else what}")
        time.sleep(0.03)


@contextlib.contextmanager
def refused(*names):
    """The block has to end with one of these errors of org.iommud1. Gives it as .error."""
    class Box:
        error = None
    try:
        yield Box
    except BusError as e:
        short = e.name.removeprefix("org.iommud1.Error.").removeprefix("org.freedesktop.DBus.Error.")
        check(short in names, f"the refusal is {e}, not one of {names}")
        Box.error, Box.name, Box.text = e, short, e.text
        return
    raise Failure(f"that was not refused, {' or '.join(names)} was to come")


DENIED = "NotAuthorized", "InteractiveAuthorizationRequired", "AccessDenied"


# --- devices ---

_addresses = {}


def addr(name):
    """The address of a device of tests/lab/devices."""
    if not _addresses:
        out = subprocess.run(["/lab/addr", "--all"], check=True, capture_output=True, text=True).stdout
        _addresses.update(line.split() for line in out.splitlines())
    return _addresses[name]


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read().strip("\0\n")


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def driver_of(address):
    try:
        return os.path.basename(os.readlink(f"{PCI}{address}/driver"))
    except FileNotFoundError:
        return ""


def override_of(address):
    return read(f"{PCI}{address}/driver_override").removeprefix("(null)")


def group_of(address):
    return os.path.basename(os.readlink(f"{PCI}{address}/iommu_group"))


def cdev_of(address):
    """The node of its VFIO device, or None."""
    for path in glob.glob(f"{PCI}{address}/vfio-dev/*/dev"):
        return "/dev/vfio/devices/" + path.split("/")[-2]
    return None


def give_to(address, driver):
    """By hand, as an administrator does. driver "": leaves it without."""
    write(f"{PCI}{address}/driver_override", "\n")
    if driver_of(address):
        write(f"{PCI}{address}/driver/unbind", address)
    if driver:
        write(f"{PCI}{address}/driver_override", driver)
        write("/sys/bus/pci/drivers_probe", address)
        write(f"{PCI}{address}/driver_override", "\n")
        wait_until(lambda: driver_of(address) == driver, f"{address} on {driver}")


def pull(address):
    """As the slot's driver does it: the process waits, and nothing can call it off."""
    return subprocess.Popen(["sh", "-c", f"echo 1 > {PCI}{address}/remove"], start_new_session=True)


def unplug(address):
    """Neither the kernel nor the daemon knows it afterwards."""
    write(f"{PCI}{address}/remove", "1")
    wait_until(lambda: address not in states(), "forgotten")


def replug(address):
    """As the slot's button would."""
    unplug(address)
    write("/sys/bus/pci/rescan", "1")
    wait_until(lambda: states().get(address) == "free", "known again")


pulled = set()                  # addresses of devices that do not come back


def sysfs():
    """{address: (driver, override)}, without those that go meanwhile."""
    found = {}
    for a in sorted(os.listdir(PCI)):
        with contextlib.suppress(OSError):
            found[a] = driver_of(a), override_of(a)
    return found


# --- the daemon, as seen by the administrator ---

_bus = None


def bus():
    """The test's own connection, root's."""
    global _bus
    _bus = _bus or agent.Bus()
    return _bus


def device_path(address):
    return f"{agent.ROOT}/device/" + re.sub("[:.]", "_", address)


def group_path(address):
    return f"{agent.ROOT}/group/{group_of(address)}"


def device(address):
    return bus().get_all(device_path(address), agent.DEVICE)


def state(address):
    return device(address)["State"]


def group(address):
    return bus().get_all(group_path(address), agent.GROUP)


def lease(path):
    """Its properties, {} if it has ended."""
    try:
        return bus().get_all(path, agent.LEASE)
    except BusError as e:
        if e.name in ("org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.DBus.Error.UnknownMethod",
                      "org.freedesktop.DBus.Error.UnknownInterface"):
            return {}
        raise


def objects():
    (found,) = bus().call(agent.ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
    return {p: {i: {k: v[1] for k, v in props.items()} for i, props in ifs.items()} for p, ifs in found.items()}


def leases():
    return [p for p, interfaces in objects().items() if agent.LEASE in interfaces]


def states():
    return {i[agent.DEVICE]["Address"]: i[agent.DEVICE]["State"] for i in objects().values() if agent.DEVICE in i}


def files():
    """The daemon's files of leases and lifelines."""
    return sorted(f"{d}/{f}" for d in ("leases", "lifelines") if os.path.isdir(f"{STATE}/{d}") for f in os.listdir(f"{STATE}/{d}"))


def wait_free(*addresses):
    for a in addresses:
        wait_until(lambda: state(a) == "free", lambda: f"{a} free; it is {state(a)}: {device(a)['StateReason']}")


@contextlib.contextmanager
def signals(*rules):
    """What is heard on the bus meanwhile: lines of busctl."""
    monitor = subprocess.Popen(["busctl", "monitor", *("--match=" + r for r in rules)], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: "Monitoring" in monitor.stdout.readline(), "the monitor listens")
        yield iter(monitor.stdout.readline, "")
    finally:
        monitor.kill()


def has_owner():
    try:
        bus().call("/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner", "s", (agent.SERVICE,), "org.freedesktop.DBus")
        return True
    except BusError:
        return False


def pid():
    (p,) = bus().call("/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixProcessID", "s", (agent.SERVICE,),
                      "org.freedesktop.DBus")
    return p


def wait_for_another(was):
    """A daemon with another number; between the two nobody has the name."""
    def there():
        try:
            return pid() != was
        except BusError:
            return False
    wait_until(there, "a new daemon is there")


def fd_count():
    return len(os.listdir(f"/proc/{pid()}/fd"))


def rss():
    """KiB."""
    return int(re.search(r"VmRSS:\s+(\d+)", read(f"/proc/{pid()}/status"))[1])


def children():
    """Of the daemon, dead ones that are not reaped yet, too."""
    p = pid()
    return [int(child) for path in glob.glob(f"/proc/{p}/task/{p}/children") for child in read(path).split()]


def workers():
    """Children of the daemon, dead ones not counted."""
    found = []
    for child in children():
        with contextlib.suppress(OSError):
            if read(f"/proc/{child}/stat").rpartition(")")[2].split()[0] != "Z":
                found.append(child)
    return found


process = None                  # the daemon's, in a fast boot


def start():
    """For a fast boot. Returns when it has its name."""
    global process
    with open(LOG, "ab") as log:
        process = subprocess.Popen([DAEMON], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    wait_until(lambda: has_owner() or process.poll() is not None, "the daemon has its name on the bus")
    check(process.poll() is None, f"the daemon ended with {process.returncode}")


def stop(sig=signal.SIGTERM):
    """Returns when its process is gone and the bus knows. Its exit status."""
    kill(pid(), sig)
    status = process.wait() if process else None
    wait_until(lambda: not has_owner(), "the daemon's name is off the bus")
    return status


def restart(sig=signal.SIGTERM):
    stop(sig)
    start()


# --- configuration ---

def reload():
    bus().call(agent.ROOT, agent.MANAGER, "Reload")


def clear_configuration():
    for old in glob.glob(f"{ETC}/reservations.d/*"):
        os.unlink(old)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{ETC}/iommud.conf")


def configure(limits="", **reservations):
    """Replaces the whole configuration. A reservation: alice=(["nvme"], {"MemoryLock": "8G"}), for devices of the lab or patterns;
    the user's name is the part before the first "_"."""
    clear_configuration()
    if limits:
        write(f"{ETC}/iommud.conf", "[Limits]\n" + limits.replace(" ", "\n") + "\n")
    for name, (devices, grant) in reservations.items():
        addresses = [f"Address={d if d.startswith('0000:') else addr(d)}" for d in devices]
        lines = [f"{k}={v}" for k, v in grant.items()]
        write(f"{ETC}/reservations.d/{name}.conf", "\n".join(
            ["[Device]", *addresses, "[Client]", f"User={name.partition('_')[0]}", "[Grant]", *lines, ""]))
    reload()


# --- programs ---

def run(command, user="root", **more):
    """A program as this user, with a login's limits. Output and errors together."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=2 * LONG, **_as(user), **more)


def popen(command, user="root", stdin=subprocess.DEVNULL, **more):
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **_as(user), **more)
    _processes.append(process)
    return process


def _as(user):
    import pwd
    import resource
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "start_new_session": True,
            "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (agent.MEMLOCK, agent.MEMLOCK)),
            "env": {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": entry.pw_dir, "LANG": "C.UTF-8"}, "cwd": "/"}


QEMU = ("qemu-system-x86_64 -accel tcg -machine q35 -m 128 -nodefaults -display none -serial stdio -boot strict=on "
        "-object iommufd,id=iommufd0,fd={iommufd} -device vfio-pci,id=hd0,iommufd=iommufd0,fd={0},bootindex=0 -no-reboot").split()

_processes = []


def remove_cgroup(directory):
    """As soon as nobody is in it any more."""
    wait_until(lambda: "populated 0" in read(f"{directory}/cgroup.events"), f"{directory} is empty")
    os.rmdir(directory)


def settle():
    """Until udev has worked off all events."""
    run(["udevadm", "settle", "-t", str(LONG)], check=True)


@contextlib.contextmanager
def cgroup(path, *pids):
    """A cgroup with these processes in it; what they start is in it, too."""
    directory = f"/sys/fs/cgroup/{path}"
    os.makedirs(directory)
    for p in pids:
        write(f"{directory}/cgroup.procs", str(p))
    try:
        yield directory
    finally:
        with contextlib.suppress(OSError):
            write(f"{directory}/cgroup.kill", "1")
        remove_cgroup(directory)


def qemu(address, *more, user="alice"):
    """QEMU started by iommuctl run, as in its manual."""
    return popen(["iommuctl", "run", "-d", address, "--", *QEMU, *more], user)


# --- around the tests ---

class Baseline:
    """What the machine is like when nobody has anything."""

    def __init__(self):
        self.sysfs, self.states = sysfs(), states()

    def differences(self):
        now, known = sysfs(), states()
        out = [f"{a} has driver {now.get(a, ('gone',))} instead of {was}" for a, was in self.sysfs.items()
               if now.get(a) != was and a not in pulled]
        out += [f"{a} is {known.get(a)}" for a, was in self.states.items() if known.get(a) != was and a not in pulled]
        return out + [f"left over: {f}" for f in files()] + [f"lease left over: {p}" for p in leases()]


def begin():
    """Once in a machine."""
    if BOOT == "fast":
        # It also makes udev and a bus. Then one that is our own child, so that its exit status is known.
        subprocess.run(["/lab/start-daemon"], check=True, stdin=subprocess.DEVNULL)
        restart()
    else:
        run(["systemctl", "start", "iommud"], check=True)
    return Baseline()


def end_clients():
    agent.end_all()
    for p in _processes:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        p.stdout.close()
    _processes.clear()


def holders():
    """Processes of users that still have anything of VFIO open."""
    found = []
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            target = os.readlink(link)
            if re.search("vfio|iommu|lifelines", target) and int(link.split("/")[2]) not in (os.getpid(), pid()):
                found.append(int(link.split("/")[2]))
    return set(found)


def tidy(baseline):
    """After a test that passed: nothing of it may be left once its clients are gone."""
    end_clients()
    wait_until(lambda: not baseline.differences(), lambda: "as before the test; " + "; ".join(baseline.differences()))


def repair(baseline):
    """After a test that failed: by force, so that the next one has a machine."""
    end_clients()
    clear_configuration()
    if BOOT == "fast":
        if has_owner():
            p = pid()
            children = set(workers())
            stop(signal.SIGKILL)
        else:
            children = set()
        for p in set(glob.glob("/proc/[0-9]*")):
            n = int(p.split("/")[2])
            with contextlib.suppress(OSError):
                if n not in (1, os.getpid()) and any(re.search("vfio|/dev/iommu|lifelines", os.readlink(f)) for f in glob.glob(f"{p}/fd/*")):
                    children.add(n)
        for p in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(p, signal.SIGKILL)
            agent.gone(p, 30)
        for f in files():
            os.unlink(f"{STATE}/{f}")
        # What was pulled may be going only now that nobody has it open; the rescan waits for that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.Popen(["sh", "-c", "echo 1 > /sys/bus/pci/rescan"], start_new_session=True).wait(60)
        for a, (driver, override) in baseline.sysfs.items():
            if not os.path.exists(PCI + a):
                print(f"# repair: {a} is gone", flush=True)
            elif (driver_of(a), override_of(a)) != (driver, override):
                print(f"# repair: {a} back to {driver or 'no driver'}", flush=True)
                give_to(a, driver)
        start()
    configure()
    wait_until(lambda: not baseline.differences(), lambda: "; ".join(baseline.differences()))
