"""SetVirtualFunctions: how many virtual functions a device has, whom they go to, and what stands against removing them."""
import contextlib
import os
import signal

from agent import Agent
from lab import (DENIED, PCI, addr, cdev_of, check, configure, device, device_path, driver_of, end_clients, equal, give_to, group_path,
                 lease, objects, override_of, popen, read, refused, restart, run, settle, signals, start, state, states, stop, test,
                 wait_free, wait_until, write)
import agent

CARDS = {"igb": (7, "0x10ca"), "nvme-sriov": (4, "0x0010")}
ENABLE = "/sys/module/vfio_pci/parameters/enable_sriov"


def functions_of(address):
    found = []
    for f in sorted(f for f in os.listdir(f"{PCI}{address}") if f.startswith("virtfn")):
        with contextlib.suppress(OSError):      # it goes just now
            found.append(os.path.basename(os.readlink(f"{PCI}{address}/{f}")))
    return found


def known_functions(address):
    """Those that the daemon shows."""
    devices = (i[agent.DEVICE] for i in objects().values() if agent.DEVICE in i)
    return sorted(d["Address"] for d in devices if d["PhysicalFunction"] == address)


def vanished(*functions):
    return not set(functions) & set(states())


@contextlib.contextmanager
def virtual_functions(name, n=2):
    """Made through the daemon. Afterwards there are none, whatever the test did."""
    address, root = addr(name), Agent("root")
    try:
        root.set_virtual_functions(address, n)
        yield address, functions_of(address)
    finally:
        made = functions_of(address)
        end_clients()
        if made:
            wait_until(lambda: all(states().get(f, "free") == "free" for f in made), "nobody has any")
            write(f"{PCI}{address}/sriov_numvfs", "0")
        wait_until(lambda: vanished(*made), "the daemon knows that they are gone")
        write(f"{PCI}{address}/sriov_drivers_autoprobe", "1")
        Agent("root").explain([address])        # looks anew at what the host uses


def make(address, n):
    """Asks until it is so: a worker of an earlier daemon may still be at work on the device."""
    wait_until(lambda: run(["iommuctl", "vfs", address, str(n)]).returncode == 0 and len(functions_of(address)) == n,
               f"{address} has {n} functions")


@test("intel", "amd")
def they_are_made_without_drivers_and_removed():
    for name, (most, device_id) in CARDS.items():
        pf, driver = addr(name), driver_of(addr(name))
        equal((device(pf)["VirtualFunctions"], device(pf)["VirtualFunctionsMax"]), (0, most), name)
        with virtual_functions(name) as (_, made):
            root = Agent("root")
            # The answer comes when everything is on the bus; nothing is waited for here.
            known = objects()
            equal(len(made), 2)
            equal(device(pf)["VirtualFunctions"], 2)
            for f in made:
                equal((device(f)["PhysicalFunction"], device(f)["Driver"], device(f)["State"]), (pf, "", "free"))
                equal((device(f)["VirtualFunctions"], device(f)["VirtualFunctionsMax"]), (0, 0))
                equal((device(f)["DeviceId"], device(f)["Group"]), (int(device_id, 16), group_path(f)))
                equal(known[group_path(f)][agent.GROUP]["Devices"], [f"{agent.ROOT}/device/" + f.replace(":", "_").replace(".", "_")])
            # Neither udev nor a module that comes later gives them a driver.
            settle()
            run(["modprobe", "igbvf"])
            equal([driver_of(f) for f in made], ["", ""], name)
            root.set_virtual_functions(pf, 2)
            equal(functions_of(pf), made)
            with refused("DeviceBusy") as why:
                root.set_virtual_functions(pf, 3)
            check("by way of 0" in why.text, why.text)
            root.set_virtual_functions(pf, 0)
            check(vanished(*made), states())
            equal((functions_of(pf), device(pf)["VirtualFunctions"], driver_of(pf)), ([], 0, driver))
            root.set_virtual_functions(pf, most)
            equal(len(functions_of(pf)), most)
            root.set_virtual_functions(pf, 0)


