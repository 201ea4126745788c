#!/usr/bin/env python3
"""Writes an OCI layout directory with one image of one layer: eStargz, gzip or plain tar, made from deterministic files.

    estargz-blob.py [--form estargz|gzip|tar] [--files N] [--bytes SIZE] [--chunk SIZE] [--seed N] [--tag TAG] [--lie LIE]
                    [--program FILE] [--landmark N] [--copies N] LAYOUT

Names and content of the files: blob_files.py. Prints one JSON object: manifest, layer, diff_id, blob_bytes, toc_digest.

A LIE is one defect; the digests of everything above it are correct unless the lie is about a digest. LIES names them all.
"""
import argparse
import hashlib
import json
import os
import tarfile
import zlib

from blob_files import content, file_name

MIB = 1 << 20
MTIME = 1700000000
RFC_MTIME = "2023-11-14T22:13:20Z"
TYPES = {tarfile.REGTYPE: "reg", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink"}

# Entries a layer has on top of its files: (tar type, name, link target, content).
REG, DIR, SYM, LNK = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
EXTRA = {
    "traversal": [(REG, "../../outside", "", b"out")],
    "traversal-inside": [(REG, "d000/../../outside", "", b"out")],
    "hardlink-nothing": [(LNK, "d000/link", "d000/absent", b"")],
    "hardlink-traversal": [(LNK, "d000/link", "../../../etc/passwd", b"")],
    "through-symlink": [(SYM, "out", "/etc", b""), (REG, "out/passwd", "", b"out")],
    "long-path": [(REG, "/".join(["x" * 250] * 17), "", b"far")],
    "long-name": [(REG, "y" * 256, "", b"long")],
    "file-as-directory": [(REG, "d000/f00000/below", "", b"below")],
    # Legal: the root's own names, and a later entry that replaces an earlier one.
    "absolute": [(REG, "/absolute", "", b"absolute")],
    "duplicate": [(REG, "twice", "", b"first"), (REG, "twice", "", b"second")],
}
BLOB_LIES = ("layer-digest", "diff-id", "truncated", "corrupt", "trailing-garbage", "bomb", "bomb-padding")
TOC_LIES = ("toc-digest", "toc-json", "toc-type", "footer", "chunk-digest", "offset-outside", "offset-shifted", "offset-shared",
            "size-larger", "size-huge", "chunk-gap", "no-digest")
LIES = tuple(EXTRA) + BLOB_LIES + TOC_LIES


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Blob:
    """A file of gzip members (or of plain bytes), with the digests of what is stored and of what it decompresses to."""

    def __init__(self, path, compressed):
        self.file = open(path, "wb")
        self.compressed = compressed
        self.offset = 0
        self.digest, self.diff_id = hashlib.sha256(), hashlib.sha256()
        self.member = None

    def _store(self, data):
        self.file.write(data)
        self.digest.update(data)
        self.offset += len(data)

    def add(self, data):
        self.diff_id.update(data)
        if not self.compressed:
            self._store(data)
            return
        if self.member is None:
            self.member = zlib.compressobj(1, zlib.DEFLATED, 31)
        self._store(self.member.compress(data))

    def end_member(self):
        if self.member is not None:
            self._store(self.member.flush())
            self.member = None
        return self.offset

    def raw(self, data):
        self.end_member()
        self._store(data)


def mode_of(kind, name):
    return 0o755 if kind == DIR or name == "program" else 0o644


def header(kind, name, link, size):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mtime = kind, link, size, MTIME
    info.mode = mode_of(kind, name)
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size):
    return b"\0" * (-size % 512)


