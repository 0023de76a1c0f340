"""VFIO, by groups and containers too, and iommufd by their ioctls, as far as the tests need them (linux/vfio.h, linux/iommufd.h)."""
import ctypes
import errno
import fcntl
import mmap
import os
import struct

TYPE = 0x3B << 8
SET_IOMMU, SET_CONTAINER, GET_DEVICE_FD, MAP_DMA = TYPE | 102, TYPE | 104, TYPE | 106, TYPE | 113
TYPE1V2 = 3
GET_REGION_INFO, SET_IRQS, HOT_RESET = TYPE | 108, TYPE | 110, TYPE | 113
BIND_IOMMUFD, ATTACH_PT, DETACH_PT = TYPE | 118, TYPE | 119, TYPE | 120
IOAS_ALLOC, IOAS_MAP, IOAS_UNMAP = TYPE | 0x81, TYPE | 0x85, TYPE | 0x86
HWPT_ALLOC, VIOMMU_ALLOC = TYPE | 0x89, TYPE | 0x90
CONFIG_REGION = 7
FLAG_PASID, HWPT_PASID = 1, 8


def bind(device, iommufd, token=""):
    """Returns the device's id in the iommufd. token: the UUID of a virtual function."""
    uuid = (ctypes.c_char * 16).from_buffer_copy(bytes.fromhex(token.replace("-", "")) or bytes(16))
    buf = bytearray(struct.pack("<IIiIQ", 24 if token else 16, 1 if token else 0, iommufd, 0, ctypes.addressof(uuid)))
    fcntl.ioctl(device, BIND_IOMMUFD, buf, True)
    return struct.unpack_from("<IIiI", buf)[3]


def attach(device, pt):
    fcntl.ioctl(device, ATTACH_PT, bytearray(struct.pack("<III", 12, 0, pt)), True)


def detach(device):
    fcntl.ioctl(device, DETACH_PT, bytearray(struct.pack("<II", 8, 0)), True)


def hot_reset(device):
    """Without descriptors of groups: the kernel looks whose all the devices of the set are."""
    fcntl.ioctl(device, HOT_RESET, struct.pack("<III", 12, 0, 0))


def listen(device):
    """An eventfd that tells when VFIO asks for the device back, as QEMU has one."""
    event = os.eventfd(0)
    # DATA_EVENTFD and ACTION_TRIGGER, for VFIO_PCI_REQ_IRQ_INDEX
    fcntl.ioctl(device, SET_IRQS, struct.pack("<IIIIIi", 24, 1 << 2 | 1 << 5, 4, 0, 1, event))
    return event


def region(device, index):
    """Where it begins in the device's descriptor."""
    buf = bytearray(struct.pack("<IIIIQQ", 32, 0, index, 0, 0, 0))
    fcntl.ioctl(device, GET_REGION_INFO, buf, True)
    return struct.unpack("<IIIIQQ", buf)[5]


def hwpt_alloc(iommufd, devid, pt, flags=HWPT_PASID, data=b"", data_type=0):
    """A page table over an IOAS; by default one that PASIDs can be attached to. Returns its id."""
    room = ctypes.create_string_buffer(data, len(data)) if data else None
    buf = bytearray(struct.pack("<IIIIIIIIQII", 48, flags, devid, pt, 0, 0, data_type, len(data), ctypes.addressof(room) if room else 0, 0, 0))
    fcntl.ioctl(iommufd, HWPT_ALLOC, buf, True)
    return struct.unpack_from("<IIIII", buf)[4]


def viommu_alloc(iommufd, devid, hwpt, kind=1):
    buf = bytearray(struct.pack("<IIIIIIIIQ", 40, 0, kind, devid, hwpt, 0, 0, 0, 0))
    fcntl.ioctl(iommufd, VIOMMU_ALLOC, buf, True)


def attach_pasid(device, pt, pasid, flags=FLAG_PASID):
    fcntl.ioctl(device, ATTACH_PT, bytearray(struct.pack("<IIII", 16, flags, pt, pasid)), True)


def detach_pasid(device, pasid):
    fcntl.ioctl(device, DETACH_PT, bytearray(struct.pack("<III", 12, FLAG_PASID, pasid)), True)


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p


def attach_at(device, address):
    """With the arguments at this address: fcntl.ioctl() would copy them first."""
    if _libc.ioctl(device, ctypes.c_ulong(ATTACH_PT), ctypes.c_void_p(address)) < 0:
        raise OSError(ctypes.get_errno(), "ioctl")


def attach_nowhere(device):
    attach_at(device, 4096)


def attach_pasid_read_only(device, pt, pasid):
    """The kernel attaches and then cannot write its answer."""
    fd = os.memfd_create("arguments")
    os.write(fd, struct.pack("<IIII", 16, FLAG_PASID, pt, pasid))
    os.truncate(fd, mmap.PAGESIZE)
    address = _libc.mmap(None, ctypes.c_size_t(mmap.PAGESIZE), mmap.PROT_READ, mmap.MAP_SHARED, fd, ctypes.c_long(0))
    os.close(fd)
    try:
        attach_at(device, address)
    finally:
        _libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE))


# iommufd's own test mode (drivers/iommu/iommufd/iommufd_test.h): devices without hardware that can have PASIDs.
TEST_CMD = TYPE | 0xA0
MOCK_REPLACE, MOCK_DEVICE, MOCK_ATTACH_PASID, MOCK_DETACH_PASID = 10, 12, 18, 20


def mock(iommufd, op, number, *words):
    """Returns the words after the header as the kernel leaves them."""
    buf = bytearray(struct.pack("<IIII", 72, op, number, 0) + struct.pack(f"<{len(words)}I", *words).ljust(56, b"\0"))
    fcntl.ioctl(iommufd, TEST_CMD, buf, True)
    return struct.unpack_from("<4I", buf, 16)


def mock_device(iommufd):
    """A device that can have PASIDs, on a page table for them: (device, table)."""
    ioas = ioas_alloc(iommufd)
    device, _, devid, _ = mock(iommufd, MOCK_DEVICE, ioas, 0, 0, 0, 4)
    table = hwpt_alloc(iommufd, devid, ioas)
    mock(iommufd, MOCK_REPLACE, device, table)
    return device, table


def config(device, offset, count):
    return os.pread(device, count, region(device, CONFIG_REGION) + offset)


def bar(device, index, offset, count):
    """Reads registers; turns memory access on for it."""
    os.pwrite(device, b"\x02\x00", region(device, CONFIG_REGION) + 4)
    return os.pread(device, count, region(device, index) + offset)


def set_container(group, container):
    fcntl.ioctl(group, SET_CONTAINER, struct.pack("<i", container))


def set_iommu(container):
    fcntl.ioctl(container, SET_IOMMU, TYPE1V2)


def get_device(group, address):
    return fcntl.ioctl(group, GET_DEVICE_FD, bytearray(address.encode() + b"\0"), True)


def map_dma(container, iova=0x1000000, length=1 << 20):
    """Maps fresh memory for reading and writing at iova. The memory has to be kept."""
    memory = mmap.mmap(-1, length)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fcntl.ioctl(container, MAP_DMA, bytearray(struct.pack("<IIQQQ", 32, 3, address, iova, length)), True)
    return memory


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
