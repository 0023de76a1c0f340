"""S2: PASIDs, as the kernel holds leases to what they have booked. See daemon/bpf/gate.bpf.c."""
import os
import signal
import tempfile
from types import SimpleNamespace

import agent
import gatemaps
from agent import Agent
from lab import (DAEMON, ETC, LONG, STATE, addr, bus, cdev_of, check, configure, device, equal, give_to, group_of, lease, pull, refused,
                 reload, restart, run, start, states, stop, test, wait_free, wait_until, write)
from test_quota import A, CGROUPS, TOP, VMS, cgroups, client, limit, quota


def holder(pasids, user="alice", name="vfio-user"):
    """A client with a device and a page table: (client, grant, the device's descriptor, the table)."""
    client = Agent(user)
    grant = client.acquire([addr(name)], {"pasids": pasids})
    return client, grant, grant.fds[addr(name)], client.pasid_table(grant, addr(name))


def kernel_pasids(name="vfio-user"):
    """Those that the IOMMU has a table for, by the kernel's own word. 0 is the device's own traffic."""
    directory = f"/sys/kernel/debug/iommu/intel/{addr(name)}"
    return {int(p, 16) for p in os.listdir(directory) if os.path.isdir(f"{directory}/{p}")} - {0}


def agree(grant, in_use, **counts):
    """The lease's tally, the list of what is attached, and the kernel's tables."""
    tally = gatemaps.tally(grant.id)
    equal((tally["in_use"], tally["reserved"], len(gatemaps.attached(grant.id)), len(kernel_pasids())), (in_use, 0, in_use, in_use),
          "in use, reserved, listed, in the IOMMU's tables")
    equal({k: tally[k] for k in counts}, counts)


@test("gate")
def S2_1_the_kernel_refuses_one_more_than_was_booked():
    configure(alice=(["vfio-user"], {"Pasids": "4"}))
    alice, grant, fd, table = holder(3)
    equal((lease(grant.path)["Enforcement"], device(addr("vfio-user"))["Enforcement"]), ("kernel", "kernel"))
    equal([alice.attach_pasid(fd, table, p) for p in (1, 2, 3)], ["", "", ""])
    equal(alice.attach_pasid(fd, table, 4), "EDQUOT")
    agree(grant, 3, peak=3, refused=1, killed=0)
    equal(alice.detach_pasid(fd, 2), "")
    equal([alice.attach_pasid(fd, table, p) for p in (4, 5)], ["", "EDQUOT"])
    agree(grant, 3, peak=3, refused=2, killed=0)
    alice.kill()
    wait_free(addr("vfio-user"))
    equal((gatemaps.rules(), gatemaps.attached()), (set(), {}), "of the lease")


@test("gate")
def S2_1_what_comes_and_goes_a_thousand_times_leaves_the_counts_right():
    configure(alice=(["vfio-user"], {"Pasids": "4"}))
    alice, grant, fd, table = holder(4)
    equal(alice.pasid_rounds(fd, table, (1, 2, 3, 1000), 250), set())
    agree(grant, 0, peak=4, refused=0, killed=0)
    equal(alice.race_for_pasids(fd, table, 64), 4, "of 64 that race for 4, have got one:")
    agree(grant, 4, peak=4, refused=60)


@test("gate")
def S2_1_a_flag_that_another_thread_flips_gets_its_process_killed():
    configure(alice=(["vfio-user"], {}))
    alice, grant, fd, table = holder(0)
    # Nothing is booked, so that nothing but a lie attaches a PASID.
    equal(alice.lie(fd, table, 5, 1000000), -9, "the liar's end")
    wait_until(lambda: gatemaps.tally(grant.id)["in_use"] == 0 or alice.detach_pasid(fd, 5), "what it attached is given back")
    agree(grant, 0, peak=1, killed=1)
    # The holder has done nothing, and nothing more is let through.
    equal(alice.attach_pasid(fd, table, 5), "EDQUOT")


