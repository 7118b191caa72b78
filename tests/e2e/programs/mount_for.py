"""Mounts a FUSE file system for another user and hands the descriptor on, as a container runtime would.

usage: mount_for.py DIRECTORY UID COMMAND [ARG...]

Becomes COMMAND as that user, with `/dev/fd/N` in the place of every `@FUSE@`.
"""

import ctypes
import os
import sys

point, uid, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id={uid},group_id={uid},allow_other,default_permissions"
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"handed-on", point.encode(), b"fuse", 0, options.encode()) != 0:
    raise OSError(ctypes.get_errno(), "mount(2) failed")
os.set_inheritable(fuse, True)
os.setgroups([])
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
command = [arg.replace("@FUSE@", f"/dev/fd/{fuse}") for arg in command]
os.execv(command[0], command)
