"""Appends lines, one write(2) each.

usage: plain_writer.py [PATH]

With a PATH it opens that for appending, again after SIGHUP and again after an error. Without one
it writes to its standard output, which the shell has redirected, and ends at the first error.
"""

import os
import signal
import sys

import journal

path = sys.argv[1] if len(sys.argv) > 1 else None
reopen = False


def hang_up(_signal, _frame):
    global reopen
    reopen = True


def write(line):
    data = line.encode() + b"\n"
    if os.write(fd, data) != len(data):
        raise OSError("a short write")


def open_again():
    """Opens the log anew; closing a file on a dead mount fails, and that loses nothing."""
    global fd
    try:
        os.close(fd)
    except OSError:
        pass
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


signal.signal(signal.SIGHUP, hang_up)
fd = 1
if path:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
for line in journal.lines():
    if reopen:
        reopen = False
        open_again()
    if not journal.attempt(line, write):
        if not path:
            sys.exit(1)
        journal.await_mount()
        reopen = True
