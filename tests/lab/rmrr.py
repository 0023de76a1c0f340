#!/usr/bin/python3
"""rmrr.py WHERE: prints an initial RAM disk whose DMAR table takes the place of QEMU's (CONFIG_ACPI_TABLE_UPGRADE). It says the
same and one thing more: that the device at WHERE (see the file devices) does DMA to memory that the firmware reserves, as the
tables of some machines do for devices that their management controllers use. QEMU's own tables never say so."""
import struct
import sys

RESERVED = 0xFFFC0000, 0xFFFC3FFF       # reserved in the memory map too, or the kernel complains


def scope(kind, bus, path, enumeration=0):
    return struct.pack("<BBHBB", kind, 6 + 2 * len(path), 0, enumeration, bus) + bytes(n for step in path for n in step)


def structure(kind, body):
    return struct.pack("<HH", kind, 4 + len(body)) + body


def dmar(path):
    body = struct.pack("<BB10x", 47, 1)                                                                 # 48 bits; remaps interrupts
    body += structure(0, struct.pack("<BBHQ", 1, 0, 0, 0xFED90000) + scope(3, 0xFF, [(0, 0)]))          # one unit for all devices
    body += structure(1, struct.pack("<HHQQ", 0, 0, *RESERVED) + scope(1, 0, path))
    body += structure(2, struct.pack("<BBH", 1, 0, 0))                                                  # ATS behind all ports
    head = struct.pack("<4sIBB6s8sI4sI", b"DMAR", 36 + len(body), 1, 0, b"BOCHS ", b"BXPC    ", 2, b"BXPC", 1)
    table = bytearray(head + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)


def entry(name, data, mode=0o100644):
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0]
    out = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
    out += bytes(-len(out) % 4) + data
    return out + bytes(-len(out) % 4)


def main(where):
    path = [tuple(int(n, 16) for n in step.split(".")) for step in where.split("/")]
    sys.stdout.buffer.write(entry("kernel/firmware/acpi/DMAR.aml", dmar(path)) + entry("TRAILER!!!", b"", 0))


main(*sys.argv[1:])
