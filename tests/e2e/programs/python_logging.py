"""Logs through a file handler of Python's logging module.

usage: python_logging.py file|rotating|timed|concurrent PATH

The handler `concurrent` is that of concurrent-log-handler, by which several processes write and rotate one file.
"""

import logging
import logging.handlers
import sys

import journal


class Loud:
    """Hands an error of the handler to the caller, who notes that the line failed."""

    def handleError(self, record):
        raise

    def reopen(self):
        """What an application does that finds its log file dead."""
        try:
            if self.stream:
                self.stream.close()
        except OSError:
            pass
        self.stream = self._open()


class File(Loud, logging.FileHandler):
    pass


class Rotating(Loud, logging.handlers.RotatingFileHandler):
    pass


class Timed(Loud, logging.handlers.TimedRotatingFileHandler):
    pass


def concurrent():
    from concurrent_log_handler import ConcurrentRotatingFileHandler

    class Concurrent(Loud, ConcurrentRotatingFileHandler):
        pass

    return Concurrent(path, maxBytes=20_000, backupCount=3)


kind, path = sys.argv[1:]
handler = {
    "file": lambda: File(path),
    "rotating": lambda: Rotating(path, maxBytes=20_000, backupCount=3),
    "timed": lambda: Timed(path, when="S", backupCount=2),
    "concurrent": concurrent,
}[kind]()
handler.setFormatter(logging.Formatter("%(message)s"))


def write(line):
    handler.emit(logging.LogRecord("app", logging.INFO, __file__, 1, line, None, None))


for line in journal.lines():
    if not journal.attempt(line, write):
        journal.await_mount()
        handler.reopen()
handler.close()
