"""The journal that a writing program keeps on the local disk.

Each entry is one write(2): `try LINE` before the log is written, then `ok LINE` or `err LINE`.
What has a `try` alone was cut short, and may have arrived or not. The environment says where:
JOURNAL is the journal, STOP a file that appears when the program shall end, BACK one that appears
when a mount that died under the program is back, RUN the prefix that makes its lines its own.
"""

import os
import time

RUN = os.environ["RUN"]
_fd = os.open(os.environ["JOURNAL"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def _note(word, line):
    os.write(_fd, f"{word} {line}\n".encode())


def lines():
    """The lines to write, until the program is told to stop.

    Full speed at first; then slower, so that a program that waits for its scenario writes no flood,
    unless FLOOD says how many lines may be one.
    """
    number = 0
    full_speed = int(os.environ.get("FLOOD", 2000))
    while not os.path.exists(os.environ["STOP"]):
        number += 1
        if number > full_speed:
            time.sleep(0.001)
        yield f"{RUN} line {number:07d} " + "x" * 60


def attempt(line, write):
    """Writes one line by `write(line)` and notes how it went; False when it failed."""
    _note("try", line)
    try:
        write(line)
    except OSError:
        _note("err", line)
        return False
    _note("ok", line)
    return True


def await_mount():
    """Waits until the mount that died is back; without a crash it never is, and that is a failure."""
    end = time.monotonic() + 60
    while not os.path.exists(os.environ["BACK"]):
        if time.monotonic() > end:
            raise SystemExit("a write failed, and the mount did not come back")
        time.sleep(0.01)
