#!/usr/bin/python3
"""A PCIe endpoint with ATS, PRI and PASID, served to QEMU's vfio-user-pci over a UNIX socket.

It has one 4 KiB register BAR and does no DMA: it is there so that the guest's IOMMU driver can enable PASID on it, and so
that faults can be had at will. The control socket takes lines, and answers each with "ok" or "error: ...":
    vanish              close the connection to QEMU
    slow-reset SECONDS  from now on the device answers nothing for so long after a reset
"""
import argparse
import array
import json
import os
import selectors
import socket
import struct
import sys
import time

# The protocol (QEMU's docs/interop/vfio-user.rst).
HEADER = struct.Struct("<HHIII")            # id, command, size with header, flags, error
REPLY, NO_REPLY, ERROR = 0x1, 0x10, 0x20
VERSION, DMA_MAP, DMA_UNMAP, GET_INFO, GET_REGION_INFO, GET_IRQ_INFO = 1, 2, 3, 4, 5, 7
SET_IRQS, REGION_READ, REGION_WRITE, DEVICE_RESET = 8, 9, 10, 13
DEVICE_FLAG_RESET, DEVICE_FLAG_PCI = 1, 2
REGION_FLAGS_READ_WRITE = 3
REGIONS, IRQS = 9, 5
BAR0, CONFIG = 0, 7                         # region numbers
EOPNOTSUPP = 95

# PCI configuration space.
COMMAND, STATUS, BAR0_REGISTER = 0x04, 0x06, 0x10
NOT_READY_BELOW = 0x08
EXPRESS, ATS, PASID, PRI = 0x40, 0x100, 0x110, 0x120        # where the capabilities are
DEVCAP, DEVCTL, LINKCAP, LINKSTA, DEVCAP2 = EXPRESS + 0x4, EXPRESS + 0x8, EXPRESS + 0xC, EXPRESS + 0x12, EXPRESS + 0x24
DEVCAP_FLR, DEVCAP_ROLE_BASED_ERRORS, DEVCTL_FLR = 1 << 28, 1 << 15, 1 << 15
DEVCAP2_EXTENDED_FORMAT, DEVCAP2_PREFIX = 1 << 20, 1 << 21  # without the prefix Linux enables no PASID
PASID_BITS = 20


def log(*words):
    print(*words, file=sys.stderr, flush=True)


class Space:
    """A region's contents and the bits of it that can be written."""

    def __init__(self, size, writable=0):
        self.contents, self.writable = bytearray(size), bytearray([writable]) * size

    def put(self, offset, layout, *values, writable=None):
        struct.pack_into("<" + layout, self.contents, offset, *values)
        if writable is not None:
            struct.pack_into("<" + layout, self.writable, offset, *writable)

    def write(self, offset, data):
        for i, byte in enumerate(data, offset):
            mask = self.writable[i]
            self.contents[i] = self.contents[i] & ~mask & 0xFF | byte & mask


def extended_capability(number, following):
    return following << 20 | 1 << 16 | number


def config_space(flr):
    c = Space(4096)
    c.put(0x00, "HH", 0x1234, 0x5A51)
    c.put(COMMAND, "H", 0, writable=(0x0546,))
    c.put(STATUS, "H", 0x0010)                              # has capabilities
    c.put(0x08, "I", 0xFF000001)
    c.put(BAR0_REGISTER, "I", 0, writable=(0xFFFFF000,))
    c.put(0x2C, "HH", 0x1AF4, 0x1100)
    c.put(0x34, "B", EXPRESS)
    c.put(EXPRESS, "BBH", 0x10, 0, 2)
    c.put(DEVCAP, "I", DEVCAP_ROLE_BASED_ERRORS | (DEVCAP_FLR if flr else 0))
    c.put(DEVCTL, "H", 0, writable=(0x7FFF,))
    c.put(LINKCAP, "I", 0x11)
    c.put(LINKSTA, "H", 0x11)
    c.put(DEVCAP2, "I", DEVCAP2_EXTENDED_FORMAT | DEVCAP2_PREFIX)
    c.put(ATS, "I", extended_capability(0x0F, PASID))
    c.put(ATS + 4, "HH", 1 << 5, 0, writable=(0, 0x801F))   # page aligned requests
    c.put(PASID, "I", extended_capability(0x1B, PRI))
    c.put(PASID + 4, "HH", PASID_BITS << 8 | 6, 0, writable=(0, 7))
    c.put(PRI, "I", extended_capability(0x13, 0))
    c.put(PRI + 4, "HHII", 0, 0x8100, 32, 0, writable=(3, 0, 0, 0xFFFFFFFF))
    return c


