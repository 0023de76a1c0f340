#!/usr/bin/python3
"""points.py KERNEL.H JOB.H OUT.C OUT.ARGS OUT.LIST: the points at which the lab kills, each with its name.

A point lies before each operation of the kernel table (daemon/kernel/kernel.h) that changes something, and before each function of BEYOND, by
which the daemon changes what outlives it. Whoever adds an operation to the table adds a point: suite/test_crash.py fails as long as it kills
nobody there.
  OUT.C     functions that stand before these and have the point in them
  OUT.ARGS  arguments that make the linker take them
  OUT.LIST  for the tests: "point NAME" and "job NAME", the kinds of work that a worker does"""
import re
import sys

# They only look, although they can sleep; or only take up what is there.
LOOKING = {"find_holders", "read_pasid_bits", "open_process", "gate_open", "gate_read_lease", "gate_read_level", "gate_list_leases"}
# For the command "iommud --unload-gate", not the daemon; its steps are points by themselves.
ELSEWHERE = {"gate_unload"}

# Of the daemon and of libraries: the point's name, and the function. Whoever replaces a file removes one of a name with a dot before, if there
# is one: that is no step.
STEP = {"file-remove": "path[0] != '.'"}
BEYOND = {
    "file-replace": "int renameat(int from_dir, const char *from, int to_dir, const char *to)",
    "file-remove": "int unlinkat(int dir, const char *path, int flags)",
    "lifeline-make": "int mkfifoat(int dir, const char *path, mode_t mode)",
    "worker-start": "pid_t fork(void)",
    "worker-descriptors": "ssize_t sendmsg(int socket, const struct msghdr *message, int flags)",
    "worker-end": "_Noreturn void _exit(int status)",
    "gate-put": "int bpf_map_update_elem(int map, const void *key, const void *value, __u64 flags)",
    "gate-remove": "int bpf_map_delete_elem(int map, const void *key)",
    "gate-pin-map": "int bpf_map__pin(struct bpf_map *map, const char *path)",
    "gate-pin-link": "int bpf_link__pin(struct bpf_link *link, const char *path)",
    "gate-commit": "int rename(const char *from, const char *to)",
    "fdstore-put": "int fdstore_put(FdStore *s, const char *name, int fd)",
    "fdstore-remove": "void fdstore_remove(FdStore *s, const char *name)",
    "answer": "int sd_bus_send(sd_bus *bus, sd_bus_message *m, uint64_t *cookie)",
}

HEAD = """/* Made by points.py. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "crash.h"
#include "system/fdstore.h"

static const KernelOps *real;

"""


def arguments(parameters):
    """The names of "int a, char *b, char c[4]"."""
    return ", ".join(re.search(r"(\w+)(\[\w*\])*$", p.strip())[1] for p in parameters.split(",") if p.strip() != "void")


def call(kind, function, parameters):
    return ("" if kind.endswith("void") else "return ") + f"{function}({arguments(parameters)});"


def operations(kernel_h):
    """(type, name, parameters) of those that change something."""
    table = kernel_h.partition("/* --- changing")[2].partition("} KernelOps;")[0]
    table = re.sub(r"/\*.*?\*/", "", table, flags=re.S)
    return [m for m in re.findall(r"(\w+) \(\*(\w+)\)\((.*?)\);", table, re.S) if m[1] not in LOOKING | ELSEWHERE]


def make_c(ops, jobs):
    out = HEAD
    for kind, name, parameters in ops:
        out += f'static {kind} crash_{name}({parameters}) {{\n        crash_point("{name}");\n' \
               f"        {call(kind, 'real->' + name, parameters)}\n}}\n\n"
    out += "void crash_stand_before(const KernelOps **ops) {\n        static KernelOps ours;\n\n        real = *ops;\n        ours = *real;\n"
    out += "".join(f"        ours.{name} = crash_{name};\n" for _, name, _ in ops) + "        *ops = &ours;\n}\n\n"
    for point, prototype in BEYOND.items():
        kind, name, parameters = re.fullmatch(r"(.*?)(\w+)\((.*)\)", prototype).groups()
        for prefix in "__real_", "__wrap_":
            out += f"{kind}{prefix}{name}({parameters});\n"
        condition = f"if ({STEP[point]}) " if point in STEP else ""
        out += f'{kind}__wrap_{name}({parameters}) {{\n        {condition}crash_point("{point}");\n' \
               f"        {call(kind.strip(), '__real_' + name, parameters)}\n}}\n\n"
    return out + "const char *const crash_jobs[] = {\n" + "".join(f'        [JOB_{j}] = "{word(j)}",\n' for j in jobs) + "};\n"


def word(job):
    return job.lower().replace("_", "-")


def main(kernel_h, job_h, out_c, out_args, out_list):
    with open(kernel_h, encoding="utf-8") as f:
        ops = operations(f.read())
    with open(job_h, encoding="utf-8") as f:
        jobs = re.findall(r"^ +JOB_([A-Z_]+),", f.read(), re.M)
    wrapped = [re.search(r"(\w+)\(", p)[1] for p in BEYOND.values()] + ["kernel_linux_new", "sandbox_enter", "work_run"]
    with open(out_c, "w", encoding="utf-8") as f:
        f.write(make_c(ops, jobs))
    with open(out_args, "w", encoding="utf-8") as f:
        f.writelines(f"-Wl,--wrap={w}\n" for w in wrapped)
    with open(out_list, "w", encoding="utf-8") as f:
        f.writelines(f"point {name}\n" for name in [name for _, name, _ in ops] + list(BEYOND))
        f.writelines(f"job {word(j)}\n" for j in jobs)


if __name__ == "__main__":
    main(*sys.argv[1:])
