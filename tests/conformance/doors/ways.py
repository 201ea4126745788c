#!/usr/bin/env python3
"""Reads a file of an estargz-blob.py image in one of the ways programs read, and compares every byte.

    ways.py WAY MNT NUMBER SIZE [--seed N] [--readers N | --copies N]

Prints one word: right, wrong, short (right as far as it went), the errno's name of an error, or refused, where the file system
does not take this way at all. With --copies a line for each of the mounts MNT/0, MNT/1 ..., whose seeds count up. Ways: see WAYS.
"""
import argparse
import errno
import mmap
import os
import random
import socket
import sys
import tempfile
import threading

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../e2e"))
import blob_files

PAGE = 4096
STEP = 64 << 10


def read(fd, size):
    data = b""
    while len(data) < size and (piece := os.read(fd, STEP)):
        data += piece
    return data


def random_order(fd, size):
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    data = bytearray(size)
    offsets = list(range(0, size, PAGE))
    random.Random(size).shuffle(offsets)
    for offset in offsets:
        piece = os.pread(fd, PAGE, offset)
        data[offset:offset + len(piece)] = piece
    return bytes(data)


def readahead(fd, size):
    os.posix_fadvise(fd, 0, size, os.POSIX_FADV_WILLNEED)
    return read(fd, size)


def map_shared(fd, size):
    with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
        return bytes(memory)


def map_backwards(fd, size):
    data = bytearray(size)
    with mmap.mmap(fd, size, mmap.MAP_PRIVATE, mmap.PROT_READ) as memory:
        memory.madvise(mmap.MADV_RANDOM)
        for offset in reversed(range(0, size, PAGE)):
            data[offset:offset + PAGE] = memory[offset:offset + PAGE]
    return bytes(data)


def map_populate(fd, size):
    with mmap.mmap(fd, size, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ) as memory:
        return bytes(memory)


def direct(fd, size):
    direct_fd = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, -(-size // PAGE) * PAGE) as buffer:  # aligned
        count = 0
        while count < size and (got := os.preadv(direct_fd, [memoryview(buffer)[count:]], count)):
            count += got
        return buffer[:count]


def send_file(fd, size):
    ours, theirs = socket.socketpair()
    received = bytearray()

    def receive():
        while len(received) < size and (piece := theirs.recv(STEP)):
            received.extend(piece)

    receiver = threading.Thread(target=receive)
    receiver.start()
    try:
        sent = 0
        while sent < size and (got := os.sendfile(ours.fileno(), fd, sent, size - sent)):
            sent += got
    finally:
        ours.close()
        receiver.join()
    return bytes(received)


def splice(fd, size):
    out, into = os.pipe()
    data = b""
    while len(data) < size and (got := os.splice(fd, into, STEP, offset_src=len(data))):
        data += os.read(out, got)
    return data


def copy_range(fd, size):
    with tempfile.TemporaryFile() as file:
        count = 0
        while count < size and (got := os.copy_file_range(fd, file.fileno(), size - count, count, count)):
            count += got
        return os.pread(file.fileno(), size, 0)


WAYS = {"read": read, "random": random_order, "readahead": readahead, "mmap": map_shared, "mmap-backwards": map_backwards,
        "mmap-populate": map_populate, "direct": direct, "sendfile": send_file, "splice": splice, "copy-range": copy_range}
MAY_REFUSE = {"direct": (errno.EINVAL,), "copy-range": (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP)}


def judge(way, path, expected):
    try:
        fd = os.open(path, os.O_RDONLY)
        data = WAYS[way](fd, len(expected))
    except OSError as error:
        return "refused" if error.errno in MAY_REFUSE.get(way, ()) else errno.errorcode[error.errno]
    if data == expected:
        return "right"
    return "short" if data and expected.startswith(data) else "wrong"


def in_child(way, path, expected):
    """A mapped page that cannot be had is SIGBUS: told as its name."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(into, judge(way, path, expected).encode())
        os._exit(0)
    os.close(into)
    _, status = os.waitpid(child, 0)
    text = os.read(out, 64).decode()
    os.close(out)
    return text or ("SIGBUS" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == 7 else f"status {status}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("mnt")
    parser.add_argument("number", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", type=int, default=1, help="processes that start together")
    parser.add_argument("--copies", type=int)
    options = parser.parse_args()
    if options.copies is not None:
        for copy in range(options.copies):
            path = os.path.join(options.mnt, str(copy), blob_files.file_name(options.number))
            print(in_child(options.way, path, blob_files.content(options.seed + copy, options.number, 0, options.size)), flush=True)
        return
    path = os.path.join(options.mnt, blob_files.file_name(options.number))
    expected = blob_files.content(options.seed, options.number, 0, options.size)
    if options.readers == 1:
        verdicts = {in_child(options.way, path, expected)}
    else:
        verdicts = together(options, path, expected)
    print(" ".join(sorted(verdicts)))
    sys.exit(0 if verdicts <= {"right", "refused"} else 1)


def together(options, path, expected):
    """The verdicts of all readers, who wait for each other before they read."""
    gate_out, gate_in = os.pipe()
    out, into = os.pipe()
    for _ in range(options.readers):
        if os.fork() == 0:
            os.close(gate_in)
            os.read(gate_out, 1)  # ends when the parent closes the other end
            os.write(into, (judge(options.way, path, expected) + "\n").encode())
            os._exit(0)
    os.close(gate_in)
    os.close(into)
    text = b""
    while piece := os.read(out, STEP):
        text += piece
    verdicts = text.decode().split()
    return set(verdicts) | ({"lost"} if len(verdicts) != options.readers else set())


if __name__ == "__main__":
    main()