def layer_entries(options):
    """(type, name, link, size, function(offset, length) -> bytes)"""
    for number in range(options.files):
        if number % 1000 == 0:
            yield DIR, os.path.dirname(file_name(number)), "", 0, None
        yield (REG, file_name(number), "", options.bytes,
               lambda offset, length, n=number: content(options.seed, n, offset, length))
    if options.program:
        with open(options.program, "rb") as file:
            text = file.read()
        yield REG, "program", "", len(text), lambda offset, length: text[offset:offset + length]
    if options.lie == "bomb":
        yield REG, "bomb", "", options.bomb, lambda offset, length: bytes(length)
    for kind, name, link, data in EXTRA.get(options.lie, ()):
        yield kind, name, link, len(data), lambda offset, length, d=data: d[offset:offset + length]


def write_layer(blob, options):
    """Returns the TOC entries (used for eStargz only)."""
    toc = []
    estargz = options.form == "estargz"
    entries = list(layer_entries(options))
    if estargz:
        name = ".prefetch.landmark" if options.landmark else ".no.prefetch.landmark"
        files = [at for at, entry in enumerate(entries) if entry[0] == REG]
        entries.insert(files[options.landmark] if options.landmark else 0, (REG, name, "", 1, lambda offset, length: b"\x0f"))
    for kind, name, link, size, read in entries:
        blob.add(header(kind, name, link, size))
        entry = {"name": name + "/" * (kind == DIR), "type": TYPES[kind], "modtime": RFC_MTIME, "mode": mode_of(kind, name)}
        if link:
            entry["linkName"] = link
        if size:
            entry["size"] = size
        toc.append(entry)
        whole = hashlib.sha256()
        for offset in range(0, size, options.chunk):
            data = read(offset, min(options.chunk, size - offset))
            if estargz:
                if offset:
                    entry = {"name": name, "type": "chunk", "chunkOffset": offset}
                    toc.append(entry)
                entry.update(offset=blob.end_member(), chunkDigest=sha256(data))
                if size > options.chunk:
                    entry["chunkSize"] = len(data)
                whole.update(data)
            blob.add(data)
        if size and estargz:
            first = next(e for e in reversed(toc) if e["type"] == "reg")
            first["digest"] = "sha256:" + whole.hexdigest()
        blob.add(padding(size))
    return toc