@test("gate")
def S2_1_what_is_attached_counts_whatever_the_ioctl_returns():
    configure(alice=(["vfio-user"], {"Pasids": "2"}))
    alice, grant, fd, table = holder(2)
    equal(alice.attach_pasid_nowhere(fd), "EFAULT")
    equal(alice.attach_pasid(fd, table + 100, 1), "ENOENT")
    agree(grant, 0, peak=0)
    equal(alice.attach_pasid_read_only(fd, table, 1), "EFAULT")
    agree(grant, 1)
    # It detaches the device's own table then: attach that again.
    equal([alice.attach_pasid(fd, table, p) for p in (2, 3)], ["", "EDQUOT"])
    # What is replaced is no more than before.
    equal(alice.attach_pasid(fd, table, 1), "")
    agree(grant, 2, refused=1, killed=0)


@test("gate")
def S2_1_the_devices_own_traffic_is_none_of_its_pasids():
    configure(alice=(["vfio-user"], {"Pasids": "1"}))
    alice, grant, fd, table = holder(1)
    equal([alice.attach_pasid(fd, table, p) for p in (0, 1)], ["", ""])
    agree(grant, 1, peak=1, refused=0, killed=0)
    equal([alice.detach_pasid(fd, p) for p in (0, 1)], ["", ""])
    agree(grant, 0)


@test("gate")
def S2_3_a_descriptor_that_was_passed_on_charges_its_lease():
    configure(alice=(["vfio-user"], {"Pasids": "2"}))
    alice, grant, fd, table = holder(2)
    bob = Agent("bob")
    (passed,) = alice.hand(bob, fd)
    equal([bob.attach_pasid(passed, table, p) for p in (1, 2, 3)], ["", "", "EDQUOT"])
    agree(grant, 2, refused=1)
    # Whoever detaches gives it back to the lease.
    equal(alice.detach_pasid(fd, 1), "")
    agree(grant, 1)
    # Its own end is not the descriptor's.
    bob.kill()
    agree(grant, 1)


def holder_without_daemon():
    """It may have two, and has attached one of them."""
    configure(alice=(["vfio-user"], {"Pasids": "2"}))
    client, grant, fd, table = holder(2)
    equal(client.attach_pasid(fd, table, 1), "")
    stop(signal.SIGKILL)
    return client, grant, fd, table


@test("gate")
def S2_3_a_lease_whose_file_is_lost_is_held_to_its_limit():
    alice, grant, fd, table = holder_without_daemon()
    write(f"{STATE}/leases/{grant.id}", "nonsense")
    start()
    equal(lease(grant.path), {})
    equal([alice.attach_pasid(fd, table, p) for p in (2, 3)], ["", "EDQUOT"])
    agree(grant, 2, refused=1)
    alice.kill()
    wait_until(lambda: gatemaps.tally(grant.id)["in_use"] == 0, "nobody has them any more")
    restart()
    equal(gatemaps.rules(), set())
    os.unlink(f"{STATE}/leases/{grant.id}.bad")
    os.unlink(f"{STATE}/lifelines/{grant.id}")
    give_to(addr("vfio-user"), "")


@test("gate")
def S2_1_S2_3_each_level_shows_what_the_kernel_has_counted():
    nic = addr("vfio-user")
    configure(alice=(["vfio-user"], {}))
    with cgroups(VMS, A):
        limit(VMS, 2)
        alice = client(A)
        grant = alice.acquire([nic], {"pasids": 2})
        fd, table = grant.fds[nic], alice.pasid_table(grant, nic)
        equal([alice.attach_pasid(fd, table, p) for p in (1, 2, 3)], ["", "", "EDQUOT"])
        equal(alice.detach_pasid(fd, 1), "")
        for cgroup in A, VMS, TOP:
            shown = [quota(cgroup)[k] for k in ("Booked", "InUse", "Peak", "Refused", "Killed")]
            equal((shown, gatemaps.level(CGROUPS + cgroup)["in_use"]), ([2, 1, 2, 1, 0], 1), cgroup)
        out = run(["iommuctl", "quota"]).stdout
        check("a.service" in out and "vms.slice" in out, out)
        # The process has gone elsewhere: what it attaches is the lease's all the same.
        write("/sys/fs/cgroup/cgroup.procs", str(alice.pid))
        equal(alice.attach_pasid(fd, table, 4), "")
        equal((quota(A)["InUse"], len(kernel_pasids())), (2, 2))
        alice.kill()
        wait_free(nic)
        equal([gatemaps.level(CGROUPS + c)["in_use"] for c in (A, VMS, "/")], [0, 0, 0])


