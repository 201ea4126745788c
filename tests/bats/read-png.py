#!/usr/bin/env python3
"""read-png.py FILE: the size of an 8-bit PNG without interlacing and its ten most frequent colours, as JSON."""
import collections
import json
import struct
import sys
import zlib

data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
at, packed = 8, b""
while at < len(data):
    length, kind = struct.unpack(">I4s", data[at : at + 8])
    body = data[at + 8 : at + 8 + length]
    if kind == b"IHDR":
        width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", body)
        assert depth == 8 and color in (2, 6) and not interlaced
    elif kind == b"IDAT":
        packed += body
    at += length + 12
step = 3 if color == 2 else 4
raw, before = zlib.decompress(packed), bytearray(width * step)
counts = collections.Counter()
for row in range(height):
    begin = row * (width * step + 1)
    method, line = raw[begin], bytearray(raw[begin + 1 : begin + 1 + width * step])
    for i in range(len(line)):
        left, up, corner = (line[i - step] if i >= step else 0), before[i], (before[i - step] if i >= step else 0)
        if method == 1:
            line[i] = (line[i] + left) & 255
        elif method == 2:
            line[i] = (line[i] + up) & 255
        elif method == 3:
            line[i] = (line[i] + (left + up) // 2) & 255
        elif method == 4:
            guess = left + up - corner
            line[i] = (line[i] + min((left, up, corner), key=lambda near: abs(guess - near))) & 255
    counts.update(bytes(line[i : i + 3]).hex() for i in range(0, len(line), step))
    before = line
print(json.dumps({"width": width, "height": height, "colors": dict(counts.most_common(10))}))
