"""Does to files in a folder what programs do that are no loggers, and says how each went.

usage: odd_files.py FOLDER

Run on a mount and on a local disk, it says the same and leaves the same bytes.
"""

import errno
import fcntl
import hashlib
import mmap
import os
import sys
import time

os.chdir(sys.argv[1])


def put(path, data=b"abc\n", mode="wb"):
    with open(path, mode) as file:
        file.write(data)


def have(path):
    with open(path, "rb") as file:
        data = file.read()
    return len(data), hashlib.md5(data).hexdigest()


def say(step):
    try:
        print(step.__name__, step(), flush=True)
    except OSError as e:
        print(step.__name__, errno.errorcode[e.errno], flush=True)


def new(path, flags=0):
    return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)


@say
def two_writers():
    a, b = new("two.hprof"), new("two.hprof")
    for n in range(200):
        os.pwrite(a, b"A" * 100, n * 200)
        os.pwrite(b, b"B" * 100, n * 200 + 100)
    os.close(a)
    os.pwrite(b, b"END", 5000)
    os.close(b)
    return have("two.hprof")


@say
def two_appenders_and_one_that_overwrites():
    a, b, c = new("three.hprof", os.O_APPEND), new("three.hprof", os.O_APPEND), new("three.hprof")
    for n in range(100):
        os.write(a, b"a%d\n" % n)
        os.write(b, b"b%d\n" % n)
        os.pwrite(c, b"c", n)
    at = os.lseek(a, 0, os.SEEK_CUR), os.lseek(a, 0, os.SEEK_END)
    for fd in [a, b, c]:
        os.close(fd)
    return at, have("three.hprof")


@say
def truncation_under_a_writer():
    a = new("truncated.bin")
    os.write(a, b"x" * 5000)
    os.pwrite(a, b"HH", 0)
    b = new("truncated.bin", os.O_TRUNC)
    os.write(b, b"new")
    os.write(a, b"more")
    os.fsync(a)
    size = os.fstat(a).st_size
    os.close(a)
    os.close(b)
    return size, have("truncated.bin")


@say
def replaced_while_open():
    put("old.hprof", b"old" * 100)
    a = new("old.hprof")
    put("new.hprof", b"new" * 50)
    os.rename("new.hprof", "old.hprof")
    os.pwrite(a, b"zz", 0)
    read = os.pread(a, 9, 0)
    os.close(a)
    return read, have("old.hprof")


@say
def replaced_by_a_log():
    put("log.hprof", b"old" * 100)
    put("a.log", b"a log\n")
    os.rename("a.log", "log.hprof")
    put("log.hprof", b"more\n", "ab")
    return have("log.hprof")


@say
def links():
    put("link.hprof", b"link" * 10)
    os.link("link.hprof", "link2.hprof")
    with open("link2.hprof", "r+b") as file:
        file.write(b"X")
    seen = os.stat("link2.hprof").st_nlink, have("link.hprof")
    os.unlink("link2.hprof")
    put("link.hprof", b"tail", "ab")
    return seen, have("link.hprof")


@say
def unlinked_while_open():
    a = new("gone.hprof")
    os.write(a, b"1" * 1000)
    os.unlink("gone.hprof")
    os.pwrite(a, b"2", 500)
    os.fsync(a)
    seen = os.pread(a, 3, 499), os.fstat(a).st_size, os.fstat(a).st_nlink
    os.ftruncate(a, 10)
    size = os.fstat(a).st_size
    os.close(a)
    return seen, size


@say
def a_log_that_becomes_whole_while_another_handle_goes_on():
    a = new("becomes.log")
    os.write(a, b"line one\n")
    b = new("becomes.log")
    os.pwrite(b, b"LINE", 0)
    os.write(a, b"line two\n")
    os.close(a)
    os.close(b)
    return have("becomes.log")


@say
def synchronous():
    a = new("sync.hprof", os.O_SYNC)
    os.write(a, b"sync" * 10)
    os.pwrite(a, b"S", 0)
    os.fdatasync(a)
    os.close(a)
    return have("sync.hprof")


