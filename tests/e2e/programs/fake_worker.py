#!/usr/bin/python3 -B
"""A worker that is not the program: it speaks the keeper's protocol, as a hostile one would.

As the program on disk (the keeper starts it, its socket is standard input) it gives another answer to
FUSE_INIT than the program. As `fake_worker.py SOCKET` it attaches itself, then sends each line of
standard input as one packet and prints what comes back as one line. A line `wait` sends nothing and
waits for the next packet; `quiet LINE` sends and waits for nothing. It is asked whether it is there when a line
answers that.

Written from src/supervisor/protocol.rs; it uses nothing of the program.
"""

import array
import json
import os
import socket
import struct
import sys

PACKET = 64 * 1024
INIT_EXT = 1 << 30
PASSTHROUGH = 1 << 5  # bit 37, in the second word of flags


def receive(keeper):
    data, beside, _, _ = keeper.recvmsg(PACKET, socket.CMSG_SPACE(4))
    fds = array.array("i")
    for level, kind, content in beside:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


def answer_to(init, flags2):
    """`struct fuse_out_header` and `struct fuse_init_out` of linux/fuse.h."""
    (unique,) = struct.unpack_from("=Q", init, 8)
    # major, minor, max_readahead, flags, max_background, congestion_threshold, max_write, time_gran,
    # max_pages, map_alignment, flags2, max_stack_depth
    words = (7, 45, 131072, INIT_EXT, 16, 12, 1 << 20, 1, 256, 0, flags2, 1)
    body = struct.pack("=IIIIHHIIHHII", *words)
    body = body.ljust(64, b"\0")
    return struct.pack("=IiQ", 16 + len(body), 0, unique) + body


def say(keeper, message):
    keeper.send(json.dumps(message).encode())


def greet(keeper, flags2, pings=False):
    data, fds = receive(keeper)
    if not fds:
        print(data.decode() or "closed", flush=True)
        sys.exit(1)
    init = bytes(json.loads(data)["Hello"]["init"])
    say(keeper, {"Answer": {"answer": list(answer_to(init, flags2)), "pings": pings}})
    return fds[0]


def attach(path):
    keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper.connect(path)
    say(keeper, "Attach")
    lines = sys.stdin.read().splitlines()
    fuse = greet(keeper, PASSTHROUGH, pings=any("Pong" in line for line in lines))
    print(receive(keeper)[0].decode() or "closed", flush=True)
    for line in lines:
        quiet = line.startswith("quiet ")
        if line != "wait":
            keeper.send(line.removeprefix("quiet ").encode())
        if not quiet:
            print(receive(keeper)[0].decode() or "closed", flush=True)
    os.close(fuse)


if "LOGSINKFS_KEEPER_FD" in os.environ:
    end = socket.socket(fileno=int(os.environ["LOGSINKFS_KEEPER_FD"]))
    greet(end, 0)
    receive(end)
    # The keeper ends this process, not the other way round.
    receive(end)
else:
    attach(sys.argv[1])
