#!/usr/bin/env python3
"""dedup_oracle_test.py DEDUP_ORACLE: counts two versions whose pieces are known by heart."""
import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile

A, B, C = b"a" * 4096, b"b" * 4096, b"c" * 100


def write_layout(folder, layers):
    """An OCI layout of these gzip blobs; bytes of each."""
    os.makedirs(f"{folder}/blobs/sha256")

    def blob(content):
        digest = hashlib.sha256(content).hexdigest()
        with open(f"{folder}/blobs/sha256/{digest}", "wb") as file:
            file.write(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    manifest = json.dumps({"schemaVersion": 2, "layers": [blob(layer) for layer in layers]}).encode()
    with open(f"{folder}/index.json", "w") as file:
        json.dump({"manifests": [blob(manifest)]}, file)


def layer(**files):
    """A gzip tar; a hard link of the last file and an empty file must count for nothing."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in {**files, "empty": b""}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        entry = tarfile.TarInfo("again")
        entry.type, entry.linkname = tarfile.LNKTYPE, name
        tar.addfile(entry)
    return gzip.compress(out.getvalue(), mtime=0)


def estargz(content):
    """One file of one chunk: the chunk's member, the table of contents, the footer."""
    chunk, digest = gzip.compress(content, mtime=0), "sha256:" + hashlib.sha256(content).hexdigest()
    toc = json.dumps({"version": 1, "entries": [{"name": "f", "type": "reg", "size": len(content), "offset": 0, "digest": digest,
                                                 "chunkDigest": digest}]}).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo("stargz.index.json")
        entry.size = len(toc)
        tar.addfile(entry, io.BytesIO(toc))
    footer = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0" + b"%016xSTARGZ" % len(chunk) + b"\x01\0\0\xff\xff" + b"\0" * 8
    return chunk + gzip.compress(out.getvalue(), mtime=0) + footer, len(chunk)


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        shared, changed, new = layer(x=A + B, y=A + B), layer(z=A + C), layer(z=B)
        (first, first_wire), (second, second_wire) = estargz(A + B), estargz(A + C)
        write_layout(f"{folder}/v1/plain", [shared, changed])
        write_layout(f"{folder}/v1/estargz", [first])
        write_layout(f"{folder}/v2/plain", [shared, new])
        write_layout(f"{folder}/v2/estargz", [first, second])
        output = subprocess.run([program, f"{folder}/v1", f"{folder}/v2"], check=True, capture_output=True).stdout
        v1, v2 = ({row.pop("method"): list(row[name] for name in ("bytes", "disk_bytes", "wire_bytes")) for row in step}
                  for step in json.loads(output))
    wire = [len(blob) for blob in (shared, changed, new)]
    files = [8192 + 4196, 8192 + 8192, None]
    assert v1 == {"none": [2 * 8192 + 4196, 3 * 8192, wire[0] + wire[1]], "layer": [2 * 8192 + 4196, 3 * 8192, wire[0] + wire[1]],
                  "file": files, "4 KiB": [8192 + 100, 3 * 4096, None], "64 KiB": files, "1024 KiB": files, "4096 KiB": files,
                  "estargz": [8192, 8192, first_wire]}, v1
    more = [files[0] + 4096, files[1] + 4096, None]
    assert v2 == {"none": [v1["none"][0] + 2 * 8192 + 4096, v1["none"][1] + 2 * 8192 + 4096, v1["none"][2] + wire[0] + wire[2]],
                  "layer": [v1["none"][0] + 4096, v1["none"][1] + 4096, sum(wire)], "file": more, "4 KiB": v1["4 KiB"], "64 KiB": more,
                  "1024 KiB": more, "4096 KiB": more, "estargz": [8192 + 4196, 2 * 8192, first_wire + second_wire]}, v2
    failed = subprocess.run([program, "/no/such/version"], capture_output=True, text=True)
    assert failed.returncode == 1 and "/no/such/version" in failed.stderr, failed


if __name__ == "__main__":
    main(sys.argv[1])
