"""The legacy interface: groups and containers, on a kernel with iommufd and on Debian's own, which has none (S1.7)."""
import os
import signal
import struct
import subprocess

from agent import Agent, kill
from lab import (HELLO, PCI, STATE, addr, check, configure, device, driver_of, end_clients, equal, give_to, group_of, lease, override_of,
                 refused, restart, run, signals, start, state, states, stop, test, wait_free, wait_until, write)
from test_groups import beside_a_gap

NVME_IDS = (0x1B36, 0x0010)


def node_of(address):
    return f"/dev/vfio/{group_of(address)}"


def users_of(node):
    """The named users of its access control list."""
    out = subprocess.run(["getfacl", "-pcn", node], check=True, capture_output=True, text=True).stdout
    return [line for line in out.splitlines() if line.startswith("user:") and not line.startswith("user::")]


QEMU_BY_HOST = ("qemu-system-x86_64 -accel tcg -machine q35 -m 128 -nodefaults -display none -serial stdio -boot strict=on -no-reboot "
                "-device").split()


def qemu_by_host(address):
    return [*QEMU_BY_HOST, f"vfio-pci,host={address},bootindex=0"]


@test("intel", "amd", "stock")
def S1_7_group_maps_memory_and_reads_the_device():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"MemoryLock": "64M"}))
    alice, bob = Agent("alice"), Agent("bob")
    grant = alice.acquire([nvme], {"hand-over": "group"})
    number = group_of(nvme)
    equal(set(grant.fds), {"lifeline", "container", number})
    equal((grant.found[nvme]["hand-over"], lease(grant.path)["HandOver"]), ("group", "group"))
    equal(alice.memlock(), 64 << 20)
    for who in alice, bob:
        equal(who.can_open(node_of(nvme)), "EACCES", f"{node_of(nvme)} for {who.user}")
    fd = alice.use_group(grant.fds["container"], grant.fds[number], nvme)
    equal(alice.ids(fd), NVME_IDS)
    # The controller's version register says 1.4 (NVM Express, 3.1.2).
    equal(struct.unpack("<I", alice.bar(fd, 0, 8, 4)), (0x10400,))
    equal(alice.map_dma(grant.fds["container"], 128 << 20), "ENOMEM", "more than the limit of locked memory")
    equal(Agent("root").can_open(node_of(nvme)), "EBUSY")
    alice.kill()
    wait_free(nvme)
    equal((driver_of(nvme), override_of(nvme)), ("nvme", ""))


@test("intel", "stock")
def S1_7_the_group_is_claimed_and_its_members_are_parked_where_nobody_opens_them():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    with refused("GroupNotViable") as box:
        alice.acquire([first], {"hand-over": "group"})
    check(second in box.error.text and "members" in box.error.text, box.error.text)
    grant = alice.acquire([first], {"hand-over": "group", "members": [second]})
    equal((driver_of(first), driver_of(second)), ("vfio-pci", "pci-stub"))
    equal((state(first), state(second), lease(grant.path)["Parked"]), ("leased", "parked", [second]))
    # Claimed before anybody has done anything with it: the host cannot have a member back.
    write(f"{PCI}{second}/driver/unbind", second)
    write(f"{PCI}{second}/driver_override", "e1000e")
    try:
        write("/sys/bus/pci/drivers/e1000e/bind", second)
        check(False, "a host driver got a member of a claimed group")
    except OSError as e:
        equal(e.strerror, "Device or resource busy")
    write(f"{PCI}{second}/driver_override", "pci-stub")
    write("/sys/bus/pci/drivers/pci-stub/bind", second)
    fds = grant.fds["container"], grant.fds[group_of(first)]
    equal(alice.ids(alice.use_group(*fds, first)), (0x8086, 0x10D3))
    equal(alice.get_device(fds[1], second), "ENODEV", "the parked member")
    alice.kill()
    wait_free(first, second)
    equal((driver_of(first), driver_of(second), override_of(second)), ("e1000e", "e1000e", ""))


@test("intel", "stock")
def S1_7_both_functions_by_one_group():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    grant = alice.acquire([first, second], {"hand-over": "group"})
    number = group_of(first)
    equal(set(grant.fds), {"lifeline", "container", number})
    equal(set(grant.found), {first, second})
    alice.use_group(grant.fds["container"], grant.fds[number], first)
    equal(alice.get_device(grant.fds[number], second), "")
    with refused("NotSupported"):
        alice.remove_devices(grant.path, grant.lifeline, [second])
    with refused("NotSupported"):
        alice.add_devices(grant.path, grant.lifeline, [addr("nvme")])
    equal(alice.take_devices(grant.path, grant.lifeline), {})
    alice.kill()
    wait_free(first, second)


