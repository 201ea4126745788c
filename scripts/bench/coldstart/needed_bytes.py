#!/usr/bin/env python3
"""How many compressed bytes of an eStargz image hold the ranges that a profile names.

    needed_bytes.py LAYOUT PROFILE [LAYOUT PROFILE]

LAYOUT is an OCI layout directory, PROFILE what `dedupctl profile show --json` prints. A chunk is needed whole, as it can be
verified no other way; tables of contents and the manifest are not counted. With a second image, whose profile a node has run: chunks
that it does not have from there.
"""
import io
import json
import os
import sys
import tarfile
import zlib

FOOTER_BYTES = 51  # a gzip header whose extra field begins with the TOC's offset in 16 hex digits, at byte 16


def plain(name):
    """A path in the image without the ways tar may begin it."""
    return name.removeprefix("./").strip("/")


class Layer:
    def __init__(self, path):
        with open(path, "rb") as file:
            file.seek(-FOOTER_BYTES, os.SEEK_END)
            toc_offset = int(file.read()[16:32], 16)
            file.seek(toc_offset)
            toc = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(file.read())
        with tarfile.open(fileobj=io.BytesIO(toc)) as tar:
            entries = json.load(tar.extractfile("stargz.index.json"))["entries"]
        self.chunks, self.links, self.needed = {}, {}, {}
        sizes = {}
        for entry in entries:
            name = plain(entry["name"])
            if entry["type"] == "hardlink":
                self.links[name] = plain(entry["linkName"])
            if entry["type"] == "reg":
                sizes[name] = entry.get("size", 0)
            if entry["type"] in ("reg", "chunk") and sizes.get(name):
                begin = entry.get("chunkOffset", 0)
                length = entry.get("chunkSize", 0) or sizes[name] - begin
                self.chunks.setdefault(name, []).append(
                    (begin, begin + length, entry.get("offset", 0), entry.get("chunkDigest")))
        offsets = sorted({chunk[2] for file in self.chunks.values() for chunk in file} | {toc_offset})
        self.compressed = {begin: end - begin for begin, end in zip(offsets, offsets[1:])}

    def need(self, path, begin, end):
        name = path.strip("/")
        chunks = self.chunks.get(self.links.get(name, name), [])
        self.needed.update({offset: digest for first, last, offset, digest in chunks if first < end and begin < last})
        return bool(chunks)


def blob(layout, digest):
    return os.path.join(layout, "blobs", digest.replace(":", "/"))


def needed_chunks(layout, profile):
    """[(digest, compressed bytes)]"""
    with open(os.path.join(layout, "index.json")) as file:
        manifest = json.load(file)["manifests"][0]["digest"]
    with open(blob(layout, manifest)) as file:
        layers = {layer["digest"]: Layer(blob(layout, layer["digest"])) for layer in json.load(file)["layers"]}
    with open(profile) as file:
        entries = json.load(file)["entries"]
    for entry in entries:
        begin = entry.get("offset", 0)
        end = begin + entry["length"] if "length" in entry else 1 << 62
        if not layers[entry["layer"]].need(entry["path"], begin, end):
            sys.exit(f"needed_bytes.py: layer {entry['layer']} has no {entry['path']}")
    return [(digest, layer.compressed[offset]) for layer in layers.values() for offset, digest in layer.needed.items()]


def main():
    known = {digest for digest, _ in needed_chunks(*sys.argv[3:5])} if len(sys.argv) > 3 else set()
    print(sum(length for digest, length in needed_chunks(*sys.argv[1:3]) if digest not in known))


if __name__ == "__main__":
    main()
