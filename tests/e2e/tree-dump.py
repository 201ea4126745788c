#!/usr/bin/env python3
"""Prints every name below a directory, one JSON object per line, sorted: everything a reader of the tree can observe.

    tree-dump.py DIRECTORY

Names are percent-encoded bytes. `content` is a sha256 over (offset, bytes) of the 64 KiB blocks that are not all zero, so that
sparse files cost little and holes and stored zeros are equal. `same_inode` is the first name of a hard-linked inode. Works below
paths of any length: nothing is opened by its full name."""

import hashlib
import json
import os
import stat
import sys
from urllib.parse import quote_from_bytes

PIECE = 64 << 10
ZEROS = bytes(PIECE)
# overlayfs keeps its own state in these; they are no part of the image.
PRIVATE = ("trusted.overlay.", "user.overlay.")
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char", stat.S_IFBLK: "block",
         stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}


def text(name):
    return quote_from_bytes(name, safe="/!#$&'()*+,:;=?@[]{}~ ")


def content(fd, size):
    """Reads everything; a hole that the file system reports is not read."""
    digest, offset = hashlib.sha256(), 0
    while offset < size:
        try:
            offset = os.lseek(fd, offset, os.SEEK_DATA) // PIECE * PIECE
        except OSError:
            break
        for _ in range(256):
            piece = b""
            while len(piece) < PIECE and (part := os.pread(fd, PIECE - len(piece), offset + len(piece))):
                piece += part
            if piece != ZEROS[:len(piece)]:
                # A final short piece of zeros counts like a full one: as nothing.
                digest.update(offset.to_bytes(8, "little") + piece)
            offset += PIECE
            if offset >= size:
                break
    return digest.hexdigest()


def xattrs(path):
    found = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if not name.startswith(PRIVATE):
            found[text(os.fsencode(name))] = os.getxattr(path, name, follow_symlinks=False).hex()
    return dict(sorted(found.items()))


def describe(dir_fd, name, path, inodes):
    info = os.lstat(name, dir_fd=dir_fd)
    kind = stat.S_IFMT(info.st_mode)
    by_fd = b"/proc/self/fd/%d/%s" % (dir_fd, name)
    line = {"path": text(path), "type": KINDS[kind], "mode": "%04o" % stat.S_IMODE(info.st_mode), "uid": info.st_uid,
            "gid": info.st_gid, "mtime_ns": info.st_mtime_ns, "nlink": info.st_nlink, "xattrs": xattrs(by_fd)}
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        line["rdev"] = "%d:%d" % (os.major(info.st_rdev), os.minor(info.st_rdev))
    if kind in (stat.S_IFREG, stat.S_IFLNK):
        line["size"] = info.st_size
    if kind == stat.S_IFLNK:
        line["target"] = text(os.readlink(name, dir_fd=dir_fd))
    if kind != stat.S_IFDIR and info.st_nlink > 1:
        line["same_inode"] = inodes.setdefault((info.st_dev, info.st_ino), text(path))
    if kind == stat.S_IFREG:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=dir_fd)
        try:
            line["content"] = content(fd, info.st_size)
        finally:
            os.close(fd)
    return line


def walk(fd, path, inodes):
    for name in sorted(map(os.fsencode, os.listdir(fd))):
        below = path + b"/" + name if path else name
        line = describe(fd, name, below, inodes)
        print(json.dumps(line))
        if line["type"] == "dir":
            child = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            try:
                walk(child, below, inodes)
            finally:
                os.close(child)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.setrecursionlimit(10_000)
    root = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
    inodes = {}
    print(json.dumps(describe(root, b".", b".", inodes)))
    walk(root, b"", inodes)


main()
