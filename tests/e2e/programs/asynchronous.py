"""Appends a line, clears O_APPEND of the handle, and writes another at offset 0 by io_submit(2)."""

import ctypes
import fcntl
import os
import platform
import sys

SETUP, DESTROY, GETEVENTS, SUBMIT = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


class Iocb(ctypes.Structure):
    """struct iocb of linux/aio_abi.h, on machines whose lowest byte is first."""

    _fields_ = [
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("eventfd", ctypes.c_uint32),
    ]


def check(result):
    if result < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return result


PWRITE = 1
log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
os.write(log, b"a line\n")
fcntl.fcntl(log, fcntl.F_SETFL, fcntl.fcntl(log, fcntl.F_GETFL) & ~os.O_APPEND)
line = ctypes.create_string_buffer(b"A LINE\n", 7)
request = Iocb(opcode=PWRITE, fd=log, buffer=ctypes.addressof(line), length=7, offset=0)
context = ctypes.c_uint64()
check(libc.syscall(SETUP, 1, ctypes.byref(context)))
requests = (ctypes.c_void_p * 1)(ctypes.addressof(request))
check(libc.syscall(SUBMIT, context, ctypes.c_long(1), requests))
events = (ctypes.c_int64 * 4)()
check(libc.syscall(GETEVENTS, context, ctypes.c_long(1), ctypes.c_long(1), events, None))
libc.syscall(DESTROY, context)
# struct io_event: data, request, result, second result.
sys.exit(0 if events[2] == len(line) else f"{events[2]}")
