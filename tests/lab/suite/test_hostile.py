"""Strange processes and strange uses: no process that the daemon comes across may stop it, and none may hide what it uses."""
import contextlib
import ctypes
import os
import signal
import struct
import tempfile
import time

from agent import Agent, kill
from lab import (PCI, addr, cdev_of, check, configure, device, driver_of, equal, lease, override_of, popen, refused, restart, run, settle,
                 states, test, wait_free, wait_until, write)
from test_hostuse import disk, interface

IN_OPEN, IN_CLOSE = 0x20, 0x18

BEGIN = """
import ctypes, fcntl, os, signal, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def must(result):
    if result:
        raise OSError(ctypes.get_errno(), "failed")
def go_deep():
    for _ in range(25):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
def ready():
    print("ready", flush=True)
    while True:
        signal.pause()
"""
DEEP = """
go_deep()
file = open("x", "w")
ready()
"""
LOCKS = """
file = open("vfio", "w")
for i in range(400):
    fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * i)
ready()
"""
# Holders of a VFIO device, whose node is the argument.
MANY_GROUPS = """
fd = os.open(sys.argv[1], os.O_RDWR)
os.setgroups(range(5000))
ready()
"""
OWN_TABLE = """
def hold():
    must(libc.unshare(0x400))           # CLONE_FILES
    fd = os.open(sys.argv[1], os.O_RDWR)
    print("ready", flush=True)
    threading.Event().wait()
threading.Thread(target=hold).start()
"""
LEADER_ENDED = """
fd = os.open(sys.argv[1], os.O_RDWR)
def hold():
    while open(f"/proc/{os.getpid()}/stat").read().rpartition(")")[2].split()[0] != "Z":
        pass
    print("ready", flush=True)
    threading.Event().wait()
threading.Thread(target=hold).start()
libc.syscall(60, 0)                     # exit, of this thread alone
"""
DEEP_NODE = """
must(libc.unshare(0x20000))             # CLONE_NEWNS
must(libc.mount(b"none", b"/", None, 0x44000, None))    # MS_REC | MS_PRIVATE
go_deep()
open("x", "w").close()
must(libc.mount(sys.argv[1].encode(), b"x", None, 0x1000, None))   # MS_BIND
fd = os.open("x", os.O_RDWR)
ready()
"""


@contextlib.contextmanager
def running(script, *args, user="root"):
    """A process with this script, in a directory of its own, that has said that it is ready."""
    directory = tempfile.mkdtemp()
    os.chmod(directory, 0o777)
    p = popen(["python3", "-c", f"import os; os.chdir({directory!r})\n{BEGIN}{script}", *args], user)
    try:
        equal(p.stdout.readline(), b"ready\n")
        yield p
    finally:
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()
        # Not shutil: its paths get too long.
        run(["rm", "-rf", directory], check=True)


def stops_nobody(script):
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    with running(script, user="bob"):
        for _ in range(2):
            alice = Agent("alice")
            grant = alice.acquire([nvme])
            equal(alice.use(grant, nvme)[0], 0x1B36)
            alice.kill()
            wait_until(lambda: device(nvme)["State"] == "free", lambda: device(nvme)["StateReason"])


@test("intel")
def a_path_too_long_to_be_read_stops_nobody():
    stops_nobody(DEEP)


@test("intel")
def a_file_with_many_locks_stops_nobody():
    stops_nobody(LOCKS)


def is_named(script):
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    with running(script, cdev_of(nvme)) as p:
        alice.kill()
        wait_until(lambda: [h for h in lease(grant.path)["Holders"] if h[0] == p.pid and h[3] == nvme], "the holder is named")
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("intel")
def a_holder_in_many_groups_is_named():
    is_named(MANY_GROUPS)


@test("intel")
def a_thread_with_descriptors_of_its_own_is_named():
    is_named(OWN_TABLE)


@test("intel")
def a_holder_whose_first_thread_has_ended_is_named():
    is_named(LEADER_ENDED)


@test("intel")
def a_holder_by_a_path_too_long_to_be_read_is_named():
    is_named(DEEP_NODE)


@contextlib.contextmanager
def mounted_elsewhere(node):
    run(["mkfs.ext4", "-q", "-F", node], check=True)
    p = popen(["unshare", "-m", "--propagation", "private", "sh", "-c", f"mount {node} /mnt && echo mounted && exec sleep infinity"])
    try:
        equal(p.stdout.readline(), b"mounted\n")
        yield
    finally:
        os.killpg(p.pid, signal.SIGKILL)
        p.wait()