class Device:
    def __init__(self, can_reset, slow_reset):
        self.can_reset, self.slow_reset = can_reset, slow_reset
        self.power_on()

    def power_on(self):
        self.regions = {BAR0: Space(4096, writable=0xFF), CONFIG: config_space(self.can_reset)}
        self.ready_at = 0

    def reset(self, why):
        if not self.can_reset:
            log("reset refused:", why)
            return False
        log("reset:", why)
        # QEMU resets its devices before the firmware runs, which would not find one that is not ready. The kernel writes to
        # the command register before every reset, so that a zero there means that the guest has not begun.
        used = self.regions[CONFIG].contents[COMMAND : COMMAND + 2] != b"\0\0"
        self.power_on()
        if used:
            self.ready_at = time.monotonic() + self.slow_reset
        return True

    def read(self, region, offset, count):
        """Not ready after a reset is all ones, as with real devices, and told at once, since QEMU would stop its guest to wait.

        The registers behind the first two words stay readable: QEMU itself reads them, and the kernel waits for the first two.
        """
        if time.monotonic() < self.ready_at and (region != CONFIG or offset < NOT_READY_BELOW):
            return b"\xff" * count
        return bytes(self.regions[region].contents[offset : offset + count])

    def write(self, region, offset, data):
        if time.monotonic() < self.ready_at:
            return
        if region == CONFIG:
            if offset >= ATS:
                log("config write %#x %s" % (offset, data.hex()))
            if self.can_reset and offset <= DEVCTL and offset + len(data) >= DEVCTL + 2:
                if struct.unpack_from("<H", data, DEVCTL - offset)[0] & DEVCTL_FLR:
                    self.reset("FLR")
                    return
        self.regions[region].write(offset, data)


class Client:
    """QEMU's side: one method for each command, which gives the reply's payload, or None for "not supported"."""

    def __init__(self, connection, device):
        self.connection, self.device = connection, device
        self.methods = {
            VERSION: self.version, GET_INFO: self.info, GET_REGION_INFO: self.region_info, GET_IRQ_INFO: self.irq_info,
            REGION_READ: self.region_read, REGION_WRITE: self.region_write, DEVICE_RESET: self.device_reset,
            DMA_MAP: lambda payload: b"", DMA_UNMAP: lambda payload: payload, SET_IRQS: lambda payload: b"",
        }

    def receive(self, count):
        """Exactly so many bytes; None at the end. Descriptors that come along (the guest's memory) are closed."""
        data = b""
        while len(data) < count:
            part, ancillary, _, _ = self.connection.recvmsg(count - len(data), socket.CMSG_SPACE(64))
            for _, _, fds in ancillary:
                for fd in array.array("i", fds):
                    os.close(fd)
            if not part:
                return None
            data += part
        return data

    def serve_one(self):
        """Handles one message; false at the end of the connection."""
        header = self.receive(HEADER.size)
        if header is None:
            return False
        number, command, size, flags, _ = HEADER.unpack(header)
        payload = self.receive(size - HEADER.size)
        if payload is None:
            return False
        method = self.methods.get(command)
        reply = method(payload) if method else None
        if not flags & NO_REPLY:
            failed = reply is None
            reply = reply or b""
            self.connection.sendall(HEADER.pack(number, command, HEADER.size + len(reply),
                                                REPLY | (ERROR if failed else 0), EOPNOTSUPP if failed else 0) + reply)
        return True

    def version(self, payload):
        # This QEMU offers 0.0 and takes no other: it gets back what it sent.
        log("version", payload[:4].hex())
        return payload[:4] + json.dumps({"capabilities": {"max_msg_fds": 8}}).encode() + b"\0"

    def info(self, _):
        return struct.pack("<IIII", 16, DEVICE_FLAG_PCI | (DEVICE_FLAG_RESET if self.device.can_reset else 0), REGIONS, IRQS)

    def region_info(self, payload):
        (index,) = struct.unpack_from("<I", payload, 8)
        region = self.device.regions.get(index)
        return struct.pack("<IIIIQQ", 32, REGION_FLAGS_READ_WRITE if region else 0, index, 0, len(region.contents) if region else 0, 0)

    def irq_info(self, payload):
        return struct.pack("<IIII", 16, 0, struct.unpack_from("<I", payload, 8)[0], 0)

    def region_read(self, payload):
        offset, region, count = struct.unpack_from("<QII", payload)
        return payload[:16] + self.device.read(region, offset, count)

    def region_write(self, payload):
        offset, region, count = struct.unpack_from("<QII", payload)
        self.device.write(region, offset, payload[16 : 16 + count])
        return payload[:16]

    def device_reset(self, _):
        return b"" if self.device.reset("asked by QEMU") else None


