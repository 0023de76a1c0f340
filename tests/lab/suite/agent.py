"""Clients of the daemon: each is a process of its own, with a user's ids and a connection to the bus of its own.

An Agent stands for such a process in the test. Its methods are those of Client, run over there; descriptors stay over there, too,
and are known to the test by their numbers. kill() ends it as SIGKILL does; what it has open goes with it.
"""
import ctypes
import errno
import os
import pickle
import pwd
import resource
import select
import signal
import socket
import traceback

import vfio
from attacker import LONG, Attacker

SERVICE, ROOT = "org.iommud1", "/org/iommud1"
MANAGER, LEASE, DEVICE, GROUP, QUOTA = (SERVICE + "." + i for i in ("Manager", "Lease", "Device", "Group", "Quota"))
MEMLOCK = 8 << 20               # the kernel's default, which is what a login has

OPTIONS = {
    "hand-over": "s", "members": "as", "driver": "s", "pasids": "u", "force-in-use": "b", "reservation": "s", "restore": "b",
    "reset-set": "b",
    "wait": "t", "for": "h", "as": "u", "runtime": "b",
}


class BusError(Exception):
    """An error that came over the bus."""

    def __init__(self, name, text):
        super().__init__(name, text)
        self.name, self.text = name, text

    def __str__(self):
        return f"{self.name}: {self.text}"


class Died(Exception):
    """The client's process ended."""


class Grant:
    """What Acquire gave: fds by "lifeline", "iommufd", "container", and address or number of a group."""

    def __init__(self, path, fds, found):
        self.path, self.fds, self.found = path, fds, found

    lifeline = property(lambda self: self.fds["lifeline"])
    iommufd = property(lambda self: self.fds["iommufd"])
    id = property(lambda self: self.path.rpartition("/")[2])


def variants(options):
    """{"members": [...]} as the bus wants it; a value that is a tuple already has a type."""
    return {k: v if isinstance(v, tuple) else (OPTIONS[k], v) for k, v in options.items()}


