#!/usr/bin/env python3
"""How long after the SIGKILL of dedupd's worker the first read of missing bytes is answered.

    first_read.py --files N --bytes SIZE --chunk SIZE [--seed N] [--kills N] KEEPER-PID MNT

One reader reads one missing chunk after the other of an estargz-blob.py image on MNT, from a moment before each kill until the next
worker has answered. Prints one JSON object: milliseconds from each kill to the end of the first read that the next worker answered.
"""
import argparse
import json
import os
import select
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../tests/e2e"))
import blob_files  # noqa: E402

LIVES_S = 3.5  # between kills: more than three in 10 s are a crash loop, after which the keeper waits
ACTIVE_S = 0.2  # the reader reads so long before a kill
NOT_YET_S = 0.002  # a read that ended so soon after the death had its answer before


class Reader(threading.Thread):
    def __init__(self, options):
        super().__init__(daemon=True)
        self.options, self.ends, self.wrong, self.active = options, [0.0], 0, threading.Event()

    def run(self):
        options = self.options
        for number in range(options.files):
            path = os.path.join(options.mount, blob_files.file_name(number))
            with open(path, "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                for offset in range(0, options.bytes, options.chunk):
                    self.active.wait()
                    data = os.pread(file.fileno(), 4096, offset)
                    self.ends.append(time.monotonic())
                    self.wrong += data != blob_files.content(options.seed, number, offset, 4096)


def worker_of(keeper):
    with open(f"/proc/{keeper}/task/{keeper}/children") as file:
        for child in file.read().split():
            with open(f"/proc/{child}/comm") as comm:
                if comm.read().strip() not in ("dedupd-witness", "dedupd-keeper"):
                    return int(child)
    return None


def kill(pid):
    """Time of the kill, and of the death."""
    watch = os.pidfd_open(pid)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    select.select([watch], [], [])
    died = time.monotonic()
    os.close(watch)
    return killed, died


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--chunk", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("keeper", type=int)
    parser.add_argument("mount")
    options = parser.parse_args()
    reader = Reader(options)
    reader.start()
    times_ms = []
    for _ in range(options.kills):
        time.sleep(LIVES_S)
        reader.active.set()
        time.sleep(ACTIVE_S)
        killed, died = kill(worker_of(options.keeper))
        while reader.ends[-1] < died + NOT_YET_S:
            if not reader.is_alive():
                sys.exit("first_read.py: the image is too small, or a read failed")
            time.sleep(0.0005)
        reader.active.clear()
        first = next(end for end in reader.ends if end >= died + NOT_YET_S)
        times_ms.append(round((first - killed) * 1000, 1))
    print(json.dumps({"milliseconds": times_ms, "reads": len(reader.ends), "wrong": reader.wrong}))


if __name__ == "__main__":
    main()
