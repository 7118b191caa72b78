"""Opens a file by its handle (open_by_handle_at(2)) after the kernel has dropped what it knew of it."""

import ctypes
import os
import sys

mount, name = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)


class FileHandle(ctypes.Structure):
    _fields_ = [
        ("handle_bytes", ctypes.c_uint),
        ("handle_type", ctypes.c_int),
        ("f_handle", ctypes.c_char * 128),
    ]


def check(result):
    if result < 0:
        error = ctypes.get_errno()
        sys.exit(os.strerror(error))
    return result


root = os.open(mount, os.O_RDONLY)
handle = FileHandle(handle_bytes=128)
mount_id = ctypes.c_int()
path = os.fsencode(name)
check(libc.name_to_handle_at(root, path, ctypes.byref(handle), ctypes.byref(mount_id), 0))
# Dentries and inodes that nobody uses; written twice, since a dentry holds its inode.
for _ in range(2):
    with open("/proc/sys/vm/drop_caches", "w") as drop:
        drop.write("2")
opened = check(libc.open_by_handle_at(root, ctypes.byref(handle), os.O_RDONLY))
print(os.read(opened, 100).decode(), end="", flush=True)