@test("intel")
def what_cannot_be_is_refused():
    igb, root, alice = addr("igb"), Agent("root"), Agent("alice")
    with refused("InvalidArgument") as why:
        root.set_virtual_functions(igb, 8)
    check("7" in why.text, why.text)
    with refused("NotSupported"):
        root.set_virtual_functions(addr("nvme"), 1)
    with refused("UnknownOption"):
        root.set_virtual_functions(igb, 1, {"restore": True})
    for n in 0, 1:
        with refused(*DENIED):
            alice.set_virtual_functions(igb, n)
    with virtual_functions("igb") as (_, made):
        with refused("NotSupported") as why:
            Agent("root").set_virtual_functions(made[0], 1)
        check(igb in why.text, why.text)
        with refused(*DENIED):
            alice = Agent("alice")
            alice.set_virtual_functions(igb, 0)
        equal(functions_of(igb), made)


@test("intel")
def a_device_without_driver_makes_none():
    igb = addr("igb")
    give_to(igb, "")
    try:
        with refused("DriverMismatch"):
            Agent("root").set_virtual_functions(igb, 1)
    finally:
        give_to(igb, "igb")


@test("intel", "amd")
def a_leased_function_stays():
    for name in CARDS:
        with virtual_functions(name) as (pf, made):
            configure(alice=(made, {}))
            alice, root = Agent("alice"), Agent("root")
            grant = alice.acquire([made[1]])
            alice.use(grant, made[1])
            with refused("DeviceBusy") as why:
                root.set_virtual_functions(pf, 0)
            check(made[1] in why.text and grant.id in why.text, why.text)
            equal((functions_of(pf), state(pf), state(made[1])), (made, "free", "leased"))
            # Nor does the physical function leave its driver.
            with refused("DeviceBusy", "DeviceInUse"):
                root.acquire([pf], {"force-in-use": True})
            alice.kill()
            wait_free(made[1])
            equal((driver_of(made[1]), override_of(made[1])), ("", ""))
            root.set_virtual_functions(pf, 0)
            check(vanished(*made), states())


@test("intel", "amd")
def a_function_on_vfio_is_taken_off_unless_somebody_has_it():
    for name in CARDS:
        with virtual_functions(name) as (pf, made):
            root, holder = Agent("root"), Agent("root")
            for f in made:
                give_to(f, "vfio-pci")
            fd = holder.open(cdev_of(made[1]))
            with refused("DeviceBusy") as why:
                root.set_virtual_functions(pf, 0)
            check(made[1] in why.text and f"pid {holder.pid} " in why.text, why.text)
            equal([driver_of(f) for f in made], ["vfio-pci", "vfio-pci"], "nothing has changed:")
            holder.close(fd)
            root.set_virtual_functions(pf, 0)
            check(vanished(*made), states())
            equal(device(pf)["VirtualFunctions"], 0)


@test("intel")
def a_function_that_the_host_uses_stays():
    with virtual_functions("igb") as (igb, made):
        root = Agent("root")
        give_to(made[0], "igbvf")
        settle()                # interfaces are renamed
        interface = os.listdir(f"{PCI}{made[0]}/net")[0]
        # Its own comes up only with that of the physical function, which has no address, and so is not in use.
        for name in os.listdir(f"{PCI}{igb}/net")[0], interface:
            equal(run(["ip", "link", "set", name, "up"]).stdout, "")
        run(["ip", "address", "add", "192.0.2.1/24", "dev", interface], check=True)
        with refused("DeviceInUse") as why:
            root.set_virtual_functions(igb, 0)
        check(made[0] in why.text and interface in why.text, why.text)
        root.set_virtual_functions(igb, 0, {"force-in-use": True})
        check(vanished(*made), states())


@test("intel")
def iommuctl_makes_them():
    igb = addr("igb")
    with virtual_functions("igb", 0):
        p = run(["iommuctl", "vfs", igb, "3"])
        equal((p.returncode, p.stdout.split()), (0, functions_of(igb)))
        equal(len(functions_of(igb)), 3)
        p = run(["iommuctl", "vfs", igb, "2"])
        check(p.returncode == 1 and "by way of 0" in p.stdout, p.stdout)
        p = run(["iommuctl", "vfs", igb, "0"])
        equal((p.returncode, p.stdout), (0, ""))


