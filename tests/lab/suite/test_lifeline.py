"""Who holds the lifeline holds the lease; a uid does not, and no other descriptor."""
import os

from agent import Agent, kill
from lab import addr, configure, driver_of, equal, lease, refused, restart, state, test, wait_free


@test("intel")
def nothing_but_the_lifeline_opens_the_lease():
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme", "nvme2"], {}), bob=(["nvme2"], {}))
    alice, stranger, root = Agent("alice"), Agent("alice"), Agent("root")
    grant = alice.acquire([nvme])
    second = stranger.acquire([other])
    fifo = f"/run/iommud/lifelines/{grant.id}"
    reading, writing = stranger.pipe()
    wrong = {
        "/dev/null": stranger.open("/dev/null"),
        "a fresh pipe": writing,
        "its read end": reading,
        "the lifeline of another lease": second.lifeline,
        "an iommufd": second.iommufd,
        "a device": second.fds[other],
        "the lease's own device": alice.hand(stranger, grant.fds[nvme])[0],
        "the lease's own iommufd": alice.hand(stranger, grant.iommufd)[0],
        "the lifeline's read end": root.hand(stranger, root.open(fifo, os.O_RDONLY | os.O_NONBLOCK))[0],
        "the lifeline for reading and writing": root.hand(stranger, root.open(fifo, os.O_RDWR))[0],
    }
    for what, fd in wrong.items():
        for ask in (lambda: stranger.release(grant.path, fd)), (lambda: stranger.take_devices(grant.path, fd)):
            try:
                with refused("WrongLifeline"):
                    ask()
            except AssertionError as e:
                raise type(e)(f"{what}: {e}") from None
    # The name alone, without the right to open: her own lifeline through /proc.
    alone = alice.open(f"/proc/self/fd/{grant.lifeline}", os.O_PATH)
    try:
        with refused("WrongLifeline"):
            alice.release(grant.path, alone)
    except OSError:
        pass                    # the bus does not pass such a thing, which is as well
    equal((lease(grant.path)["State"], lease(second.path)["State"]), ("active", "active"))
    alice.release(grant.path, grant.lifeline)
    stranger.release(second.path, second.lifeline)


@test("intel")
def same_user_without_lifeline_cannot_end_the_lease():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice, other = Agent("alice"), Agent("alice")
    grant = alice.acquire([nvme])
    # Not even with polkit, unless a person in an active session says so.
    with refused("NotAuthorized", "InteractiveAuthorizationRequired"):
        other.revoke(grant.path)
    equal(lease(grant.path)["State"], "active")


@test("intel")
def lifeline_works_for_whom_it_was_passed_to():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice, bob = Agent("alice"), Agent("bob")
    grant = alice.acquire([nvme])
    theirs, device = alice.hand(bob, grant.lifeline, grant.fds[nvme])
    alice.kill()
    # Bob has no right to the device, but he holds the lease now, and its descriptor.
    equal(bob.take_devices(grant.path, theirs), {})
    equal(state(nvme), "leased")
    bob.release(grant.path, theirs)
    bob.close(device)
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("intel")
def copy_in_a_child_keeps_the_lease():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    child = alice.fork_keeping(grant.lifeline, grant.fds[nvme])
    alice.kill()
    with refused("DeviceBusy"):
        Agent("root").acquire([nvme])
    equal((state(nvme), lease(grant.path)["State"]), ("leased", "active"))
    kill(child)
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("intel")
def writing_into_the_lifeline_does_nothing():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    (fd,) = alice.give(grant.lifeline)
    try:
        os.set_blocking(fd, False)
        try:
            while True:
                os.write(fd, b"x" * 4096)
        except BlockingIOError:
            pass
    finally:
        os.close(fd)
    equal((state(nvme), lease(grant.path)["State"]), ("leased", "active"))
    alice.kill()
    wait_free(nvme)


@test("intel")
def full_lifeline_survives_a_restart():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    (fd,) = alice.give(grant.lifeline)
    os.write(fd, b"x" * 5000)
    os.close(fd)
    restart()
    equal(lease(grant.path)["State"], "active")
    alice.kill()
    wait_free(nvme)