@test("gate")
def S2_3_all_devices_of_a_lease_share_what_it_has():
    devices = [addr(n) for n in ("vfio-user", "vfio-user2")]
    configure(alice=(["vfio-user", "vfio-user2"], {"Pasids": "3"}))
    alice = Agent("alice")
    grant = alice.acquire(devices, {"pasids": 3})
    tables = {a: alice.pasid_table(grant, a) for a in devices}
    first, second = ((grant.fds[a], tables[a]) for a in devices)
    equal([alice.attach_pasid(*first, p) for p in (1, 2)], ["", ""])
    equal([alice.attach_pasid(*second, p) for p in (1, 2)], ["", "EDQUOT"])
    # One that leaves takes its own along.
    alice.remove_devices(grant.path, grant.lifeline, [devices[0]])
    alice.close(first[0])
    wait_free(devices[0])
    equal(gatemaps.tally(grant.id)["in_use"], 1)
    equal([alice.attach_pasid(*second, p) for p in (2, 3, 4)], ["", "", "EDQUOT"])


@test("gate")
def S2_3_a_card_in_the_place_of_a_leased_one_is_nobodys():
    """It has the address of the one that was pulled, the number of its group and that of its node, and the lease goes on."""
    first, second = addr("vfio-user"), addr("vfio-user2")
    configure(alice=(["vfio-user", "vfio-user2"], {"Pasids": "1"}))
    alice, root = Agent("alice"), Agent("root")
    grant = alice.acquire([first, second], {"pasids": 1})
    table = alice.pasid_table(grant, first)
    equal(alice.attach_pasid(grant.fds[first], table, 1), "")
    was = group_of(first), cdev_of(first)
    remover = pull(first)
    alice.close(grant.fds[first])
    equal(remover.wait(LONG), 0)
    wait_until(lambda: first not in states(), "it is gone")
    write("/sys/bus/pci/rescan", "1")
    wait_until(lambda: states().get(first) == "free", "known again")
    give_to(first, "vfio-pci")
    equal((group_of(first), cdev_of(first)), was)
    found = SimpleNamespace(iommufd=root.open("/dev/iommu"), fds={first: root.open(cdev_of(first))})
    theirs = root.pasid_table(found, first)
    equal([root.attach_pasid(found.fds[first], theirs, p) for p in (1, 2, 3)], ["", "", ""])
    equal((gatemaps.tally(grant.id)["in_use"], gatemaps.attached(grant.id)), (0, {}))
    table = alice.pasid_table(grant, second)
    equal([alice.attach_pasid(grant.fds[second], table, p) for p in (1, 2)], ["", "EDQUOT"])
    root.kill()
    give_to(first, "")


@test("gate")
def S2_1_tables_that_a_guest_owns_are_refused():
    configure(alice=(["vfio-user"], {"Pasids": "2"}))
    alice = Agent("alice")
    grant = alice.acquire([addr("vfio-user")], {"pasids": 2})
    devid = alice.bind_id(grant, addr("vfio-user"))
    ioas = alice.ioas_alloc(grant.iommufd)
    equal((alice.nested_table(grant, devid, ioas), alice.viommu(grant, devid, ioas)), ("EDQUOT", "EDQUOT"))
    equal(gatemaps.tally(grant.id)["refused"], 2)


@test("gate")
def S2_1_the_gate_stays_shut_while_the_daemon_is_down():
    alice, grant, fd, table = holder_without_daemon()
    equal([alice.attach_pasid(fd, table, p) for p in (2, 3)], ["", "EDQUOT"])
    check(run([DAEMON, "--unload-gate"]).returncode != 0, "it was unloaded under a lease")
    equal(alice.detach_pasid(fd, 1), "")
    start()
    equal(lease(grant.path)["Enforcement"], "kernel")
    agree(grant, 1, peak=2, refused=1)
    equal([alice.attach_pasid(fd, table, p) for p in (3, 4)], ["", "EDQUOT"])
    # A lease that ends while nobody looks takes its count along.
    stop(signal.SIGKILL)
    alice.kill()
    start()
    wait_free(addr("vfio-user"))
    equal(gatemaps.rules(), set())