@test("intel", "stock")
def S1_7_group_survives_the_daemon():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "group"})
    restart(signal.SIGKILL)
    equal((lease(grant.path)["State"], state(nvme)), ("active", "leased"))
    fd = alice.use_group(grant.fds["container"], grant.fds[group_of(nvme)], nvme)
    equal(alice.ids(fd), NVME_IDS)
    # The device alone keeps its group, and the lease its device.
    child = alice.fork_keeping(fd)
    alice.kill()
    wait_until(lambda: state(nvme) == "releasing", "releasing")
    equal(driver_of(nvme), "vfio-pci")
    kill(child)
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("intel", "stock", "systemd")
def S1_7_a_group_that_is_under_way_holds_the_device_and_nothing_is_stuck():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "group"})
    alice.queue(grant.fds["container"], grant.fds[group_of(nvme)])
    alice.release(grant.path, grant.lifeline)
    wait_until(lambda: "no process that can be seen" in device(nvme)["StateReason"], lambda: device(nvme)["StateReason"])
    equal((state(nvme), driver_of(nvme)), ("releasing", "vfio-pci"))
    alice.kill()
    wait_free(nvme)


@test("intel", "amd", "stock")
def S1_7_unmodified_qemu_boots_by_the_node():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {"MemoryLock": "8G"}))
    result = run(["iommuctl", "run", "--hand-over", "node", "-d", nvme, "--", *qemu_by_host(nvme)], "alice")
    check(HELLO in result.stdout, f"QEMU (status {result.returncode}) did not boot from it:", result.stdout)
    wait_free(nvme)
    equal((driver_of(nvme), override_of(nvme)), ("nvme", ""))
    check(not os.path.exists(node_of(nvme)), "the node is still there")


@test("intel", "stock", "systemd")
def S1_7_the_node_is_for_the_users_of_the_lease_while_it_lasts():
    nvme = addr("nvme")
    node = node_of(nvme)
    configure(alice=(["nvme"], {}))
    alice, same, bob = Agent("alice"), Agent("alice"), Agent("bob")
    grant = alice.acquire([nvme], {"hand-over": "node"})
    equal(set(grant.fds), {"lifeline"})
    equal((grant.found[nvme]["hand-over"], users_of(node)), ("node", [f"user:{alice.uid}:rw-"]))
    equal(bob.can_open(node), "EACCES")
    # It can be opened more than once, one at a time.
    equal((same.can_open(node), same.can_open(node)), ("", ""))
    fds = alice.open_node(node, nvme)
    equal(alice.ids(fds[2]), NVME_IDS)
    alice.release(grant.path, grant.lifeline)
    equal((state(nvme), users_of(node), same.can_open(node)), ("releasing", [], "EACCES"))
    wait_until(lambda: f"pid {alice.pid}" in device(nvme)["StateReason"], lambda: device(nvme)["StateReason"])
    alice.close(*fds)
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")
    check(not os.path.exists(node), "the node is still there")


@test("intel", "stock")
def S1_7_the_node_is_closed_to_all_after_a_crash():
    nvme = addr("nvme")
    node = node_of(nvme)
    configure(alice=(["nvme"], {}))
    alice, same = Agent("alice"), Agent("alice")
    alice.acquire([nvme], {"hand-over": "node"})
    # With its client alive a lease goes on over the daemon's death, and the user's right with it, but nobody else's.
    run(["setfacl", "-m", "u:bob:rw,u:nobody:r", node], check=True)
    equal(len(users_of(node)), 3)
    restart(signal.SIGKILL)
    equal((users_of(node), same.can_open(node)), ([f"user:{alice.uid}:rw-"], ""))
    child = alice.fork_keeping(*alice.open_node(node, nvme))
    stop(signal.SIGKILL)
    alice.kill()
    equal(users_of(node), [f"user:{same.uid}:rw-"])
    start()
    equal((state(nvme), users_of(node), same.can_open(node)), ("releasing", [], "EACCES"))
    kill(child)
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")