def plain(value):
    """Without the variants' types."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str):
        return value[1]
    return value


class Bus:
    """A connection to the system bus."""

    def __init__(self):
        from jeepney.io.blocking import open_dbus_connection
        self.connection = open_dbus_connection("SYSTEM", enable_fds=True, auth_timeout=LONG)

    def close(self):
        self.connection.close()

    def message(self, path, interface, method, signature="", body=(), service=SERVICE):
        from jeepney import DBusAddress, new_method_call
        return new_method_call(DBusAddress(path, service, interface), method, signature or None, tuple(body))

    def call(self, path, interface, method, signature="", body=(), service=SERVICE):
        from jeepney import HeaderFields, MessageType
        reply = self.connection.send_and_get_reply(self.message(path, interface, method, signature, body, service), timeout=LONG)
        if reply.header.message_type == MessageType.error:
            raise BusError(reply.header.fields[HeaderFields.error_name], reply.body[0] if reply.body else "")
        return reply.body

    def get_all(self, path, interface):
        (properties,) = self.call(path, "org.freedesktop.DBus.Properties", "GetAll", "s", (interface,))
        return {k: v[1] for k, v in properties.items()}


class Client(Attacker):
    """What an agent can do; runs in its process."""

    def __init__(self):
        super().__init__()
        self.bus, self.children = None, []

    def connect(self):
        self.bus = self.bus or Bus()
        return self.bus

    def disconnect(self):
        """Closes the connection to the bus and nothing else."""
        self.bus.close()
        self.bus = None

    def call(self, *args):
        return self.connect().call(*args)

    def acquire(self, devices, options=()):
        path, fds, found = self.call(ROOT, MANAGER, "Acquire", "asa{sv}", (devices, variants(dict(options))))
        return Grant(path, numbered(fds), {a: {k: plain(v) for k, v in d.items()} for a, d in found.items()})

    def acquire_with_pairs(self, devices, pairs):
        """The options as a list of pairs, which can hold one twice."""
        self.call(ROOT, MANAGER, "Acquire", "asa{sv}", (devices, pairs))

    def connect_only(self):
        self.connect()

    def send_acquire(self, devices, options=()):
        """Does not wait for the answer."""
        bus = self.connect()
        bus.connection.send(bus.message(ROOT, MANAGER, "Acquire", "asa{sv}", (devices, variants(dict(options)))))

    def unique_name(self):
        return self.connect().connection.unique_name

    def signal(self, receiver, size):
        """A signal of this many bytes, for one connection."""
        from jeepney import DBusAddress, HeaderFields, new_signal
        message = new_signal(DBusAddress(ROOT, interface="org.example.Test"), "Filler", "s", ("x" * size,))
        message.header.fields[HeaderFields.destination] = receiver
        self.connect().connection.send(message)

    def answers(self, n):
        """Reads n answers: the names of errors, "" where there was none. Descriptors are closed."""
        from jeepney import HeaderFields, MessageType
        out = []
        while len(out) < n:
            header = self.connect().connection.receive(timeout=LONG).header
            if header.message_type in (MessageType.method_return, MessageType.error):
                out.append(header.fields.get(HeaderFields.error_name, ""))
        return out

    def send_add_devices(self, path, lifeline, devices, options=()):
        """Does not wait for the answer."""
        bus = self.connect()
        bus.connection.send(bus.message(path, LEASE, "AddDevices", "hasa{sv}", (lifeline, devices, variants(dict(options)))))

    def explain(self, devices, options=()):
        possible, findings = self.call(ROOT, MANAGER, "Explain", "asa{sv}", (devices, variants(dict(options))))
        return possible, [(code, severity, subject, text, {k: plain(v) for k, v in details.items()})
                          for code, severity, subject, text, details in findings]

    def explain_often(self, device, n):
        """Four questions at a time."""
        bus = self.connect()
        for i in range(n + 4):
            if i < n:
                bus.connection.send(bus.message(ROOT, MANAGER, "Explain", "asa{sv}", ([device], {})))
            if i >= 4:
                bus.connection.receive(timeout=LONG)

    def release(self, path, lifeline):
        self.call(path, LEASE, "Release", "ha{sv}", (lifeline, {}))

    def take_devices(self, path, lifeline, devices=()):
        fds, found = self.call(path, LEASE, "TakeDevices", "hasa{sv}", (lifeline, list(devices), {}))
        return numbered(fds)

    def add_devices(self, path, lifeline, devices, options=()):
        fds, _ = self.call(path, LEASE, "AddDevices", "hasa{sv}", (lifeline, list(devices), variants(dict(options))))
        return numbered(fds)

    def remove_devices(self, path, lifeline, devices):
        self.call(path, LEASE, "RemoveDevices", "hasa{sv}", (lifeline, list(devices), {}))

    def reset(self, path, lifeline, device):
        (method,) = self.call(path, LEASE, "Reset", "hsa{sv}", (lifeline, device, {}))
        return method

    def attach_pasid_by_daemon(self, path, lifeline, device, pt, pasid):
        self.call(path, LEASE, "AttachPasid", "hsuua{sv}", (lifeline, device, pt, pasid, {}))

    def detach_pasid_by_daemon(self, path, lifeline, device, pasid):
        self.call(path, LEASE, "DetachPasid", "hsua{sv}", (lifeline, device, pasid, {}))

    def revoke(self, path, reason="a test says so", deadline=0):
        self.call(path, LEASE, "Revoke", "sta{sv}", (reason, deadline, {}))

    def set_virtual_functions(self, device, n, options=()):
        path = f"{ROOT}/device/" + device.replace(":", "_").replace(".", "_")
        self.call(path, DEVICE, "SetVirtualFunctions", "ua{sv}", (n, variants(dict(options))))

    def set_pasid_limit(self, cgroup, limit, options=()):
        self.call(ROOT, MANAGER, "SetPasidLimit", "sta{sv}", (cgroup, limit, variants(dict(options))))

    def identify(self, fd):
        return self.call(ROOT, MANAGER, "Identify", "ha{sv}", (fd, {}))

    def rounds(self, devices, n):
        """Acquires and releases the same devices, n times. Waits for the end of each lease on the bus."""
        from jeepney import MatchRule
        bus = self.connect()
        rule = MatchRule(type="signal", interface=LEASE, member="Ended")
        bus.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", (rule.serialise(),), "org.freedesktop.DBus")
        with bus.connection.filter(rule, bufsize=16) as ended:
            for _ in range(n):
                grant = self.acquire(devices)
                for fd in grant.fds.values():
                    os.close(fd)
                bus.connection.recv_until_filtered(ended, timeout=LONG)

    # --- descriptors ---

    def close(self, *fds):
        for fd in fds:
            os.close(fd)

    def open(self, path, flags=os.O_RDWR):
        return os.open(path, flags)

    def dup(self, fd):
        return os.dup(fd)

    def can_open(self, path, flags=os.O_RDWR):
        """The name of the error, "" if it can be opened."""
        return vfio.error_of(lambda: os.close(os.open(path, flags)))

    def race_to_open(self, path, n):
        """n children open it, all at once: the errors that they got. They live on."""
        gate, hold = os.pipe()
        results, result = os.pipe()
        for _ in range(n):
            pid = os.fork()
            if pid == 0:
                os.close(hold)
                os.read(gate, 1)            # until the parent closes it
                os.write(result, self.can_open(path).encode() + b"\n")
                while True:
                    signal.pause()
            self.children.append(pid)
        os.close(hold)
        os.close(gate)
        os.close(result)
        with open(results, encoding="ascii") as f:
            return [f.readline().strip() for _ in range(n)]

    def open_in_child(self, path):
        """A child that tries to open it: its pid, and the error. At SIGUSR1 it becomes another program."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        results, result = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(result, self.can_open(path).encode() + b"\n")
            signal.sigwait([signal.SIGUSR1])
            os.execvp("sleep", ["sleep", "1000"])
        self.children.append(pid)
        os.close(result)
        with open(results, encoding="ascii") as f:
            return pid, f.readline().strip()

    def pipe(self):
        return os.pipe()

    def give(self, *fds):
        """To the test's process: what it returns there are its own numbers. See Agent.give."""
        return list(fds)

    def bind(self, device, iommufd, token=""):
        return vfio.error_of(vfio.bind, device, iommufd, token)

    def attach(self, device, pt):
        return vfio.error_of(vfio.attach, device, pt)

    def detach(self, device):
        return vfio.error_of(vfio.detach, device)

    def hot_reset(self, device):
        return vfio.error_of(vfio.hot_reset, device)

    def bind_id(self, grant, address):
        """Binds an unbound device; its id in the iommufd."""
        return vfio.bind(grant.fds[address], grant.iommufd)

    def pasid_table(self, grant, address):
        """Binds an unbound device and makes a page table that PASIDs can be attached to."""
        devid = self.bind_id(grant, address)
        return vfio.hwpt_alloc(grant.iommufd, devid, vfio.ioas_alloc(grant.iommufd))

    def attach_pasid(self, device, pt, pasid):
        return vfio.error_of(vfio.attach_pasid, device, pt, pasid)

    def detach_pasid(self, device, pasid):
        return vfio.error_of(vfio.detach_pasid, device, pasid)

    def attach_pasid_read_only(self, device, pt, pasid):
        return vfio.error_of(vfio.attach_pasid_read_only, device, pt, pasid)

    def attach_pasid_nowhere(self, device):
        return vfio.error_of(vfio.attach_nowhere, device)

    def pasid_rounds(self, device, pt, pasids, n):
        """Attaches and detaches them all, n times; the errors that came."""
        errors = set()
        for _ in range(n):
            errors |= {self.attach_pasid(device, pt, p) for p in pasids}
            errors |= {self.detach_pasid(device, p) for p in pasids}
        return errors - {""}

    def pasid_rounds_while(self, device, pt, pasids, path):
        """The same, until the path is gone: the errors, and how many rounds it were."""
        errors, n = set(), 0
        while os.path.exists(path):
            errors |= self.pasid_rounds(device, pt, pasids, 1)
            n += 1
        return errors, n

    def race_for_pasids(self, device, pt, n):
        """n children try to attach one PASID each, all at once: how many could. They end, what they attached stays."""
        gate, hold = os.pipe()
        pids = []
        for i in range(n):
            pid = os.fork()
            if pid == 0:
                os.close(hold)
                os.read(gate, 1)            # until the parent closes it
                os._exit(0 if self.attach_pasid(device, pt, 1000 + i) == "" else 1)
            pids.append(pid)
        os.close(hold)
        os.close(gate)
        return sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in pids)

    def lie(self, device, pt, pasid, times):
        """Runs tests/lab/vmm/liar.c; its exit status."""
        os.set_inheritable(device, True)
        pid = os.posix_spawn("/lab/liar", ["/lab/liar", str(device), str(pt), str(pasid), str(times)], os.environ)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def lie_while(self, device, pt, pasid, path):
        """One liar after the other, until the path is gone: how many were killed."""
        killed = 0
        while os.path.exists(path):
            killed += self.lie(device, pt, pasid, 100000) == -signal.SIGKILL
            self.detach_pasid(device, pasid)
        return killed

    def attach_pasid_32(self, device, pt, pasid):
        """By a program of 32 bits, tests/lab/vmm/attach32.c."""
        os.set_inheritable(device, True)
        pid = os.posix_spawn("/lab/attach32", ["/lab/attach32", str(device), str(pt), str(pasid)], os.environ)
        return errno.errorcode.get(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "")

    def mock_device(self):
        """In an iommufd of its own: (iommufd, device, table)."""
        iommufd = os.open("/dev/iommu", os.O_RDWR)
        return iommufd, *vfio.mock_device(iommufd)

    def mock_pasid(self, iommufd, device, pasid, table=None):
        """Attaches it to the table; without one, detaches it."""
        op = vfio.MOCK_ATTACH_PASID if table else vfio.MOCK_DETACH_PASID
        return vfio.error_of(vfio.mock, iommufd, op, device, pasid, table or 0)

    def nested_table(self, grant, devid, pt):
        return vfio.error_of(vfio.hwpt_alloc, grant.iommufd, devid, pt, 0, bytes(24), 1)

    def viommu(self, grant, devid, pt):
        return vfio.error_of(vfio.viommu_alloc, grant.iommufd, devid, pt)

    def ioas_alloc(self, iommufd):
        return vfio.ioas_alloc(iommufd)

    def use(self, grant, address):
        """Binds an unbound device, as a VMM does, and reads its ids."""
        return self.use_of(grant.fds[address], grant.iommufd)

    def use_of(self, device, iommufd):
        vfio.bind(device, iommufd)
        return vfio.ids(device)

    def listen(self, device):
        return vfio.listen(device)

    def wait_for_request(self, event):
        """Blocks until VFIO has asked for the device back; how often it has."""
        return os.eventfd_read(event) if select.select([event], [], [], LONG)[0] else 0

    def ids(self, device):
        return vfio.ids(device)

    def use_group(self, container, group, address):
        """As a legacy VMM does with a group that is claimed already: maps memory and opens the device. Its descriptor."""
        vfio.set_iommu(container)
        self.memory = vfio.map_dma(container)
        return vfio.get_device(group, address)

    def open_node(self, node, address):
        """As QEMU does with host=: all by itself. The descriptors of container, group and device."""
        container, group = self.open("/dev/vfio/vfio"), self.open(node)
        vfio.set_container(group, container)
        return container, group, self.use_group(container, group, address)

    def get_device(self, group, address):
        return vfio.error_of(vfio.get_device, group, address)

    def map_dma(self, container, length):
        return vfio.error_of(vfio.map_dma, container, 1 << 32, length)

    def bar(self, device, index, offset, count):
        return vfio.bar(device, index, offset, count)

    def ioas_map(self, iommufd, ioas):
        return vfio.error_of(vfio.ioas_map, iommufd, ioas)

    def queue(self, *fds):
        """Puts the descriptors into a socket that nobody reads, and closes them here."""
        ours, theirs = socket.socketpair()
        socket.send_fds(ours, [b"x"], list(fds))
        self.close(*fds)
        return ours.detach(), theirs.detach()

    def fork_keeping(self, *fds):
        """A child that does nothing but keep these descriptors open. Returns its pid."""
        pid = os.fork()
        if pid == 0:
            close_all_but(fds)
            while True:
                signal.pause()
        self.children.append(pid)
        return pid

    def pidfd(self, pid):
        return os.pidfd_open(pid)

    def undumpable(self):
        """/proc/PID belongs to root from now on, as with a program that changes its user."""
        ctypes.CDLL(None).prctl(4, 0)

    def memlock(self):
        return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]