@test("gate")
def S2_1_the_gate_is_removed_on_request_only():
    check("running" in run([DAEMON, "--unload-gate"]).stdout, "a daemon depends on it")
    stop()
    try:
        check(os.path.isdir(gatemaps.PINS), "a stop leaves it")
        equal(run([DAEMON, "--unload-gate"]).returncode, 0)
        check(not os.path.isdir(gatemaps.PINS), "it is still there")
        # One that died while it loaded the gate has left a part of it.
        os.mkdir("/sys/fs/bpf/iommud_new")
    finally:
        start()
    equal(bus().get_all(agent.ROOT, agent.MANAGER)["Enforcement"], "kernel")


@test("gate")
def S2_4_who_may_not_attach_has_the_daemon_do_it():
    a, nvme = addr("vfio-user"), addr("nvme")
    configure(alice=(["vfio-user", "nvme"], {"Pasids": "2"}))
    alice = Agent("alice")
    grant = alice.acquire([a, nvme], {"hand-over": "attached", "pasids": 2})
    pt, proof = grant.found[a]["pt"], (grant.path, grant.lifeline)
    check(pt != grant.found[a]["ioas"], "the device's own table is one for PASIDs")
    for pasid in 1, 2:
        alice.attach_pasid_by_daemon(*proof, a, pt, pasid)
    agree(grant, 2)
    with refused("QuotaExceeded"):
        alice.attach_pasid_by_daemon(*proof, a, pt, 3)
    # Nor can it be had behind the daemon's back.
    equal(alice.attach_pasid(grant.fds[a], pt, 3), "EDQUOT")
    alice.detach_pasid_by_daemon(*proof, a, 1)
    agree(grant, 1)
    for device, table, pasid, error in ((a, pt, 0, "InvalidArgument"), (a, grant.found[a]["ioas"], 4, "KernelRefused"),
                                        (a, pt, 1 << 20, "KernelRefused"), ("0000:00:00.0", pt, 4, "NoSuchDevice")):
        with refused(error):
            alice.attach_pasid_by_daemon(*proof, device, table, pasid)
    agree(grant, 1)
    alice.kill()
    wait_free(a, nvme)


@test("gate")
def S2_4_who_has_the_only_descriptor_attaches_himself():
    configure(alice=(["vfio-user"], {"Pasids": "2"}))
    alice, grant, _, table = holder(2)
    with refused("NotSupported"):
        alice.attach_pasid_by_daemon(grant.path, grant.lifeline, addr("vfio-user"), table, 1)


def there_is_the_group_or_nothing(a):
    equal((bus().get_all(agent.ROOT, agent.MANAGER)["Enforcement"], device(a)["Enforcement"]), ("group", "group"))
    configure(alice=(["vfio-user"], {"HandOver": "unbound group"}))
    alice = Agent("alice")
    with refused("NotSupported") as why:
        alice.acquire([a], {"hand-over": "unbound"})
    check("PASIDs" in why.text and "group" in why.text, why.text)
    grant = alice.acquire([a])
    equal((lease(grant.path)["HandOver"], lease(grant.path)["Enforcement"]), ("group", "group"))
    alice.kill()
    wait_free(a)


@test("nolsm")
def S2_1_without_the_gate_there_is_nothing_at_all_if_the_administrator_says_so():
    a = addr("vfio-user")
    configure(alice=(["vfio-user"], {}))
    write(f"{ETC}/iommud.conf", "[Pasids]\nWithoutGate=refuse\n")
    reload()
    alice = Agent("alice")
    for form in "unbound", "attached", "group", "node":
        with refused("NotSupported") as r:
            alice.acquire([a], {"hand-over": form})
        check("WithoutGate=" in r.text, r.text)
    configure(alice=(["vfio-user"], {}))
    alice.acquire([a], {"hand-over": "group"})
    alice.kill()
    wait_free(a)


@test("nolsm")
def S2_1_where_the_kernel_never_asks_bpf_there_is_the_group_or_nothing():
    there_is_the_group_or_nothing(addr("vfio-user"))
    equal(os.path.isdir(gatemaps.PINS), False, "the gate is loaded, and holds nobody")


