#!/usr/bin/env python3
"""Verifying readers on mounts of estargz-blob.py images, while the workers below the given keepers are killed at random moments.

    read-under-kills.py --files N --bytes SIZE [--seed N] [--readers N] [--kills N] [--slow N] [--victims WHO] [--until FILE] KEEPER:MNT...

KEEPER is a pid, or a file with a pid that somebody keeps up to date. WHO: "worker", "keeper" (with its worker; the witness lives) or
"all" (the witness, too). With --until nobody is killed here: the readers go on until FILE exists. The readers are split over the
mounts. Ends with "kills=N reads=N wrong=N failed=N stuck=N"; exit status 1 unless the last three are 0. A reader is stuck when one
read takes longer than STUCK_S (times --slow). With --victims all readers may be killed by the guard: they are started again and counted as
"guarded=N".
"""
import argparse
import multiprocessing
import os
import random
import signal
import sys
import threading
import time

import blob_files

STUCK_S = 30
LONGEST_READ = 128 << 10
READS, WRONG, FAILED, STARTED = range(4)  # counters of a reader; STARTED: ms of time.monotonic, 0 between reads
COUNTERS = 4


def read_until(stop, board, at, mount, options, seed):
    choose = random.Random(seed)
    while not stop.is_set():
        number = choose.randrange(options.files)
        offset = choose.randrange(options.bytes)
        length = min(choose.randint(1, LONGEST_READ), options.bytes - offset)
        board[at + STARTED] = int(time.monotonic() * 1000)
        try:
            with open(os.path.join(mount, blob_files.file_name(number)), "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                data = os.pread(file.fileno(), length, offset)
                os.posix_fadvise(file.fileno(), offset, length, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            board[at + FAILED] += 1
            print(f"{mount}: file {number}, {length} bytes at {offset}: {error}", file=sys.stderr)
            data = None
        board[at + STARTED] = 0
        expected = blob_files.content(options.seed, number, offset, length)
        if data is not None and data != expected:
            # A read that ends early, before bytes that cannot be had, is a failed one; what it returned must be right.
            short = len(data) < length and expected.startswith(data)
            board[at + (FAILED if short else WRONG)] += 1
            print(f"{mount}: file {number}, {length} bytes at {offset}: {'short' if short else 'wrong'} ({len(data)} read)", file=sys.stderr)
        board[at + READS] += 1


def pid_of(keeper):
    if keeper.isdigit():
        return int(keeper)
    with open(keeper) as file:
        return int(file.read())


def family_of(keeper):
    """(worker, start time), [witness]; (None, []) while there is no worker."""
    try:
        pid = pid_of(keeper)
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            pids = [int(word) for word in file.read().split()]
        worker, witnesses = None, []
        for child in pids:
            with open(f"/proc/{child}/stat") as file:
                name, _, fields = file.read().partition("(")[2].rpartition(")")
            if name == "dedupd-witness":
                witnesses.append(child)
            elif name != "dedupd-keeper" and fields.split()[0] != "Z":  # the latter: before exec
                worker = (child, fields.split()[19])
        return worker, witnesses
    except (ValueError, OSError):
        return None, []


def kill_family(keeper, victims, worker, witnesses):
    pids = [worker[0]]
    if victims != "worker":
        pids.insert(0, pid_of(keeper))
    if victims == "all":
        pids += witnesses
    for pid in pids[:-1]:
        os.kill(pid, signal.SIGSTOP)  # so that nobody starts anybody meanwhile
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def kill_workers(keeper, options, kills, done):
    """SIGKILL at random moments: often right after its start, else when it has served for a while."""
    choose = random.Random(hash(keeper))
    killed = None
    while done[keeper] < kills:
        worker, witnesses = family_of(keeper)
        if worker is None or worker == killed or not witnesses:
            time.sleep(0.005)
            continue
        time.sleep(choose.choice((0.05, 0.5, 1.0)) * choose.random() * options.slow)
        if family_of(keeper) == (worker, witnesses):
            kill_family(keeper, options.victims, worker, witnesses)
            killed = worker
            done[keeper] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, required=True)
    parser.add_argument("--bytes", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", type=int, default=16)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--until", metavar="FILE")
    parser.add_argument("--victims", choices=("worker", "keeper", "all"), default="worker")
    parser.add_argument("--slow", type=float, default=1, help="all takes so many times longer: for an emulated machine")
    parser.add_argument("keepers", nargs="+", metavar="KEEPER:MNT")
    options = parser.parse_args()
    rigs = [(keeper, mount) for keeper, _, mount in (rig.partition(":") for rig in options.keepers)]

    stuck_s = STUCK_S * options.slow
    board = multiprocessing.Array("Q", options.readers * COUNTERS, lock=False)
    stop = multiprocessing.Event()

    def new_reader(i):
        reader = multiprocessing.Process(target=read_until, daemon=True, args=(stop, board, i * COUNTERS, rigs[i % len(rigs)][1], options, i))
        reader.start()
        return reader

    readers = [new_reader(i) for i in range(options.readers)]
    time.sleep(0.5)
    if options.until:
        options.kills = 0
    done = {keeper: 0 for keeper, _ in rigs}
    killers = [threading.Thread(target=kill_workers, daemon=True,
                                args=(keeper, options, options.kills // len(rigs) + (i < options.kills % len(rigs)), done))
               for i, (keeper, _) in enumerate(rigs)]
    for killer in killers:
        killer.start()

    def stuck():
        now = int(time.monotonic() * 1000)
        return sum(1 for i in range(options.readers) if (t := board[i * COUNTERS + STARTED]) and now - t > stuck_s * 1000)

    def replace_guarded():
        """Readers that the guard has killed start again."""
        number = 0
        for i, reader in enumerate(readers):
            if options.victims == "all" and reader.exitcode == -signal.SIGKILL:
                board[i * COUNTERS + STARTED] = 0
                readers[i] = new_reader(i)
                number += 1
        return number

    def going_on():
        if options.until:
            return os.path.isdir(os.path.dirname(options.until)) and not os.path.exists(options.until)
        return any(killer.is_alive() for killer in killers)

    worst_stuck = guarded = 0
    while going_on() and worst_stuck == 0:
        time.sleep(0.25)
        guarded += replace_guarded()
        worst_stuck = stuck()
    # What is in flight when the last worker dies has to end, too.
    stop.set()
    deadline = time.monotonic() + stuck_s
    for reader in readers:
        reader.join(max(0, deadline - time.monotonic()))
    worst_stuck = max(worst_stuck, sum(reader.is_alive() for reader in readers))
    total = [sum(board[i] for i in range(counter, len(board), COUNTERS)) for counter in (READS, WRONG, FAILED)]
    crashed = sum(reader.exitcode not in (0, None) for reader in readers)
    if options.victims == "all":
        guarded += sum(reader.exitcode == -signal.SIGKILL for reader in readers)
        crashed = sum(reader.exitcode not in (0, None, -signal.SIGKILL) for reader in readers)
    print(f"kills={sum(done.values())} reads={total[0]} wrong={total[1]} failed={total[2] + crashed} stuck={worst_stuck}"
          + (f" guarded={guarded}" if options.victims == "all" else ""), flush=True)
    failed = total[1] or total[2] or crashed or worst_stuck or total[0] == 0
    os._exit(1 if failed else 0)  # stuck children cannot be joined


if __name__ == "__main__":
    main()
