"""Logs as the glog library does: a file per time and process, and a symbolic link to the newest.

usage: glog_style.py DIR

Each file holds 150 lines; the link `app.INFO` is taken away and made anew with each.
"""

import os
import sys

import journal

folder = sys.argv[1]
fd = None
count = 0
files = 0


def start_file():
    global fd, count, files
    if fd is not None:
        try:
            os.close(fd)
        except OSError:
            pass
        fd = None
    files += 1
    count = 0
    name = f"app.host.root.log.INFO.20261123-081502.{os.getpid()}{files:04d}"
    path = os.path.join(folder, name)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o664)
    link = os.path.join(folder, "app.INFO")
    try:
        os.unlink(link)
    except FileNotFoundError:
        pass
    os.symlink(name, link)


def write(line):
    global count
    if fd is None or count == 150:
        start_file()
    data = line.encode() + b"\n"
    if os.write(fd, data) != len(data):
        raise OSError("a short write")
    count += 1


for line in journal.lines():
    if not journal.attempt(line, write):
        journal.await_mount()
        count = 150