@test("gate")
def S2_1_without_the_gate_there_is_the_group_or_nothing():
    a = addr("vfio-user")
    stop()
    equal(run([DAEMON, "--unload-gate"]).returncode, 0)
    run(["umount", "/sys/fs/bpf"], check=True)
    try:
        start()
        there_is_the_group_or_nothing(a)
        stop()
    finally:
        run(["mount", "-t", "bpf", "bpf", "/sys/fs/bpf"], check=True)
    start()
    equal(device(a)["Enforcement"], "kernel")


@test("gate")
def S2_2_what_is_attached_beside_vfio_is_counted_and_nobody_is_killed_for_it():
    configure(alice=(["vfio-user"], {"Pasids": "1"}))
    alice, grant, fd, table = holder(1)
    equal([alice.attach_pasid(fd, table, p) for p in (1, 2)], ["", "EDQUOT"])
    before = gatemaps.tally("")
    root = Agent("root")
    iommufd, mock, mock_table = root.mock_device()
    equal([root.mock_pasid(iommufd, mock, p, mock_table) for p in range(1, 6)], [""] * 5)
    now = gatemaps.tally("")
    equal((now["in_use"] - before["in_use"], now["killed"], now["refused"]), (5, before["killed"], before["refused"]))
    equal(root.mock_pasid(iommufd, mock, 1), "")
    equal(gatemaps.tally("")["in_use"] - before["in_use"], 4)
    agree(grant, 1, killed=0)
    # Nor does a module that is loaded meanwhile come to harm.
    equal(run(["modprobe", "mtty"]).returncode, 0)
    run(["modprobe", "-r", "mtty"])
    # The test mode detaches nothing by itself when its descriptor is closed.
    equal([root.mock_pasid(iommufd, mock, p) for p in range(2, 6)], [""] * 4)
    equal(gatemaps.tally("")["in_use"], before["in_use"])


@test("systemd")
def S2_1_the_units_sandbox_lets_the_gate_be_loaded_and_a_stop_leaves_it():
    equal(bus().get_all(agent.ROOT, agent.MANAGER)["Enforcement"], "kernel")
    run(["systemctl", "stop", "iommud"], check=True)
    check(os.path.isdir(gatemaps.PINS), "a stop leaves it")
    run(["systemctl", "start", "iommud"], check=True)
    equal(bus().get_all(agent.ROOT, agent.MANAGER)["Enforcement"], "kernel")


PINS_BEFORE = "/sys/fs/bpf/iommud-1"


@test("gate")
def S2_1_a_program_of_32_bits_is_refused_just_the_same():
    configure(alice=(["vfio-user"], {"Pasids": "2"}))
    alice, grant, fd, table = holder(2)
    equal([alice.attach_pasid_32(fd, table, p) for p in (1, 2, 3)], ["", "", "EDQUOT"])
    agree(grant, 2, refused=1, killed=0)
    # It replaces what is there, and makes room for one more.
    equal(alice.attach_pasid_32(fd, table, 2), "")
    equal(alice.detach_pasid(fd, 1), "")
    equal([alice.attach_pasid_32(fd, table, p) for p in (4, 5)], ["", "EDQUOT"])
    agree(grant, 2, refused=2, killed=0)


@test("gate")
def S2_1_pasids_come_and_go_while_the_daemon_is_killed():
    configure(alice=(["vfio-user"], {"Pasids": "4"}))
    alice, grant, fd, table = holder(4)
    busy = tempfile.NamedTemporaryFile(dir="/tmp")
    os.chmod(busy.name, 0o644)
    alice.start("pasid_rounds_while", fd, table, (1, 2, 3, 4), busy.name)
    for _ in range(3):
        stop(signal.SIGKILL)
        start()
        equal(lease(grant.path)["Enforcement"], "kernel")
    busy.close()
    errors, rounds = alice.result()
    check(rounds > 0 and not errors, f"{rounds} rounds had the errors {errors}")
    agree(grant, 0, peak=4, refused=0, killed=0)
    equal([alice.attach_pasid(fd, table, p) for p in (1, 2, 3, 4, 5)], [""] * 4 + ["EDQUOT"])
    agree(grant, 4, refused=1)
    equal((quota("/")["Booked"], gatemaps.level(CGROUPS)["in_use"]), (4, quota("/")["InUse"]))


