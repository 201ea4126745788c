#!/usr/bin/env python3
"""Verifying readers on mounts of estargz-blob.py images, while the workers below the given keepers are killed at random moments.

    read-under-kills.py --files N --bytes SIZE [--seed N] [--readers N] [--kills N] [--slow N] KEEPER:MNT...

The readers are split over the mounts. Ends with "kills=N reads=N wrong=N failed=N stuck=N"; exit status 1 unless the last three
are 0. A reader is stuck when one read takes longer than STUCK_S.
"""
import argparse
import importlib.util
import multiprocessing
import os
import random
import signal
import sys
import threading
import time

STUCK_S = 30
LONGEST_READ = 128 << 10
READS, WRONG, FAILED, STARTED = range(4)  # counters of a reader; STARTED: ms of time.monotonic, 0 between reads
COUNTERS = 4


def blob_content():
    spec = importlib.util.spec_from_file_location("estargz_blob", os.path.join(os.path.dirname(os.path.abspath(__file__)), "estargz-blob.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_until(stop, board, at, mount, options, seed):
    blob = blob_content()
    choose = random.Random(seed)
    while not stop.is_set():
        number = choose.randrange(options.files)
        offset = choose.randrange(options.bytes)
        length = min(choose.randint(1, LONGEST_READ), options.bytes - offset)
        board[at + STARTED] = int(time.monotonic() * 1000)
        try:
            with open(os.path.join(mount, blob.file_name(number)), "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                data = os.pread(file.fileno(), length, offset)
                os.posix_fadvise(file.fileno(), offset, length, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            board[at + FAILED] += 1
            print(f"{mount}: file {number}, {length} bytes at {offset}: {error}", file=sys.stderr)
            data = None
        board[at + STARTED] = 0
        if data is not None and data != blob.content(options.seed, number, offset, length):
            board[at + WRONG] += 1
            print(f"{mount}: file {number}, {length} bytes at {offset}: wrong ({len(data)} read)", file=sys.stderr)
        board[at + READS] += 1


def worker_of(keeper):
    """pid, start time; None while there is none."""
    try:
        with open(f"/proc/{keeper}/task/{keeper}/children") as file:
            pids = file.read().split()
        with open(f"/proc/{pids[0]}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] == "Z" else (int(pids[0]), fields[19])
    except (IndexError, OSError):
        return None


def kill_workers(keeper, kills, done, slow):
    """SIGKILL at random moments: often right after its start, else when it has served for a while."""
    choose = random.Random(keeper)
    killed = None
    while done[keeper] < kills:
        worker = worker_of(keeper)
        if worker is None or worker == killed:
            time.sleep(0.005)
            continue
        time.sleep(choose.choice((0.05, 0.5, 1.0)) * choose.random() * slow)
        if worker_of(keeper) == worker:
            os.kill(worker[0], signal.SIGKILL)
            killed = worker
            done[keeper] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", type=int, default=16)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--slow", type=float, default=1, help="workers live so many times longer: for an emulated machine")
    parser.add_argument("keepers", nargs="+", metavar="KEEPER:MNT")
    options = parser.parse_args()
    rigs = [(int(keeper), mount) for keeper, _, mount in (rig.partition(":") for rig in options.keepers)]

    board = multiprocessing.Array("Q", options.readers * COUNTERS, lock=False)
    stop = multiprocessing.Event()
    readers = [multiprocessing.Process(target=read_until, daemon=True,
                                       args=(stop, board, i * COUNTERS, rigs[i % len(rigs)][1], options, i)) for i in range(options.readers)]
    for reader in readers:
        reader.start()
    time.sleep(0.5)
    done = {keeper: 0 for keeper, _ in rigs}
    killers = [threading.Thread(target=kill_workers, daemon=True,
                                args=(keeper, options.kills // len(rigs) + (i < options.kills % len(rigs)), done, options.slow))
               for i, (keeper, _) in enumerate(rigs)]
    for killer in killers:
        killer.start()

    def stuck():
        now = int(time.monotonic() * 1000)
        return sum(1 for i in range(options.readers) if (t := board[i * COUNTERS + STARTED]) and now - t > STUCK_S * 1000)

    worst_stuck = 0
    while any(killer.is_alive() for killer in killers) and worst_stuck == 0:
        time.sleep(0.25)
        worst_stuck = stuck()
    # What is in flight when the last worker dies has to end, too.
    stop.set()
    deadline = time.monotonic() + STUCK_S
    for reader in readers:
        reader.join(max(0, deadline - time.monotonic()))
    worst_stuck = max(worst_stuck, sum(reader.is_alive() for reader in readers))
    total = [sum(board[i] for i in range(counter, len(board), COUNTERS)) for counter in (READS, WRONG, FAILED)]
    crashed = sum(reader.exitcode not in (0, None) for reader in readers)
    print(f"kills={sum(done.values())} reads={total[0]} wrong={total[1]} failed={total[2] + crashed} stuck={worst_stuck}", flush=True)
    failed = total[1] or total[2] or crashed or worst_stuck or total[0] == 0
    os._exit(1 if failed else 0)  # stuck children cannot be joined


if __name__ == "__main__":
    main()
