"""One check for all attacks. Meanwhile another user gets devices, and the daemon has no more than an attacker's share; when the attackers
are gone, it is as before: the same process with as many descriptors and as much memory, and no lease, no worker and no file of theirs."""
import contextlib

from agent import Agent
from lab import addr, check, configure, equal, fd_count, files, leases, pid, read, replug, rss, sysfs, wait_until, workers

# What one user may make the daemon have: for each of 16 calls (RequestsPerUser=) a pidfd, or 16 descriptors while the message is decoded.
SHARE_FDS = 16 * 16 + 16
SHARE_KIB = 48 << 10
LEFT_KIB = 4 << 10              # what the heap may keep of it


class Siege:
    def __init__(self):
        self.bob, self.device = Agent("bob"), addr("noreset")
        self.others_are_served()
        self.pid, self.fds, self.kib, self.sysfs = pid(), fd_count(), rss(), sysfs()
        # A sanitizer keeps what was freed.
        self.measured = "libasan" not in read(f"/proc/{self.pid}/maps")
        self.most, self.left = (0, 0), LEFT_KIB

    def others_are_served(self):
        self.bob.rounds([self.device], 1)

    def is_bounded(self):
        fds, kib = fd_count() - self.fds, rss() - self.kib
        self.most = max(self.most[0], fds), max(self.most[1], kib)
        check(fds <= SHARE_FDS, f"there are {fds} descriptors more")
        check(not self.measured or kib <= SHARE_KIB, f"there are {kib} KiB more")

    def hold(self):
        """To be called again and again during the attack."""
        self.is_bounded()
        self.others_are_served()
        self.is_bounded()

    def is_over(self):
        for attacker in [a for a in Agent.everybody if a is not self.bob]:
            attacker.kill()
        self.others_are_served()
        wait_until(lambda: not leases() and not workers() and not files(), lambda: f"nothing is left of {leases()}, {workers()}, {files()}")
        equal(pid(), self.pid, "the daemon")
        equal(sysfs(), self.sysfs, "the drivers")
        wait_until(lambda: fd_count() <= self.fds, lambda: f"as many descriptors as before: {self.fds}, not {fd_count()}")
        left = rss() - self.kib
        print(f"# at most {self.most[0]} descriptors and {self.most[1]} KiB more meanwhile; {left} KiB afterwards", flush=True)
        check(not self.measured or left <= self.left, f"there are {left} KiB more than before")


@contextlib.contextmanager
def siege(limits="", **reservations):
    """An attack by whatever agents the block makes. bob, who is nobody's, needs the device noreset."""
    # As others left it: it has no reset, and nothing of it matters here.
    configure(limits, bob_other=(["noreset"], {"Unclean": "yes"}), **reservations)
    s = Siege()
    try:
        yield s
        s.hold()
        s.is_over()
    finally:
        replug(s.device)        # or what bob has left there would keep others from it