@test("gate")
def S2_1_what_is_attached_stays_and_nothing_new_comes_when_there_is_less():
    configure(alice=(["vfio-user"], {}))
    with cgroups(VMS, A):
        limit(VMS, 3)
        alice = client(A)
        grant = alice.acquire([addr("vfio-user")], {"pasids": 3})
        fd, table = grant.fds[addr("vfio-user")], alice.pasid_table(grant, addr("vfio-user"))
        equal([alice.attach_pasid(fd, table, p) for p in (1, 2)], ["", ""])
        # What a lease has booked it keeps.
        limit(VMS, 1)
        equal([alice.attach_pasid(fd, table, p) for p in (3, 4)], ["", "EDQUOT"])
        agree(grant, 3, refused=1, killed=0)
        equal(alice.detach_pasid(fd, 3), "")
        # A lease that ends may have none; while its descriptor is open, what is attached is.
        alice.release(grant.path, grant.lifeline)
        equal(alice.attach_pasid(fd, table, 3), "EDQUOT")
        agree(grant, 2, refused=2, killed=0)
        equal([alice.attach_pasid(fd, table, 2), alice.detach_pasid(fd, 2), alice.attach_pasid(fd, table, 2)], ["", "", "EDQUOT"])
        agree(grant, 1, refused=3, killed=0)
        alice.close(fd)
        wait_free(addr("vfio-user"))
        equal(len(kernel_pasids()), 0)


@test("gate")
def S2_1_nobody_else_is_killed_while_somebody_lies():
    configure(alice=(["vfio-user"], {}))
    alice, grant, fd, table = holder(0)
    root = Agent("root")
    iommufd, mock, mock_table = root.mock_device()
    lying = tempfile.NamedTemporaryFile(dir="/tmp")
    os.chmod(lying.name, 0o644)
    alice.start("lie_while", fd, table, 5, lying.name)
    for _ in range(4):
        equal([run(["modprobe", *undo, "mtty"]).returncode for undo in ([], ["-r"])], [0, 0])
        equal([root.mock_pasid(iommufd, mock, 5, t) for t in (mock_table, None)], ["", ""])
    wait_until(lambda: gatemaps.tally(grant.id)["killed"] > 0, "a liar is caught")
    lying.close()
    killed = alice.result()
    equal((gatemaps.tally(grant.id)["killed"], gatemaps.tally("")["killed"]), (killed, 0))
    agree(grant, 0)
    root.kill()


@test("gate")
def S2_1_the_gate_of_an_earlier_version_stays_as_long_as_its_leases():
    configure(alice=(["vfio-user", "vfio-user2"], {"Pasids": "2"}))
    alice, grant, fd, table = holder(1)
    equal(alice.attach_pasid(fd, table, 1), "")
    stop()
    # As if this one were of another version: the next start does not know its pins.
    os.rename(gatemaps.PINS, PINS_BEFORE)
    start()
    equal((os.path.isdir(PINS_BEFORE), os.path.isdir(gatemaps.PINS)), (True, True))
    # The new one has not counted what the lease has, and does not claim to; the old one still holds it.
    equal((lease(grant.path)["Enforcement"], bus().get_all(agent.ROOT, agent.MANAGER)["Enforcement"]), ("none", "kernel"))
    equal(alice.attach_pasid(fd, table, 2), "EDQUOT")
    # What is leased now is the new one's.
    bob, second, fd2, table2 = holder(2, name="vfio-user2")
    equal(lease(second.path)["Enforcement"], "kernel")
    equal([bob.attach_pasid(fd2, table2, p) for p in (1, 2, 3)], ["", "", "EDQUOT"])
    equal((gatemaps.tally(second.id)["in_use"], gatemaps.rules()), (2, {second.id}))
    check(run([DAEMON, "--unload-gate"]).returncode != 0, "leases depend on both")
    # With its last lease the old one goes, and holds nobody any more.
    alice.kill()
    wait_free(addr("vfio-user"))
    check(not os.path.isdir(PINS_BEFORE), "the old one is still there")
    alice, grant, fd, table = holder(2)
    equal([alice.attach_pasid(fd, table, p) for p in (1, 2, 3)], ["", "", "EDQUOT"])
    agree(grant, 2, refused=1)