def lie_in_toc(toc, lie, blob_bytes):
    files = [e for e in toc if e["type"] == "reg" and e["name"].startswith("d")]
    victim = files[len(files) // 2]
    if lie == "chunk-digest":
        victim["chunkDigest"] = sha256(b"a lie")
        victim.pop("digest")
    elif lie == "offset-outside":
        victim["offset"] = blob_bytes + MIB
    elif lie == "offset-shifted":
        victim["offset"] += 7
    elif lie == "offset-shared":
        victim["offset"] = files[0]["offset"]
    elif lie == "size-larger":
        victim["size"] += 4096
        victim["chunkSize"] = victim["size"] - 4096
    elif lie == "size-huge":
        victim["size"] = victim["chunkSize"] = 1 << 62
    elif lie == "chunk-gap":
        victim["chunkOffset"] = 4096
    elif lie == "no-digest":
        victim.pop("chunkDigest")
        victim.pop("digest")
    elif lie == "toc-type":
        victim["type"] = "wormhole"


def write_toc(blob, toc, options):
    """TOC member and footer; returns the digest the annotation gets."""
    at = blob.end_member()
    lie_in_toc(toc, options.lie, at)
    text = json.dumps({"version": 1, "entries": toc}, separators=(",", ":")).encode()
    if options.lie == "toc-json":
        text = text[:len(text) // 2]
    blob.add(header(REG, "stargz.index.json", "", len(text)) + text + padding(len(text)) + b"\0" * 1024)
    blob.end_member()
    place = b"%016xSTARGZ" % (at if options.lie != "footer" else 1 << 50)
    blob.raw(b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + b"\x1a\0SG\x16\0" + place + b"\x01\0\0\xff\xff" + b"\0" * 8)
    return sha256(text if options.lie != "toc-digest" else b"a lie")


def damage(path, lie):
    """Changes the finished blob; returns its bytes' digest, or None when the old digest is to stay (the lie)."""
    with open(path, "rb") as file:
        data = bytearray(file.read())
    if lie == "truncated":
        del data[len(data) * 2 // 3:]
    elif lie == "trailing-garbage":
        data += b"garbage after the last member" * 40
    elif lie == "layer-digest":
        data[4] ^= 1  # the gzip header's mtime: all but the digest stays true
    else:
        data[len(data) // 2] ^= 0x40
    with open(path, "wb") as file:
        file.write(data)
    return None if lie == "layer-digest" else sha256(data)


def write_blob(directory, data):
    digest = sha256(data)
    with open(os.path.join(directory, digest[7:]), "wb") as file:
        file.write(data)
    return digest


def write_layout(options):
    blobs = os.path.join(options.layout, "blobs", "sha256")
    os.makedirs(blobs, exist_ok=True)
    temporary = os.path.join(blobs, "new")
    blob = Blob(temporary, options.form != "tar")
    toc = write_layer(blob, options)
    annotations = {}
    if options.form == "estargz":
        annotations["containerd.io/snapshot/stargz/toc.digest"] = write_toc(blob, toc, options)
    else:
        for _ in range(options.bomb // MIB if options.lie == "bomb-padding" else 0):
            blob.add(bytes(MIB))
        blob.add(b"\0" * 1024)
        blob.end_member()
    blob.file.close()
    layer, diff_id = "sha256:" + blob.digest.hexdigest(), "sha256:" + blob.diff_id.hexdigest()
    if options.lie in ("layer-digest", "truncated", "corrupt", "trailing-garbage"):
        layer = damage(temporary, options.lie) or layer
    if options.lie == "diff-id":
        diff_id = sha256(b"a lie")
    blob_bytes = os.path.getsize(temporary)
    os.rename(temporary, os.path.join(blobs, layer[7:]))

    config = json.dumps({"architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
                         "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).encode()
    media = "application/vnd.oci.image.layer.v1.tar" + ("" if options.form == "tar" else "+gzip")
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": write_blob(blobs, config), "size": len(config)},
        "layers": [{"mediaType": media, "digest": layer, "size": blob_bytes, "annotations": annotations}]}).encode()
    descriptor = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": write_blob(blobs, manifest),
                  "size": len(manifest), "annotations": {"org.opencontainers.image.ref.name": options.tag}}
    with open(os.path.join(options.layout, "oci-layout"), "w") as file:
        json.dump({"imageLayoutVersion": "1.0.0"}, file)
    with open(os.path.join(options.layout, "index.json"), "w") as file:
        json.dump({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [descriptor]}, file)
    return {"manifest": descriptor["digest"], "layer": layer, "diff_id": diff_id, "blob_bytes": blob_bytes,
            "toc_digest": annotations.get("containerd.io/snapshot/stargz/toc.digest", "")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--form", choices=("estargz", "gzip", "tar"), default="estargz")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--bytes", type=int, default=100_000, help="of each file")
    parser.add_argument("--chunk", type=int, default=4 * MIB)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tag", default="latest")
    parser.add_argument("--bomb", type=int, default=256 * MIB, help="zeros of the bombs: in a file, or after the last entry")
    parser.add_argument("--lie", choices=LIES, metavar="LIE", help=", ".join(LIES))
    parser.add_argument("--program", help="its content becomes the file `program`, executable")
    parser.add_argument("--landmark", type=int, default=0, help="so many files lie before the prefetch landmark; 0: there is none")
    parser.add_argument("--copies", type=int, help="as many layouts LAYOUT0, LAYOUT1 ..., seeds counting up, one line for each")
    parser.add_argument("layout")
    options = parser.parse_args()
    if options.copies is None:
        print(json.dumps(write_layout(options)))
        return
    layout, seed = options.layout, options.seed
    for copy in range(options.copies):
        options.layout, options.seed = f"{layout}{copy}", seed + copy
        print(json.dumps(write_layout(options)))


if __name__ == "__main__":
    main()
