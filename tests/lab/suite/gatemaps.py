"""The gate's maps, by bpftool: what the kernel's side of it says."""
import ctypes
import json
import os
import struct
import subprocess

PINS = "/sys/fs/bpf/iommud-2"


def dump(name):
    out = subprocess.run(["bpftool", "-j", "map", "dump", "pinned", f"{PINS}/map_{name}"], check=True, capture_output=True, text=True)
    return [e["formatted"] for e in json.loads(out.stdout)]


def _id(value):
    text = value["text"]
    return text if isinstance(text, str) else bytes(int(c, 0) if isinstance(c, str) and c.startswith("0x") else
                                                    ord(c) if isinstance(c, str) and c else c or 0 for c in text).decode().rstrip("\0")


def rules():
    return {_id(e["key"]) for e in dump("rules")}


def tally(lease_id):
    (found,) = (e["value"] for e in dump("lease_tallies") if _id(e["key"]) == lease_id)
    return found


def level(cgroup):
    """The tally of a cgroup, by its directory; {} if the gate has none."""
    number = os.stat(cgroup).st_ino
    return next((e["value"] for e in dump("level_tallies") if e["key"] == number), {})


def limit(cgroup):
    """What the gate was told of a cgroup, by its directory; {} if nothing."""
    number = os.stat(cgroup).st_ino
    return next((e["value"] for e in dump("limits") if e["key"] == number), {})


def attached(lease_id=None):
    """{(group, pasid): lease}"""
    found = {(e["key"]["group"], e["key"]["pasid"]): _id(e["value"]) for e in dump("attached")}
    return {k: v for k, v in found.items() if lease_id in (None, v)}


# --- quickly, without bpftool ---

OBJ_GET, GET_NEXT_KEY, SYS_BPF = 7, 4, 321
KEY = {"rules": 32, "lease_tallies": 32, "cdevs": 4, "groups": 4, "attached": 8}


def _bpf(command, attributes):
    value = ctypes.CDLL(None, use_errno=True).syscall(SYS_BPF, command, ctypes.create_string_buffer(attributes, 64), 64)
    return value, ctypes.get_errno()


def keys(name):
    """Of a map, as bytes."""
    path = ctypes.create_string_buffer(f"{PINS}/map_{name}".encode())
    fd, error = _bpf(OBJ_GET, struct.pack("Q", ctypes.addressof(path)))
    if fd < 0:
        raise OSError(error, os.strerror(error), name)
    found, last = [], None
    try:
        while True:
            key = ctypes.create_string_buffer(last, KEY[name]) if last else None
            following = ctypes.create_string_buffer(KEY[name])
            value, error = _bpf(GET_NEXT_KEY, struct.pack("IxxxxQQ", fd, ctypes.addressof(key) if key else 0, ctypes.addressof(following)))
            if value < 0:
                return found
            last = following.raw
            found.append(last)
    finally:
        os.close(fd)
