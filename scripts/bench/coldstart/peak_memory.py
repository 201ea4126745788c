#!/usr/bin/env python3
"""The most memory that processes and their descendants had at one time.

    peak_memory.py PID...

Looks ten times a second, until SIGTERM; prints the greatest sum of resident bytes. What several processes share counts for each.
"""
import glob
import os
import signal
import sys
import time

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def children(pid):
    found = []
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path) as file:
                found += file.read().split()
        except OSError:
            pass  # ended
    return found


def resident_bytes(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * PAGE_BYTES
        except OSError:
            continue
        total += resident_bytes(children(pid))
    return total


def main():
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    peak = 0
    while not stopped:
        peak = max(peak, resident_bytes(sys.argv[1:]))
        time.sleep(0.1)
    print(peak)


if __name__ == "__main__":
    main()