@test("intel")
def a_crash_in_between_leaves_what_the_kernel_says():
    for name in CARDS:
        with virtual_functions(name, 0) as (pf, _):
            for n in 2, 0:
                popen(["iommuctl", "vfs", pf, str(n)])
                wait_until(lambda: state(pf) == "changing" or len(functions_of(pf)) == n, "it has begun")
                stop(signal.SIGKILL)
                start()
                # The worker of the earlier daemon ends what it is at.
                wait_until(lambda: device(pf)["VirtualFunctions"] == len(functions_of(pf)), "the number is known")
                wait_until(lambda: known_functions(pf) == sorted(functions_of(pf)), "the functions are known")
                equal(state(pf), "free")
                make(pf, 0)
                if n == 2:
                    make(pf, 2)


# --- of a physical function on VFIO ---

@contextlib.contextmanager
def vfio_makes_functions():
    run(["modprobe", "vfio-pci"], check=True)
    write(ENABLE, "Y")
    try:
        yield
    finally:
        write(ENABLE, "N")


@contextlib.contextmanager
def leased_with_functions(name, hand_over="unbound"):
    """Alice has the physical function, and an administrator gives it two virtual ones: alice, her lease and them."""
    pf = addr(name)
    configure(alice=([name], {}))
    with vfio_makes_functions():
        alice = Agent("alice")
        grant = alice.acquire([pf], {"hand-over": hand_over})
        try:
            Agent("root").set_virtual_functions(pf, 2)
            yield alice, grant, functions_of(pf)
        finally:
            end_clients()
            wait_free(pf)
            write(f"{PCI}{pf}/sriov_drivers_autoprobe", "1")


@test("intel")
def vfio_has_to_be_told_that_it_may_make_functions():
    igb = addr("igb")
    configure(alice=(["igb"], {}))
    alice = Agent("alice")
    alice.acquire([igb])
    with refused("DriverMismatch") as why:
        Agent("root").set_virtual_functions(igb, 2)
    check("enable_sriov" in why.text, why.text)
    equal((functions_of(igb), state(igb)), ([], "leased"))
    equal(read(f"{PCI}{igb}/sriov_drivers_autoprobe"), "1", "nothing was made, so nothing is changed: autoprobe")


@test("intel")
def S0_3_none_are_made_beside_a_lease_with_its_reset_set():
    igb = addr("igb")
    configure(alice=(["igb"], {}))
    with vfio_makes_functions():
        alice = Agent("alice")
        grant = alice.acquire([igb], {"reset-set": True})
        equal(alice.bind(grant.fds[igb], grant.iommufd), "")
        with refused("DeviceBusy") as why:
            Agent("root").set_virtual_functions(igb, 2)
        check(grant.id in why.text and "hot-reset" in why.text, why.text)
        equal((functions_of(igb), alice.hot_reset(grant.fds[igb])), ([], ""))


@test("intel", "amd")
def functions_of_a_leased_device_are_its_owners():
    for name in CARDS:
        with leased_with_functions(name) as (alice, grant, made):
            pf, bob = addr(name), Agent("bob")
            equal((len(made), device(pf)["VirtualFunctions"], state(pf)), (2, 2, "leased"))
            everybody = made + [pf]
            configure(alice=(everybody, {}))
            with refused(*DENIED):
                bob.acquire([made[0]], {"hand-over": "attached"})
            with refused("DeviceBusy") as why:
                Agent("root").acquire([made[0]], {"hand-over": "attached"})
            check(pf in why.text and grant.id in why.text, why.text)
            # Alice's is bound with the token of the physical function: otherwise the kernel would refuse it.
            mine = alice.acquire([made[0]], {"hand-over": "attached"})
            vendor, _ = alice.ids(mine.fds[made[0]])
            check(vendor in (0x8086, 0x1B36, 0xFFFF), hex(vendor))
            equal(alice.ioas_map(mine.iommufd, mine.found[made[0]]["ioas"]), "")
            # A reservation says otherwise.
            configure(alice=([made[0], pf], {}), bob=([made[1]], {}))
            theirs = bob.acquire([made[1]], {"hand-over": "attached"})
            equal(bob.ioas_map(theirs.iommufd, theirs.found[made[1]]["ioas"]), "")
            with refused("DeviceBusy") as why:
                Agent("root").set_virtual_functions(pf, 0)
            check(made[0] in why.text or made[1] in why.text, why.text)


