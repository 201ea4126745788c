#!/usr/bin/env python3
"""The most memory that processes and their descendants had at one time.

    peak_memory.py PID...

Prints "looking", looks ten times a second, until SIGTERM; prints the greatest sum of anonymous resident bytes: heaps and stacks,
neither programs nor the page cache.
"""
import glob
import re
import signal
import sys
import time


def children(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path) as file:
                found += file.read().split()
        except OSError:
            pass  # ended
    return found


def anonymous_bytes(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status") as file:
                found = re.search(r"^RssAnon:\s*(\d+) kB", file.read(), re.MULTILINE)
        except OSError:
            continue
        total += (int(found[1]) << 10 if found else 0) + anonymous_bytes(children(pid))  # a zombie has none
    return total


def main():
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    peak = 0
    print("looking", flush=True)
    while not stopped:
        peak = max(peak, anonymous_bytes(sys.argv[1:]))
        time.sleep(0.1)
    print(peak)


if __name__ == "__main__":
    main()
