"""What goes on over a restart that lost the watch on closes (no fd store), and what the lost descriptors mean."""
import os

from agent import Agent
from lab import (LOG, STATE, addr, check, configure, device, driver_of, equal, lease, override_of, read, refused, restart, start, state, stop,
                 test, wait_free, wait_until, write)


@test("intel")
def closes_are_seen_by_the_new_watch():
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme", "nvme2"], {}))
    restart()
    before, after = Agent("alice"), Agent("alice")
    before.acquire([nvme])
    restart()
    after.acquire([other])
    # The numbers of the old watch mean nothing to the new one: the end of one lease must not blind it for the other.
    before.kill()
    wait_free(nvme)
    after.kill()
    wait_free(other)


@test("intel")
def closing_is_leaving_after_a_restart_too():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    restart()
    alice.close(grant.fds[nvme])
    wait_free(nvme)
    equal(lease(grant.path)["State"], "active")


@test("intel")
def a_removed_device_waits_for_its_holder_over_a_restart():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    alice.remove_devices(grant.path, grant.lifeline, [nvme])
    restart()
    wait_until(lambda: "still open" in device(nvme)["StateReason"], lambda: device(nvme)["StateReason"])
    equal(state(nvme), "releasing")
    alice.close(grant.fds[nvme])
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("intel")
def a_revocation_goes_on():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    Agent("root").revoke(grant.path, "later", 8 * 10**6)
    deadline = lease(grant.path)["RevokeDeadline"]
    restart()
    equal(lease(grant.path)["RevokeDeadline"], deadline)
    wait_until(lambda: lease(grant.path)["State"] in ("releasing", "broken"), "the deadline counts")
    alice.kill()
    wait_free(nvme)
    # And it can be brought forward.
    alice = Agent("alice")
    grant = alice.acquire([nvme])
    Agent("root").revoke(grant.path, "much later", 3600 * 10**6)
    restart()
    equal(lease(grant.path)["State"], "active")
    Agent("root").revoke(grant.path, "now", 0)
    equal(lease(grant.path)["State"], "releasing")
    alice.kill()
    wait_free(nvme)


@test("intel")
def what_needs_a_lost_iommufd_says_so():
    first, second, nvme, other = addr("multifunction.0"), addr("multifunction.1"), addr("nvme"), addr("nvme2")
    configure(alice=(["multifunction.0", "multifunction.1", "nvme", "nvme2"], {}))
    alice = Agent("alice")
    pair = alice.acquire([first, second], {"reset-set": True})
    attached = alice.acquire([nvme], {"hand-over": "attached"})
    restart()
    alice.disconnect()
    with refused("NotSupported") as box:
        alice.add_devices(attached.path, attached.lifeline, [other])
    check("has ended since" in box.text, box.text)
    # Nothing can be bound for the hot reset of what stays, and all else goes on.
    alice.close(pair.fds[second])
    wait_until(lambda: state(second) == "parked", "parked")
    alice.kill()
    wait_free(first, second, nvme)
    equal((driver_of(first), driver_of(second), override_of(second)), ("e1000e", "e1000e", ""))


@test("intel")
def a_state_file_that_cannot_be_trusted_is_set_aside():
    nvme, other = addr("nvme"), addr("nvme2")
    configure(alice=(["nvme", "nvme2"], {}))
    alice = Agent("alice")
    grant, healthy = alice.acquire([nvme]), alice.acquire([other])
    stop()
    path = f"{STATE}/leases/{grant.id}"
    good = read(path) + "\n"
    first, _, rest = good.partition("\n")
    damages = {
        "empty": "",
        "truncated": good[:len(good) // 2],
        "without its end": good.removesuffix("END=1\n"),
        "of another version": good.replace("VERSION=1\n", "VERSION=0\n"),
        "with the id of another lease": good.replace(grant.id, healthy.id),
        "of an impossible user": good.replace("UID=1000\n", "UID=-1\n"),
        "with a path for a driver": good.replace("DRIVER=vfio-pci\n", "DRIVER=../../x\n"),
        "with an unknown line": f"{first}\nGRANT=everything\n{rest}",
        "bytes": "\x01\x02\x7f" * 1000,
    }
    for what, text in damages.items():
        check(text != good, what)
        write(path, text)
        start()
        equal((os.path.exists(path), read(path + ".bad")), (False, text.strip("\n")), what)
        equal((lease(grant.path), lease(healthy.path)["State"]), ({}, "active"), what)
        check(f"State file {grant.id} cannot be trusted and is set aside" in read(LOG), what)
        with refused("NoSuchLease", "UnknownObject"):
            alice.take_devices(grant.path, grant.lifeline)
        stop()
        os.unlink(path + ".bad")
    # As it was, it is as good as it was.
    write(path, good)
    start()
    equal((lease(grant.path)["State"], alice.use(grant, nvme)[0]), ("active", 0x1B36))
    alice.kill()
    wait_free(nvme, other)
