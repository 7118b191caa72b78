"""Where a program finds itself in a log: `positions.py FOLDER HISTORY [GO]` brings app.log there by HISTORY (which may wait
until there is a file GO), adds three lines, and prints what each way to ask for a position says, as `name value`, one a line."""

import mmap
import os
import resource
import signal
import sys
import time

FOLDER, HISTORY, GO = (sys.argv[1:] + [None])[:3]
PATH = os.path.join(FOLDER, "app.log")
OLD = b"a line of the generation before\n"
NEW = b"new line\n"
APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def old_log():
    fd = os.open(PATH, APPEND, 0o644)
    for _ in range(200):
        os.write(fd, OLD)
    return fd


def fresh():
    return os.open(PATH, APPEND, 0o644)


def again():
    """`>` over a log, as a container does that restarts."""
    os.close(old_log())
    return os.open(PATH, os.O_WRONLY | os.O_TRUNC)


def again_to_append():
    """A logger that begins anew and appends (`filemode='w'` of many)."""
    os.close(old_log())
    return os.open(PATH, APPEND | os.O_TRUNC)


def appended_after_emptying():
    """`: > app.log`, then `>>`."""
    os.close(old_log())
    os.close(os.open(PATH, os.O_WRONLY | os.O_TRUNC))
    return os.open(PATH, APPEND)


def truncated_by_name():
    os.close(old_log())
    os.truncate(PATH, 0)
    return os.open(PATH, APPEND)


def copytruncate():
    """logrotate's copytruncate under a program that has the log open to append."""
    fd = old_log()
    os.truncate(PATH, 0)
    return fd


def reopened_after_copytruncate():
    fd = copytruncate()
    os.write(fd, NEW)
    os.close(fd)
    return os.open(PATH, APPEND)


def takeover():
    """Another worker takes the mount over while the log, which began anew, is open."""
    fd = again_to_append()
    os.write(fd, NEW)
    print("ready", flush=True)
    while not os.path.exists(GO):
        time.sleep(0.01)
    return fd


def mapped():
    with open(PATH, "rb") as log, mmap.mmap(log.fileno(), 0, prot=mmap.PROT_READ) as text:
        return bytes(text)


def within_limit(fd):
    """Lines that a limit for two more lets in."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = os.stat(PATH).st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 2 * len(NEW), resource.RLIM_INFINITY))
    lines = 0
    try:
        while lines < 10 and os.write(fd, NEW) == len(NEW):
            lines += 1
    except OSError:
        pass
    return lines


descriptor = globals()[HISTORY]()
for _ in range(3):
    os.write(descriptor, NEW)
answers = {
    "SEEK_CUR": os.lseek(descriptor, 0, os.SEEK_CUR),
    "SEEK_END": os.lseek(descriptor, 0, os.SEEK_END),
    "fstat": os.fstat(descriptor).st_size,
    "stat": os.stat(PATH).st_size,
    "read": open(PATH, "rb").read(),
    "mmap": mapped(),
    "RLIMIT_FSIZE": within_limit(descriptor),
}
for name, value in answers.items():
    print(name, value)
