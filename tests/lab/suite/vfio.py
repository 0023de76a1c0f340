"""VFIO and iommufd by their ioctls, as far as the tests need them (linux/vfio.h, linux/iommufd.h)."""
import ctypes
import errno
import fcntl
import mmap
import os
import struct

TYPE = 0x3B << 8
GET_REGION_INFO, BIND_IOMMUFD = TYPE | 108, TYPE | 118
IOAS_ALLOC, IOAS_MAP, IOAS_UNMAP = TYPE | 0x81, TYPE | 0x85, TYPE | 0x86
CONFIG_REGION = 7


def bind(device, iommufd):
    """Returns the device's id in the iommufd."""
    buf = bytearray(struct.pack("<IIiIQ", 16, 0, iommufd, 0, 0))
    fcntl.ioctl(device, BIND_IOMMUFD, buf, True)
    return struct.unpack_from("<IIiI", buf)[3]


def config(device, offset, count):
    buf = bytearray(struct.pack("<IIIIQQ", 32, 0, CONFIG_REGION, 0, 0, 0))
    fcntl.ioctl(device, GET_REGION_INFO, buf, True)
    start = struct.unpack("<IIIIQQ", buf)[5]
    return os.pread(device, count, start + offset)


def ids(device):
    """(vendor, device) out of its configuration space: it can be used."""
    return struct.unpack("<HH", config(device, 0, 4))


def ioas_alloc(iommufd):
    buf = bytearray(struct.pack("<III", 12, 0, 0))
    fcntl.ioctl(iommufd, IOAS_ALLOC, buf, True)
    return struct.unpack("<III", buf)[2]


def ioas_map(iommufd, ioas, iova=0x1000000, length=1 << 20):
    """Maps fresh memory for reading and writing at iova."""
    memory = mmap.mmap(-1, length)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(iommufd, IOAS_MAP, bytearray(struct.pack("<IIIIQQQ", 40, 7, ioas, 0, address, length, iova)), True)


def error_of(function, *args):
    """The name of the errno that a call fails with, "" if it succeeds."""
    try:
        function(*args)
    except OSError as e:
        return errno.errorcode[e.errno]
    return ""