def listen(path):
    """The socket gets its name when it can be connected to, so that who sees it needs not try."""
    s = socket.socket(socket.AF_UNIX)
    s.bind(path + ".new")
    s.listen(4)
    os.rename(path + ".new", path)
    return s


class Server:
    def __init__(self, device, path, control_path):
        self.device, self.client = device, None
        self.selector = selectors.DefaultSelector()
        if control_path:
            self.watch(listen(control_path), self.control_connects)
        self.watch(listen(path), self.client_connects)

    def watch(self, s, callback):
        self.selector.register(s, selectors.EVENT_READ, callback)

    def close(self, s):
        self.selector.unregister(s)
        s.close()

    def run(self):
        while True:
            for key, _ in self.selector.select():
                if key.fileobj.fileno() >= 0:       # not closed by an earlier callback of this round
                    key.data(key.fileobj)

    def client_connects(self, listener):
        connection, _ = listener.accept()
        self.close(listener)                        # one QEMU is all that ever comes
        self.client = Client(connection, self.device)
        self.watch(connection, self.client_speaks)

    def client_speaks(self, _):
        if not self.client.serve_one():
            sys.exit(0)

    def control_connects(self, listener):
        connection, _ = listener.accept()
        self.watch(connection, self.control_speaks)

    def control_speaks(self, connection):
        data = connection.recv(4096)
        if not data:
            self.close(connection)
            return
        for line in data.decode(errors="replace").splitlines():
            connection.sendall((self.control(line.split()) + "\n").encode())

    def control(self, words):
        log("control:", *words)
        match words:
            case ["vanish"] if self.client:
                self.close(self.client.connection)
                self.client = None
            case ["vanish"]:
                return "error: not connected"
            case ["slow-reset", seconds]:
                try:
                    self.device.slow_reset = float(seconds)
                except ValueError:
                    return "error: not a number"
            case _:
                return "error: vanish | slow-reset SECONDS"
        return "ok"


def main():
    parser = argparse.ArgumentParser(description="PCIe endpoint with ATS, PRI and PASID for QEMU's vfio-user-pci")
    parser.add_argument("socket")
    parser.add_argument("--control", metavar="SOCKET", help="where to take control lines: vanish, slow-reset SECONDS")
    parser.add_argument("--no-reset", action="store_true", help="no FLR, and the reset request is refused")
    parser.add_argument("--slow-reset", metavar="SECONDS", type=float, default=0, help="not ready for so long after a reset")
    args = parser.parse_args()
    Server(Device(not args.no_reset, args.slow_reset), args.socket, args.control).run()


if __name__ == "__main__":
    main()
