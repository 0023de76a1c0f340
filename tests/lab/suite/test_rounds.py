"""Nothing is lost or left, however often."""
import time

from agent import Agent
from lab import addr, check, children, configure, equal, fd_count, files, pid, rss, test, wait_free, wait_until, workers

ROUNDS, WARM_UP, MORE = 1000, 50, 256       # MORE: KiB that the daemon may have grown by after the warm-up


@test("intel")
def thousand_rounds():
    noreset = addr("noreset")
    configure(alice=(["noreset"], {}))
    alice = Agent("alice")
    for _ in range(WARM_UP // 10):
        alice.rounds([noreset], 10)
    daemon, fds, kib = pid(), fd_count(), rss()
    started = time.monotonic()
    for done in range(10, ROUNDS - WARM_UP + 1, 10):
        alice.rounds([noreset], 10)
        if done % 100 == 0:
            print(f"# {done} rounds, {(time.monotonic() - started) / done * 1000:.0f} ms each, {fd_count()} descriptors, {rss()} KiB", flush=True)
    took = time.monotonic() - started
    alice.kill()
    wait_free(noreset)
    wait_until(lambda: not workers(), "no worker is left")
    print(f"# {took / (ROUNDS - WARM_UP) * 1000:.0f} ms a round; the daemon has {fd_count()} descriptors (had {fds}) and {rss()} KiB (had {kib})",
          flush=True)
    equal(pid(), daemon, "the daemon")
    wait_until(lambda: fd_count() <= fds, lambda: f"as many descriptors as before ({fds}); there are {fd_count()}")
    check(rss() <= kib + MORE, f"the daemon grew from {kib} to {rss()} KiB")
    equal(files(), [])
    print_zombies()


def print_zombies():
    wait_until(lambda: not children(), "no dead child is left unreaped")