@test("intel", "stock")
def S1_7_a_node_of_which_no_lease_is_known_is_closed_to_all():
    nvme = addr("nvme")
    node = node_of(nvme)
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "node"})
    stop(signal.SIGKILL)
    run(["setfacl", "-m", "u:bob:rw", node], check=True)
    write(f"{STATE}/leases/{grant.id}", "nonsense")
    start()
    equal((users_of(node), alice.can_open(node)), ([], "EACCES"))
    alice.kill()
    os.unlink(f"{STATE}/leases/{grant.id}.bad")
    os.unlink(f"{STATE}/lifelines/{grant.id}")
    give_to(nvme, "nvme")


@test("intel")
def S1_3_S1_7_a_newcomer_is_parked_where_the_group_does_not_reach_it():
    alice, grant, edu, e1000 = beside_a_gap({"hand-over": "node"})
    fds = alice.open_node(node_of(edu), edu)
    write("/sys/bus/pci/rescan", "1")
    wait_until(lambda: states().get(e1000) == "parked", "the newcomer is parked")
    check(driver_of(e1000) in ("", "pci-stub"), driver_of(e1000))
    equal(alice.get_device(fds[1], e1000), "ENODEV")
    alice.release(grant.path, grant.lifeline)
    alice.kill()
    wait_free(edu, e1000)
    equal(driver_of(e1000), "e1000")


@test("intel")
def S1_3_S1_7_a_parked_member_that_comes_within_reach_is_noticed():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    alice = Agent("alice")
    grant = alice.acquire([first], {"hand-over": "group", "members": [second]})
    with signals(f"type='signal',member='GroupDisturbed',path='{grant.path}'") as heard:
        give_to(second, "vfio-pci")
        check(any(second in line for line in heard), "the leaseholder is told")
    alice.kill()
    wait_free(first, second)
    equal((driver_of(first), driver_of(second), override_of(second)), ("e1000e", "e1000e", ""))


@test("intel")
def S1_7_a_member_on_a_vfio_driver_has_to_be_named():
    first, second = addr("multifunction.0"), addr("multifunction.1")
    configure(alice=(["multifunction.0", "multifunction.1"], {}))
    give_to(second, "vfio-pci")
    wait_until(lambda: device(second)["Driver"] == "vfio-pci", "the daemon knows")
    try:
        alice = Agent("alice")
        with refused("GroupNotViable") as box:
            alice.acquire([first], {"hand-over": "node"})
        check("could open it too" in box.error.text, box.error.text)
        alice.acquire([first], {"hand-over": "node", "members": [second]})
        equal((driver_of(first), driver_of(second)), ("vfio-pci", "pci-stub"))
        alice.kill()
        wait_free(first, second)
        equal((driver_of(first), driver_of(second)), ("e1000e", "vfio-pci"))
    finally:
        end_clients()           # or the unbind would wait for ever
        wait_free(first, second)
        give_to(second, "e1000e")


@test("stock")
def S1_7_without_iommufd_the_form_is_chosen():
    nvme = addr("nvme")
    check(not os.path.exists("/dev/iommu"), "this kernel has iommufd")
    configure(alice=(["nvme"], {"MemoryLock": "8G"}))
    alice = Agent("alice")
    with refused("NotSupported") as box:
        alice.acquire([nvme], {"hand-over": "unbound"})
    check("no iommufd" in box.error.text and "group" in box.error.text, box.error.text)
    possible, findings = alice.explain([nvme])
    check(possible and [f for f in findings if f[0] == "hand-over" and "group" in f[3]], findings)
    grant = alice.acquire([nvme])
    equal((lease(grant.path)["HandOver"], grant.found[nvme]["hand-over"]), ("group", "group"))
    alice.kill()
    wait_free(nvme)
    # A reservation for programs that take no group, such as QEMU.
    configure(alice=(["nvme"], {"MemoryLock": "8G", "HandOver": "node"}))
    result = run(["iommuctl", "run", "-d", nvme, "--", *qemu_by_host(nvme)], "alice")
    check(HELLO in result.stdout, f"QEMU (status {result.returncode}) did not boot from it:", result.stdout)
    wait_free(nvme)


@test("stock")
def without_iommufd_a_group_can_be_owned_with_nothing_handed_out():
    nvme = addr("nvme")
    configure(alice=(["nvme"], {}))
    alice = Agent("alice")
    grant = alice.acquire([nvme], {"hand-over": "none"})
    equal((set(grant.fds), driver_of(nvme), state(nvme)), ({"lifeline"}, "vfio-pci", "leased"))
    equal(alice.can_open(node_of(nvme)), "EACCES")
    alice.kill()
    wait_free(nvme)
    equal(driver_of(nvme), "nvme")
