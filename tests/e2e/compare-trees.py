#!/usr/bin/env python3
"""Compares two outputs of tree-dump.py; prints each difference; exit status 1 when there is one.

    compare-trees.py [--whole-seconds] [--excuse PATH]... EXPECTED ACTUAL

--whole-seconds   compare mtime in seconds: the eStargz table of contents has no more
--excuse PATH     the mtime of PATH may differ (a directory that no layer states)"""

import argparse
import json
import sys

SHOWN = 50


def load(file):
    with open(file) as lines:
        return {line["path"]: line for line in map(json.loads, lines)}


def differences(path, a, b, options):
    for field in sorted(set(a) | set(b)):
        left, right = a.get(field), b.get(field)
        if field == "mtime_ns" and options.whole_seconds:
            left, right = left // 10**9, right // 10**9
        if left == right or (field == "mtime_ns" and path in options.excuse):
            continue
        # overlayfs reports 1 for every merged directory; a count is compared where both sides count.
        if field == "nlink" and a["type"] == "dir" and 1 in (left, right):
            continue
        yield f"{path}: {field}: expected {left}, is {right}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--whole-seconds", action="store_true")
    parser.add_argument("--excuse", action="append", default=[])
    parser.add_argument("expected")
    parser.add_argument("actual")
    options = parser.parse_args()
    expected, actual = load(options.expected), load(options.actual)
    found = [f"{path}: missing" for path in expected if path not in actual]
    found += [f"{path}: not expected" for path in actual if path not in expected]
    for path in expected:
        if path in actual:
            found += differences(path, expected[path], actual[path], options)
    for line in found[:SHOWN]:
        print(line)
    if len(found) > SHOWN:
        print(f"... and {len(found) - SHOWN} more")
    print(f"{len(expected)} names compared, {len(found)} differences")
    sys.exit(1 if found else 0)


main()