def disk_of_another_namespace(name):
    address = addr(name)
    configure(alice=([name], {}))
    node = disk(address)
    alice = Agent("alice")
    with mounted_elsewhere(node):
        check(os.path.basename(node) not in run(["findmnt", "-rno", "SOURCE"]).stdout, "this test is in the same namespace")
        with refused("DeviceInUse") as why:
            alice.acquire([address])
        check(os.path.basename(node) in why.text, why.text)
        equal(driver_of(address), "nvme")
        check(any(use[0] == "disk" for use in device(address)["HostUse"]), device(address)["HostUse"])
    # The kernel unmounts it some time after the last process of the namespace has ended.
    wait_until(lambda: alice.explain([address])[0], "it is not in use any more")
    grant = alice.acquire([address])
    equal(alice.use(grant, address)[0], 0x1B36)
    alice.kill()
    wait_free(address)


@test("intel")
def a_disk_that_another_namespace_has_mounted_is_refused():
    disk_of_another_namespace("nvme2")


@test("systemd")
def a_disk_that_another_namespace_has_mounted_is_refused_by_the_service():
    disk_of_another_namespace("nvme")


def at_rest(f):
    """The number of the last event. That a disk is there comes after its node: of a number that stays for a while it was the last."""
    last, since = "", time.monotonic()

    def stays():
        nonlocal last, since
        f.seek(0)
        now = f.read()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 3
    wait_until(stays, "no more events come")
    return last


@test("intel")
def looking_at_a_disk_disturbs_nobody():
    other = addr("nvme2")
    node = disk(other)
    settle()
    with open("/sys/kernel/uevent_seqnum", encoding="ascii") as f:
        before = at_rest(f)
        agents = [Agent("alice") for _ in range(3)]
        for _ in range(10):
            for agent in agents:
                agent.start("explain", [other])
            for agent in agents:
                # They look at the same time, and must not take each other for a use.
                possible, findings = agent.result()
                check(not any(finding[0] == "in-use" for finding in findings), findings)
        settle()
        f.seek(0)
        equal(f.read(), before, f"the number of events after looks at {node}")


@test("intel")
def an_interface_of_another_namespace_is_refused():
    igb = addr("igb")
    configure(alice=(["igb"], {}))
    name = interface(igb)
    p = popen(["unshare", "-n", "sh", "-c", "echo ready && exec sleep infinity"])
    equal(p.stdout.readline(), b"ready\n")
    try:
        run(["ip", "link", "set", "dev", name, "netns", str(p.pid)], check=True)
        equal(os.listdir(f"{PCI}{igb}/net"), [], "the interface is hidden")
        with refused("DeviceInUse") as why:
            Agent("alice").acquire([igb])
        check("namespace" in why.text, why.text)
        equal(driver_of(igb), "igb")
    finally:
        kill(p.pid)
        p.wait()
        interface(igb)
        Agent("root").explain([igb])


@contextlib.contextmanager
def opens_of(path):
    """Meanwhile, how often it is opened: a list that is filled at the end."""
    libc = ctypes.CDLL(None)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    # With the closes in between, the kernel does not merge one open with the next.
    check(libc.inotify_add_watch(fd, path.encode(), IN_OPEN | IN_CLOSE) >= 0, "it is watched")
    seen = []
    try:
        yield seen
        with contextlib.suppress(BlockingIOError):
            seen += [mask for _, mask, _, _ in struct.iter_unpack("iIII", os.read(fd, 65536)) if mask & IN_OPEN]
    finally:
        os.close(fd)


@test("intel")
def configuration_space_is_read_once():
    # To read there takes as long as a reset does, and wakes what sleeps.
    slow = addr("vfio-user-slow")
    config = f"{PCI}{slow}/config"
    configure(alice=(["vfio-user-slow"], {}))
    with opens_of(config) as control:
        for _ in range(2):
            os.close(os.open(config, os.O_RDONLY))
    equal(len(control), 2)
    with opens_of(config) as seen:
        restart()
        equal(wait_until(lambda: device(slow)["PasidBits"], "it has PASIDs"), 20)
        alice = Agent("alice")
        alice.explain([slow])
        alice.acquire([slow])
        alice.kill()
        wait_free(slow)
    equal(len(seen), 1)
    equal(device(slow)["PasidBits"], 20)


@test("intel")
def a_device_with_a_long_driver_override_is_known_and_left_alone():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    write(f"{PCI}{second}/driver_override", "x" * 1000)
    try:
        restart()
        equal(states()[second], "free")
        alice = Agent("alice")
        # It is a member of the group, on its driver.
        with refused("GroupNotViable") as why:
            alice.acquire([first])
        check(second in why.text, why.text)
        with refused("NotSupported") as why:
            alice.acquire([first], {"members": [second]})
        check(f"{PCI}{second}/driver_override" in why.text, why.text)
        equal(driver_of(second), "e1000e")
        equal(override_of(second), "x" * 1000)
    finally:
        write(f"{PCI}{second}/driver_override", "\n")
    alice.acquire([first], {"members": [second]})
    equal(driver_of(second), "vfio-pci")