@say
def direct():
    page = mmap.mmap(-1, 8192)
    page[:] = b"D" * 8192
    a = new("direct.bin", os.O_DIRECT)
    written = os.writev(a, [page])
    os.lseek(a, 0, os.SEEK_SET)
    os.writev(a, [memoryview(page)[:4096]])
    read = os.readv(a, [page])
    os.close(a)
    return written, read, have("direct.bin")


@say
def mapped():
    a = new("mapped.bin")
    os.ftruncate(a, 3 * 4096 + 100)
    mapping = mmap.mmap(a, 0)
    mapping[0:3] = b"abc"
    mapping[8192:8194] = b"zz"
    os.pwrite(a, b"PW", 4096)
    seen = bytes(mapping[4096:4098])
    mapping.flush()
    mapping[5] = 65
    mapping.close()
    os.fsync(a)
    os.close(a)
    return seen, have("mapped.bin")


@say
def mapped_after_the_close():
    a = new("mapped.hprof")
    os.write(a, b"q" * 10000)
    mapping = mmap.mmap(a, 0)
    mapping[0:3] = b"abc"
    os.close(a)
    mapping[9000:9003] = b"xyz"
    mapping.close()
    return os.stat("mapped.hprof").st_size, have("mapped.hprof")


@say
def a_hole_of_gigabytes():
    a = new("sparse.hprof")
    os.pwrite(a, b"end", 3 << 30)
    seen = os.fstat(a).st_size, os.fstat(a).st_blocks < 100, os.pread(a, 5, (3 << 30) - 2)
    os.ftruncate(a, 1 << 20)
    os.close(a)
    return seen, have("sparse.hprof")


@say
def allocated():
    a = new("allocated.hprof")
    os.write(a, b"x")
    os.posix_fallocate(a, 0, 10000)
    os.close(a)
    return have("allocated.hprof")


@say
def shorter_and_longer():
    a = new("resized.hprof")
    os.write(a, b"0123456789")
    os.ftruncate(a, 4)
    os.ftruncate(a, 8)
    os.close(a)
    return have("resized.hprof")


@say
def copied_by_the_kernel():
    put("from.hprof", b"r" * 10000)
    a, b = new("from.hprof"), new("to.hprof")
    copied = os.copy_file_range(a, b, 5000, 0, 100), os.sendfile(b, a, 0, 150)
    os.close(a)
    os.close(b)
    return copied, have("to.hprof")


@say
def append_switched_off_and_on():
    a = new("switched.hprof", os.O_APPEND)
    os.write(a, b"abcdef")
    fcntl.fcntl(a, fcntl.F_SETFL, 0)
    os.lseek(a, 0, os.SEEK_SET)
    os.write(a, b"X")
    fcntl.fcntl(a, fcntl.F_SETFL, os.O_APPEND)
    os.write(a, b"Y")
    os.pwrite(a, b"Z", 0)
    os.close(a)
    return have("switched.hprof")


@say
def a_reader_sees_it_change():
    a, b = new("read.hprof"), new("read.hprof")
    os.write(a, b"1" * 5000)
    seen = [len(os.read(b, 9000))]
    os.ftruncate(a, 100)
    seen.append(len(os.pread(b, 9000, 0)))
    os.pwrite(a, b"2", 50)
    seen.append(os.pread(b, 3, 49))
    os.close(a)
    os.close(b)
    return seen


@say
def times():
    put("times.hprof")
    os.utime("times.hprof", ns=(1, 1_000_000_000))
    seen = os.stat("times.hprof").st_mtime_ns
    put("times.hprof", b"x", "ab")
    return seen, abs(os.stat("times.hprof").st_mtime - time.time()) < 60


@say
def written_by_who_may_read_alone():
    put("read-only.hprof")
    a = os.open("read-only.hprof", os.O_RDONLY)
    try:
        os.write(a, b"x")
    finally:
        os.close(a)

