#!/usr/bin/env python3
"""Reads random files below ROOT for SECONDS and compares each with what tree-dump.py said of it.

    verify-reader.py ROOT DUMP SECONDS SEED

Drops each file from the page cache afterwards, so that the next read goes through the door again. Prints one JSON object:
reads, wrong, failed."""

import hashlib
import json
import os
import random
import sys
import time

root, dump, seconds, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
random.seed(seed)
with open(dump) as lines:
    files = [entry for entry in map(json.loads, lines) if entry.get("content") and 0 < entry["size"] < 4 << 20]
counts = {"reads": 0, "wrong": 0, "failed": 0}
end = time.monotonic() + seconds
while time.monotonic() < end:
    entry = random.choice(files)
    path = os.path.join(os.fsencode(root), os.fsencode(entry["path"]))
    try:
        with open(path, "rb") as file:
            content = file.read()
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        print(f"{entry['path']}: {error}", file=sys.stderr)
        counts["failed"] += 1
        continue
    counts["reads"] += 1
    if hashlib.sha256(content).hexdigest() not in entry["content"]:
        print(f"{entry['path']}: wrong content", file=sys.stderr)
        counts["wrong"] += 1
print(json.dumps(counts))
