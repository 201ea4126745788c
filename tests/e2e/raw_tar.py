"""A tar writer that hides nothing: it emits exactly the dialect it is asked for (ustar, pax, GNU long names, GNU and pax
sparse files), so that a test decides which reader paths are taken. Standard library only."""

BLOCK = 512


def octal(value, width):
    """A numeric header field: octal text, or GNU base-256 when the value does not fit."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return b"\x80" + value.to_bytes(width - 1, "big")


def pax_record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def padded(data):
    return data + bytes(-len(data) % BLOCK)


class RawTar:
    """Writes entries to `out`. Defaults of every entry: root:root, whole-second mtime."""

    def __init__(self, out, prefix=b"", mtime=1_600_000_000, gnu_sparse=False):
        self.out, self.prefix, self.mtime, self.use_gnu_sparse = out, prefix, mtime, gnu_sparse

    def header(self, name, kind, mode=0o644, uid=0, gid=0, size=0, mtime=0, link=b"", dev=(0, 0), tail=b""):
        assert len(name) <= 100 and len(link) <= 100
        fields = [name.ljust(100, b"\0"), octal(mode, 8), octal(uid, 8), octal(gid, 8), octal(size, 12), octal(mtime, 12),
                  b" " * 8, kind, link.ljust(100, b"\0")]
        gnu = bool(tail)
        fields += [b"ustar  \0" if gnu else b"ustar\00000", bytes(64), octal(dev[0], 8), octal(dev[1], 8), tail]
        block = bytearray(b"".join(fields).ljust(BLOCK, b"\0"))
        block[148:156] = b"%06o\0 " % sum(block)
        self.out.write(block)

    def pax(self, records, kind=b"x"):
        data = b"".join(pax_record(k, v) for k, v in records.items())
        # containerd makes the parent directory of a global header's name; as git does, it gets a name without one.
        self.header(b"pax_global_header" if kind == b"g" else b"PaxHeaders/0", kind, size=len(data))
        self.out.write(padded(data))

    def gnu_long(self, kind, text):
        self.header(b"././@LongLink", kind, size=len(text) + 1)
        self.out.write(padded(text + b"\0"))

    def entry(self, name, kind, *, mode, uid=0, gid=0, mtime=None, mtime_ns=0, link=b"", dev=(0, 0), data=b"", xattrs=None,
              gnu_names=False, pax_ids=False, records=None, stored=None, tail=b""):
        """name: without the writer's prefix. stored: bytes after the header when they differ from `data` (sparse files)."""
        name, mtime = self.prefix + name, self.mtime if mtime is None else mtime
        stored = data if stored is None else stored
        records = dict(records or {})
        if mtime_ns:
            records[b"mtime"] = b"%d.%09d" % (mtime, mtime_ns)
        if pax_ids:
            records[b"uid"], records[b"gid"] = b"%d" % uid, b"%d" % gid
            uid = gid = 0
        for key, value in (xattrs or {}).items():
            records[b"SCHILY.xattr." + key] = value
        if gnu_names:
            self.gnu_long(b"L", name)
            if link:
                self.gnu_long(b"K", link)
        elif len(name) > 100 or len(link) > 100:
            records[b"path"] = name
            if link:
                records[b"linkpath"] = link
        if records:
            self.pax(records)
        self.header(name[:100], kind, mode, uid, gid, len(stored), mtime, link[:100], dev, tail)
        self.out.write(padded(stored))

    def directory(self, name, mode=0o755, **more):
        self.entry(name.rstrip(b"/") + b"/", b"5", mode=mode, **more)

    def regular(self, name, data=b"", mode=0o644, **more):
        self.entry(name, b"0", mode=mode, data=data, **more)

    def symlink(self, name, target, **more):
        self.entry(name, b"2", mode=0o777, link=target, **more)

    def hard_link(self, name, target, mode=0o644, **more):
        self.entry(name, b"1", mode=mode, link=self.prefix + target, **more)

    def device(self, name, kind, major, minor, mode=0o600, **more):
        self.entry(name, kind, mode=mode, dev=(major, minor), **more)

    def fifo(self, name, mode=0o600, **more):
        self.entry(name, b"6", mode=mode, **more)

    def whiteout(self, directory, name):
        self.regular(directory + b"/.wh." + name if directory else b".wh." + name)

    def opaque(self, directory):
        self.regular(directory + b"/.wh..wh..opq")

    # Sparse files. pieces: (offset, bytes), ascending. The two pax formats turn into the old one when the writer is told so.

    def sparse_gnu(self, name, size, pieces, mode=0o644):
        """Type S: four (offset, length) pairs in the header, 21 in each block that follows."""
        pairs = [octal(off, 12) + octal(len(data), 12) for off, data in pieces]
        pairs.append(octal(size, 12) + octal(0, 12))
        first, rest = pairs[:4], pairs[4:]
        tail = bytes(41) + b"".join(first).ljust(96, b"\0") + (b"\1" if rest else b"\0") + octal(size, 12)
        stored = b"".join(data for _, data in pieces)
        name = self.prefix + name
        if len(name) > 100:
            self.gnu_long(b"L", name)
        self.header(name[:100], b"S", mode, size=len(stored), mtime=self.mtime, tail=tail)
        while rest:
            chunk, rest = rest[:21], rest[21:]
            self.out.write((b"".join(chunk).ljust(504, b"\0") + (b"\1" if rest else b"\0")).ljust(BLOCK, b"\0"))
        self.out.write(padded(stored))

    def sparse_01(self, name, size, pieces, mode=0o644):
        """pax 0.1: the map is a pax record."""
        if self.use_gnu_sparse:
            return self.sparse_gnu(name, size, pieces, mode)
        numbers = b",".join(b"%d,%d" % (off, len(data)) for off, data in pieces)
        records = {b"GNU.sparse.size": b"%d" % size, b"GNU.sparse.numblocks": b"%d" % len(pieces),
                   b"GNU.sparse.name": self.prefix + name, b"GNU.sparse.map": numbers}
        self.entry(b"GNUSparseFile.0/x", b"0", mode=mode, records=records, stored=b"".join(data for _, data in pieces))

    def sparse_10(self, name, size, pieces, mode=0o644):
        """pax 1.0: the map is in front of the data."""
        if self.use_gnu_sparse:
            return self.sparse_gnu(name, size, pieces, mode)
        numbers = [len(pieces)] + [n for off, data in pieces for n in (off, len(data))]
        table = padded(b"".join(b"%d\n" % n for n in numbers))
        records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": self.prefix + name,
                   b"GNU.sparse.realsize": b"%d" % size}
        self.entry(b"GNUSparseFile.0/y", b"0", mode=mode, records=records,
                   stored=table + b"".join(data for _, data in pieces))

    def close(self):
        self.out.write(bytes(2 * BLOCK))
