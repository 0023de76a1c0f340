"""Runs tests. On the host: runner.py --plan FILTER prints "MACHINE TEST" for each that there is to be run. In the guest: runner.py
MACHINE FILTER runs them and tells by a line each: "ok NAME", or "FAILED NAME: why", what the daemon said meanwhile, and a blank."""
import glob
import importlib
import os
import re
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import lab                      # noqa: E402
from machines import MACHINES   # noqa: E402

# Said by a sanitizer, or by the C library as it dies.
FATAL = re.compile(r"ERROR: \w+Sanitizer|runtime error:|free\(\): |malloc\(\): |Assertion")
# The order: what everything else rests on comes first, what takes long last.
FILES = ["qemu", "refusals", "endings", "lifeline", "old_fd", "handover", "bus", "hostuse", "systemd", "rounds"]


def load():
    found = {os.path.basename(p)[5:-3] for p in glob.glob(f"{HERE}/test_*.py")}
    for name in sorted(found, key=lambda n: (FILES.index(n) if n in FILES else len(FILES), n)):
        importlib.import_module("test_" + name)


def chosen(machine, pattern):
    for file, name, machines, function in lab.TESTS:
        full = f"{machine}/{file}/{name}"
        if machine in machines and re.search(pattern, full):
            yield full, function


class Log:
    """What the daemon has said since the last look."""

    def __init__(self):
        self.offset = 0

    def since(self):
        if lab.BOOT != "fast":
            return lab.run(["journalctl", "-u", "iommud", "-o", "cat", "-n", "60", "--no-pager"]).stdout
        with open(lab.LOG, "rb") as f:
            f.seek(self.offset)
            data = f.read()
        self.offset += len(data)
        return data.decode(errors="replace")


def why(e):
    if isinstance(e.__context__, (lab.Failure, lab.BusError)) and not e.__suppress_context__:
        return why(e.__context__) + "; and then: " + why_alone(e)
    return why_alone(e)


def why_alone(e):
    if isinstance(e, (lab.Failure, lab.BusError)):
        frames = [f for f in traceback.extract_tb(e.__traceback__) if "/test_" in f.filename] or traceback.extract_tb(e.__traceback__)
        return f"{e} ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})"
    return "".join(traceback.format_exception(e)).rstrip().replace("\n", "\n    ")


def show(said):
    """The end of it, or a sanitizer's report from its beginning."""
    fatal = FATAL.search(said)
    lines = said[fatal.start():].splitlines()[:50] if fatal else said.splitlines()[-60:]
    print("".join(f"    | {line}\n" for line in lines), flush=True)


def show_stuck():
    """Who waits in the kernel and does not hear signals, and where."""
    for stat in glob.glob("/proc/[0-9]*/stat"):
        try:
            pid, rest = lab.read(stat).split(" (", 1)
            name, state = rest.rsplit(") ", 1)
            if state[0] == "D":
                print(f"    | {name} ({pid}) waits in the kernel: " + " < ".join(
                    line.split()[1] for line in lab.read(f"/proc/{pid}/stack").splitlines()), flush=True)
        except OSError:
            continue        # it has ended meanwhile


def run_one(name, function, baseline, log):
    started = time.monotonic()
    lab.configure()
    log.since()
    try:
        function()
        lab.tidy(baseline)
        failure = None
    except Exception as e:
        failure = why(e)
    said = log.since()
    fatal = FATAL.search(said)
    if fatal:
        failure = f"{failure or ''} the daemon said: {fatal[0]}"
    if lab.process and lab.process.poll() is not None:
        failure = f"{failure or ''} the daemon ended with {lab.process.returncode}"
    took = time.monotonic() - started
    if not failure:
        print(f"ok {name} ({took:.1f} s)", flush=True)
        return
    print(f"FAILED {name}: {failure}", flush=True)
    show(said)
    show_stuck()
    try:
        lab.repair(baseline)
    except Exception as e:
        print(f"# not repaired: {why(e)}", flush=True)      # the next ones will tell


def main(machine, pattern):
    load()
    tests = list(chosen(machine, pattern))
    started = time.monotonic()
    baseline = lab.begin()
    print(f"# {machine}: daemon up after {time.monotonic() - started:.1f} s", flush=True)
    log = Log()
    for name, function in tests:
        run_one(name, function, baseline, log)
    if lab.BOOT == "fast" and tests:
        status = lab.stop()     # a sanitizer tells of leaks at the end
        said = log.since()
        fatal = FATAL.search(said)
        if fatal or status != 0:
            print(f"FAILED {machine}/end: the daemon ended with {status}", flush=True)
            show(said)


if __name__ == "__main__":
    if sys.argv[1] == "--plan":
        load()
        for m in MACHINES:
            for n, _ in chosen(m, sys.argv[2]):
                print(m, n)
    else:
        main(*sys.argv[1:])
