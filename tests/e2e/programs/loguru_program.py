"""Logs through loguru, which renames its file by size and deletes old ones.

usage: loguru_program.py PATH
"""

import sys

from loguru import logger

import journal


def start():
    logger.add(sys.argv[1], format="{message}", rotation="20 KB", retention=3, catch=False)


logger.remove()
start()
for line in journal.lines():
    if not journal.attempt(line, logger.info):
        journal.await_mount()
        try:
            logger.remove()
        except OSError:
            pass
        start()
logger.remove()