def numbered(fds):
    return {name or kind: fd.to_raw_fd() for kind, name, fd in fds}


def close_all_but(keep):
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass            # the directory's own


def serve(control, client):
    while True:
        blob, fds, _, _ = socket.recv_fds(control, 1 << 20, 16)
        if not blob:
            return
        method, args = pickle.loads(blob)
        out = []
        try:
            value = list(fds) if method == "take" else getattr(client, method)(*args)
            answer = True, value
            if method == "give":
                out = value
        except BusError as e:
            answer = False, e
        except Exception as e:
            answer = False, RuntimeError(f"{type(e).__name__}: {e}\n{traceback.format_exc(limit=-3)}")
        socket.send_fds(control, [pickle.dumps(answer)], out)


class Agent:
    everybody, groups = [], []          # groups: of processes, which agents and their children are in

    def __init__(self, user):
        entry = pwd.getpwnam(user)
        self.user, self.uid = user, entry.pw_uid
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self.run(theirs, entry)
        theirs.close()
        self.control.settimeout(LONG + 10)
        self.alive = True
        Agent.everybody.append(self)
        Agent.groups.append(self.pid)

    @staticmethod
    def run(control, entry):
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            close_all_but([control.fileno()])
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (MEMLOCK, MEMLOCK))
            if entry.pw_uid != 0:
                os.initgroups(entry.pw_name, entry.pw_gid)
                os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
                os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
            serve(control, Client())
        finally:
            os._exit(0)

    def start(self, method, *args):
        """Without waiting; result() does."""
        try:
            self.control.send(pickle.dumps((method, args)))
        except OSError as e:
            raise Died(f"{self.user}'s client: {e}") from None

    def result(self):
        try:
            blob, fds, _, _ = socket.recv_fds(self.control, 1 << 20, 16)
        except TimeoutError:
            raise TimeoutError(f"{self.user}'s client does not answer") from None
        except OSError as e:
            raise Died(f"{self.user}'s client: {e}") from None
        if not blob:
            raise Died(f"{self.user}'s client ended")
        good, value = pickle.loads(blob)
        if not good:
            raise value
        return list(fds) or value

    def __getattr__(self, method):
        if method.startswith("_") or not hasattr(Client, method):
            raise AttributeError(method)

        def ask(*args):
            self.start(method, *args)
            return self.result()
        return ask

    def hand(self, other, *fds):
        """Passes descriptors to another agent; returns their numbers there."""
        mine = self.give(*fds)
        try:
            socket.send_fds(other.control, [pickle.dumps(("take", ()))], mine)
        finally:
            for fd in mine:
                os.close(fd)
        return other.result()

    def kill(self):
        """SIGKILL, and waits until it is gone. Its children live."""
        if not self.alive:
            return
        self.alive = False
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.control.close()
        Agent.everybody.remove(self)


def end_all():
    """All agents and all their children."""
    for a in list(Agent.everybody):
        a.kill()
    for group in Agent.groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except ProcessLookupError:
            pass
    Agent.groups.clear()


def gone(pid, seconds=LONG):
    """Waits until a process has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


def kill(pid, sig=signal.SIGKILL):
    """And waits until it has ended."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        return
    if not gone(pid):
        raise TimeoutError(f"process {pid} does not end")
