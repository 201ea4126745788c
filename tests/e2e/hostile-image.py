#!/usr/bin/env python3
"""Writes an OCI layout directory (tag `latest`) with an image that is legal and as unpleasant as legal images get.

    hostile-image.py [--no-giant] [--gnu-sparse] DIRECTORY

--no-giant      without the 5 GiB sparse file
--gnu-sparse    the same tree, with sparse files in the old GNU format, which containerd 1.6 does not unpack

Five layers: gzip, gzip, zstd, not compressed, gzip. Every layer restates each directory it touches, because a directory that
is only implied has the unpacking time as its mtime; the one implied directory is named `implied`, so that a comparison can
excuse it. The bytes are the same in every run."""

import argparse
import gzip
import hashlib
import io
import json
import pathlib
import random
import struct
import subprocess

from raw_tar import RawTar

GIANT = 5 << 30
MIB = 1 << 20
noise = random.Random(20).randbytes
BIG = noise(9 * MIB + 123)  # more than two chunks, no multiple of anything
SHARED = noise(MIB)
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep


def acl(*entries):
    """system.posix_acl_access: (tag, permissions, id) entries."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)


NO_ID = 0xFFFFFFFF
ACL = acl((0x01, 6, NO_ID), (0x02, 6, 1000), (0x04, 4, NO_ID), (0x10, 6, NO_ID), (0x20, 4, NO_ID))
LONG = b"n" * 255
STRANGE = [b"caf\xe9", b"\xff\xfe\xfd", "größe-漢字-🦀".encode(), b"new\nline", b"tab\tand\rreturn", b"back\\slash", b'quo"te\'s',
           b"-rf", b" leading", b"trailing ", b"...", b".hidden", b"*?[x]", b"$(x)`y`", b"\x01\x7f", b"a=b", b"%s%n", b".wh",
           LONG, b"\xe9" * 255, b"x" * 99, b"y" * 100, b"z" * 101]


def layer_types(tar):
    """Every entry type, ids, modes, times, names, xattrs, links, sparse files."""
    tar.pax({b"comment": b"a global header says nothing about files"}, kind=b"g")
    tar.directory(b".", mtime=1_500_000_000)
    tar.directory(b"types")
    tar.regular(b"types/empty")
    tar.regular(b"types/one", b"1")
    tar.regular(b"types/block", noise(4096))
    tar.regular(b"types/block-and-one", noise(4097))
    tar.regular(b"types/big", BIG)
    tar.regular(b"types/zeros", bytes(3 * MIB + 5))
    tar.entry(b"types/old-style", b"\0", mode=0o644, data=b"type flag NUL")
    tar.symlink(b"types/symlink", b"one")
    tar.symlink(b"types/dangling", b"../../../../nowhere")
    tar.symlink(b"types/absolute", b"/types/one")
    tar.symlink(b"types/long-symlink", b"t/" * 2000 + b"end")
    tar.symlink(b"types/gnu-long-symlink", b"g/" * 200, gnu_names=True)
    tar.device(b"types/null", b"3", 1, 3, 0o666)
    tar.device(b"types/loop", b"4", 7, 200, 0o660, gid=6)
    tar.device(b"types/large-numbers", b"3", 4095, 1048575)
    tar.fifo(b"types/fifo", 0o622)

    tar.directory(b"modes", 0o1777)
    for name, mode in [(b"setuid", 0o4755), (b"setgid", 0o2755), (b"sticky", 0o1644), (b"all", 0o7777), (b"none", 0)]:
        tar.regular(b"modes/" + name, name, mode)
    tar.directory(b"modes/setgid-dir", 0o2770, gid=50)
    tar.regular(b"modes/ids-octal", b"", uid=2097151, gid=2097151)
    tar.regular(b"modes/ids-binary", b"", uid=2097152, gid=3000000000)
    tar.regular(b"modes/ids-pax", b"", uid=4294967294, gid=4000000000, pax_ids=True)

    tar.directory(b"times", mtime=1_400_000_000, mtime_ns=1)
    for name, seconds, ns in [(b"epoch", 0, 0), (b"ns", 1_234_567_890, 123_456_789), (b"one-ns", 1, 1), (b"last-ns", 9, 999_999_999),
                              (b"after-2038", 2**31 + 5, 0), (b"year-2200", 7_258_118_400, 500_000_000)]:
        tar.regular(b"times/" + name, b"", mtime=seconds, mtime_ns=ns)
    tar.symlink(b"times/symlink-ns", b"x", mtime=77, mtime_ns=777)

    tar.directory(b"names")
    for name in STRANGE:
        tar.regular(b"names/" + name, b"name: " + name)
    for name in STRANGE:
        tar.regular(b"names/" + name[:200] + b"-gnu", name, gnu_names=True)

    tar.directory(b"xattrs", xattrs={b"user.dir": b"d", b"trusted.dir": b"t"})
    tar.regular(b"xattrs/plain", b"x", xattrs={b"user.a": b"1", b"user.b": bytes(range(256)), b"user.empty": b""})
    tar.regular(b"xattrs/large", b"x", xattrs={b"user.large": noise(2000), b"user." + b"k" * 250: b"long name"})
    tar.regular(b"xattrs/odd-names", b"x", xattrs={b"user.with space": b"v", b"user.caf\xc3\xa9": b"v", b"user.a.b.c": b"v"})
    tar.regular(b"xattrs/ping", b"\x7fELF", 0o755, xattrs={b"security.capability": CAPABILITY})
    tar.regular(b"xattrs/acl", b"x", 0o664, xattrs={b"system.posix_acl_access": ACL})
    tar.symlink(b"xattrs/symlink", b"plain", xattrs={b"security.on-symlink": b"s"})
    tar.device(b"xattrs/device", b"3", 1, 5, xattrs={b"security.on-device": b"v"})
    for i in range(40):  # the same values many times: shared xattrs
        tar.regular(b"xattrs/shared-%d" % i, b"", xattrs={b"user.shared": b"same value", b"security.n": b"%d" % (i % 3)})

    tar.directory(b"links")
    tar.regular(b"links/a", SHARED)
    tar.hard_link(b"links/b", b"links/a")
    tar.directory(b"links/sub")
    tar.hard_link(b"links/sub/c", b"links/a")
    tar.hard_link(b"links/chain", b"links/b")
    tar.regular(b"links/many", b"many names")
    for i in range(300):
        tar.hard_link(b"links/sub/many-%d" % i, b"links/many")
    tar.symlink(b"links/symlink", b"target")
    tar.hard_link(b"links/symlink-too", b"links/symlink", 0o777)
    tar.fifo(b"links/fifo")
    tar.hard_link(b"links/fifo-too", b"links/fifo", 0o600)
    tar.regular(b"links/replaced-1", b"one inode")
    tar.hard_link(b"links/replaced-2", b"links/replaced-1")
    tar.regular(b"links/removed-1", b"another inode")
    tar.hard_link(b"links/removed-2", b"links/removed-1")
    tar.regular(b"links/" + LONG[:240], b"long link target")
    tar.hard_link(b"links/to-long", b"links/" + LONG[:240])

    tar.directory(b"sparse")
    pieces = [(0, b"start"), (MIB, noise(4096)), (3 * MIB + 17, noise(777))]
    tar.sparse_01(b"sparse/three-pieces", 10 * MIB, pieces)
    tar.sparse_10(b"sparse/three-pieces-too", 10 * MIB, pieces)
    tar.sparse_10(b"sparse/many-pieces", 64 * MIB, [(i * MIB + 512, noise(512)) for i in range(60)])
    tar.sparse_10(b"sparse/only-a-hole", 2 * MIB + 1, [])
    tar.sparse_10(b"sparse/data-at-the-end-" + b"s" * 200, 5 * MIB, [(5 * MIB - 3, b"end")])

    tar.regular(b"implied/child", b"its directory has no entry")
    layer_below(tar)


def layer_below(tar):
    """What the layers above change."""
    tar.directory(b"change")
    for name in [b"file-to-dir", b"file-to-symlink", b"file-to-fifo", b"content", b"only-mode", b"same-name", b"gone-file"]:
        tar.regular(b"change/" + name, b"below: " + name)
    for name in [b"dir-to-file", b"dir-to-symlink", b"dir-symlink-dir", b"dir-gone-dir", b"gone-dir", b"opaque", b"opaque-late", b"merged",
                 b"opaque-empty"]:
        tar.directory(b"change/" + name, 0o750)
        tar.regular(b"change/" + name + b"/below", b"below")
        tar.directory(b"change/" + name + b"/sub")
        tar.regular(b"change/" + name + b"/sub/below", b"below")
    tar.symlink(b"change/symlink-to-dir", b"merged")
    tar.symlink(b"change/symlink-to-file", b"merged/below")
    tar.symlink(b"change/gone-symlink", b"merged")
    tar.device(b"change/device-to-file", b"3", 1, 3)


def layer_changes(tar):
    """Whiteouts, opaque directories, changed types, one of two hard links replaced."""
    tar.directory(b".", mtime=1_500_000_002)
    tar.directory(b"change", mtime=1_500_000_003)
    tar.directory(b"change/file-to-dir")
    tar.regular(b"change/file-to-dir/now", b"a directory")
    tar.symlink(b"change/file-to-symlink", b"content")
    tar.fifo(b"change/file-to-fifo")
    tar.regular(b"change/dir-to-file", b"a file now")
    tar.symlink(b"change/dir-to-symlink", b"merged")
    tar.symlink(b"change/dir-symlink-dir", b"merged")
    tar.directory(b"change/symlink-to-dir")
    tar.regular(b"change/symlink-to-dir/inside", b"not in merged")
    tar.regular(b"change/symlink-to-file", b"a file, the target is untouched")
    tar.regular(b"change/device-to-file", b"file")
    tar.regular(b"change/content", b"above: content")
    tar.regular(b"change/only-mode", b"below: only-mode", 0o4711, uid=7)
    for name in [b"gone-file", b"gone-dir", b"gone-symlink", b"dir-gone-dir", b"never-existed", b"same-name"]:
        tar.whiteout(b"change", name)
    tar.regular(b"change/same-name", b"removed below, new in the same layer")
    tar.directory(b"change/opaque", 0o700)
    tar.opaque(b"change/opaque")
    tar.regular(b"change/opaque/above", b"above")
    tar.directory(b"change/opaque-late", 0o711)
    tar.regular(b"change/opaque-late/above", b"written before the mark that empties the directory")
    tar.opaque(b"change/opaque-late")
    tar.directory(b"change/opaque-empty")
    tar.opaque(b"change/opaque-empty")
    tar.directory(b"change/merged", 0o701, uid=3, gid=4, mtime=1_500_000_004, xattrs={b"user.merged": b"above"})
    tar.regular(b"change/merged/above", b"above")
    tar.directory(b"change/merged/sub")
    tar.whiteout(b"change/merged/sub", b"below")
    tar.directory(b"links", mtime=1_500_000_005)
    tar.regular(b"links/replaced-1", b"no longer the same inode")
    tar.whiteout(b"links", b"removed-2")
    tar.directory(b"copies")
    tar.regular(b"copies/shared", SHARED)
    tar.regular(b"copies/big", BIG)


def layer_crowd(tar):
    """20,000 files in one directory, deep paths; names written with ./ in front."""
    tar.directory(b"", mtime=1_500_000_006)  # ./
    tar.directory(b"crowd", mtime=1_500_000_007)
    for i in range(20_000):
        tar.regular(b"crowd/%s-%05d" % (b"abcdefgh"[i % 8:], i), b"file %d\n" % i if i % 3 else b"", 0o600 + i % 64, uid=i % 7)
    tar.directory(b"change", mtime=1_500_000_008)
    tar.directory(b"change/dir-symlink-dir")
    tar.regular(b"change/dir-symlink-dir/third", b"neither the first directory nor the symlink's target")
    tar.directory(b"change/dir-gone-dir")
    tar.regular(b"change/dir-gone-dir/third", b"the old content stays gone")
    tar.directory(b"deep")
    path = b"deep"
    # containerd unpacks below a directory of its own: 3,850 of the 4,095 bytes are left to an image.
    while len(path) < 3_600:
        path += b"/" + b"d" * 200
        tar.directory(path)
    tar.regular(path + b"/" + b"f" * 200, b"bottom")
    tar.symlink(path + b"/up", b"../" * 18 + b"types/one")
    path = b"deep"
    for _ in range(300):
        path += b"/e"
        tar.directory(path)
    tar.regular(path + b"/bottom", b"300 directories down")


def layer_again(tar):
    """Not compressed: removes part of the crowd and changes what the layers below have changed."""
    tar.directory(b".", mtime=1_500_000_009)
    tar.directory(b"crowd", mtime=1_500_000_010)
    for i in range(0, 20_000, 40):
        tar.whiteout(b"crowd", b"%s-%05d" % (b"abcdefgh"[i % 8:], i))
    tar.directory(b"change", mtime=1_500_000_011)
    tar.directory(b"change/opaque", 0o705)
    tar.regular(b"change/opaque/again", b"merged into the opaque directory")
    tar.directory(b"change/gone-dir", 0o555)
    tar.whiteout(b"change", b"dir-to-file")
    tar.directory(b"copies", mtime=1_500_000_012)
    tar.regular(b"copies/shared-again", SHARED)
    tar.hard_link(b"copies/shared-link", b"copies/shared-again")


def layer_giant(tar, with_giant):
    tar.directory(b".", mtime=1_500_000_013)
    tar.directory(b"giant")
    tar.regular(b"giant/last", b"the last layer")
    if with_giant:
        tar.sparse_10(b"giant/sparse", GIANT, [(0, b"first"), (2 * (1 << 30) + 4096, noise(10_000)), (GIANT - 5, b"last\n")])


def compress(kind, data):
    if kind == "gzip":
        return gzip.compress(data, 6, mtime=0), "+gzip"
    if kind == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout, "+zstd"
    return data, ""


def write_layout(directory, layers):
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": "application/vnd.oci.image." + media_type, "digest": "sha256:" + digest, "size": len(data)}

    descriptors, diff_ids = [], []
    for kind, tar in layers:
        data, suffix = compress(kind, tar)
        diff_ids.append("sha256:" + hashlib.sha256(tar).hexdigest())
        descriptors.append(blob(data, "layer.v1.tar" + suffix))
    config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/none"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
              "history": [{"created_by": kind} for kind, _ in layers]}
    config_descriptor = blob(json.dumps(config).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config_descriptor,
                "layers": descriptors}
    entry = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-giant", action="store_true")
    parser.add_argument("--gnu-sparse", action="store_true")
    parser.add_argument("directory", type=pathlib.Path)
    options = parser.parse_args()

    def built(function, *args, prefix=b""):
        out = io.BytesIO()
        tar = RawTar(out, prefix, gnu_sparse=options.gnu_sparse)
        function(tar, *args)
        tar.close()
        return out.getvalue()

    write_layout(options.directory, [
        ("gzip", built(layer_types)),
        ("gzip", built(layer_changes)),
        ("zstd", built(layer_crowd, prefix=b"./")),
        ("none", built(layer_again)),
        ("gzip", built(layer_giant, not options.no_giant)),
    ])


main()