@test("intel")
def a_device_and_its_function_are_had_one_after_the_other():
    with virtual_functions("igb") as (pf, made):
        with refused("InvalidArgument") as why:
            Agent("root").acquire([pf, made[0]])
        check(pf in why.text and made[0] in why.text, why.text)
    with leased_with_functions("igb") as (alice, grant, made):
        configure(alice=([pf, *made], {}))
        alice.add_devices(grant.path, grant.lifeline, [made[0]])
        equal((state(made[0]), device(made[0])["Lease"]), ("leased", grant.path))


@test("intel")
def a_client_that_binds_itself_needs_the_token():
    with leased_with_functions("igb") as (alice, grant, made):
        configure(alice=(made, {}))
        possible, findings = alice.explain([made[0]])
        check(possible and "vf-token" in [code for code, *_ in findings], findings)
        mine = alice.acquire([made[0]])
        token = grant.found[addr("igb")]["vf-token"]
        equal(mine.found[made[0]]["vf-token"], token)
        equal(alice.bind(mine.fds[made[0]], mine.iommufd), "EACCES")
        equal(alice.bind(mine.fds[made[0]], mine.iommufd, "00000000-0000-4000-8000-000000000000"), "EACCES")
        equal(alice.bind(mine.fds[made[0]], mine.iommufd, token), "")
        alice.close(*mine.fds.values())
        wait_free(made[0])
        # They go while the physical function stays leased.
        Agent("root").set_virtual_functions(addr("igb"), 0)
        check(vanished(*made), states())
        equal((state(addr("igb")), lease(grant.path)["State"]), ("leased", "active"))


@test("intel")
def the_token_outlives_a_restart():
    with leased_with_functions("igb", "attached") as (alice, grant, made):
        restart(signal.SIGKILL)
        configure(alice=(made, {}))
        mine = alice.acquire([made[1]], {"hand-over": "attached"})
        equal(mine.found[made[1]]["vf-token"], grant.found[addr("igb")]["vf-token"])


@test("intel")
def a_device_waits_for_its_functions_to_come_back():
    igb = addr("igb")
    for leave in "the lease ends", "the device leaves it":
        with leased_with_functions("igb") as (alice, grant, made):
            configure(alice=(made, {}))
            other = Agent("alice")
            mine = other.acquire([made[0]], {"hand-over": "attached"})
            if leave == "the lease ends":
                alice.kill()
            else:
                alice.close(grant.fds[igb])
            # The kernel would wait for it with all hotplug locked out; so the daemon does.
            wait_until(lambda: f"pid {other.pid} " in device(igb)["StateReason"], lambda: f"{leave}, its holder is named: {device(igb)}")
            equal((state(igb), functions_of(igb), state(made[0])), ("releasing", made, "leased"))
            # It is tried again every few seconds, and he stays named.
            with signals(f"type='signal',member='PropertiesChanged',path='{device_path(igb)}'") as heard:
                for _ in range(4):
                    next(line for line in heard if "Member=PropertiesChanged" in line)
                    check(f"pid {other.pid} " in device(igb)["StateReason"], device(igb)["StateReason"])
            equal(other.ioas_map(mine.iommufd, mine.found[made[0]]["ioas"]), "")
            other.kill()
            wait_free(igb)
            equal((driver_of(igb), functions_of(igb)), ("igb", []))
            wait_until(lambda: vanished(*made), "the functions are gone")


@test("intel")
def a_device_waits_for_a_function_that_is_stuck():
    igb = addr("igb")
    with leased_with_functions("igb") as (alice, grant, made):
        configure(alice=(made, {}))
        other = Agent("alice")
        mine = other.acquire([made[0]])
        # In no process, and the new daemon has not seen whether it was closed: its unbind of the function waits for the descriptor.
        socket = other.queue(mine.fds[made[0]])
        restart(signal.SIGKILL)
        other.release(mine.path, mine.lifeline)
        wait_until(lambda: "trying to unbind" in device(made[0])["StateReason"], lambda: f"it is stuck: {device(made[0])}")
        alice.kill()
        # The function has no driver in sysfs now. The kernel would wait for it with all hotplug locked out; so the daemon does.
        wait_until(lambda: "virtual functions" in device(igb)["StateReason"], lambda: f"it is waited for: {device(igb)}")
        equal((state(igb), driver_of(igb), functions_of(igb)), ("releasing", "vfio-pci", made))
        other.close(*socket)
        wait_free(igb)
        equal((driver_of(igb), functions_of(igb)), ("igb", []))
