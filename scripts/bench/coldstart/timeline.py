#!/usr/bin/env python3
"""Where the time of a cold start goes: requests in flight, their sizes, and how long the link was idle.

    timeline.py DELIVERIES SAMPLES [--number N]

DELIVERIES is the log of slow_link (log/deliveries-RTT_MS:MBIT), SAMPLES a result of run.sh --json, both of one run (LAB_KEEP=1); N counts its samples from 0.
A request is in flight from the moment its client sends it until the last byte of the answer is there.
"""
import argparse
import bisect
import collections
import json

SIZES = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 1 << 40]


class Request:
    def __init__(self, sent):
        self.sent, self.end, self.bytes = sent, sent, 0


def read_requests(path, begin, end, rtt_s):
    """Requests of the connections of a sample: bytes up begin one, bytes down belong to the last one; and the opened connections."""
    requests, open_one, opened, idle_answer = [], {}, 0, set()
    with open(path) as file:
        for line in file:
            time, connection, what, count = line.split()
            time, count = float(time), int(count)
            if not begin <= time <= end:
                continue
            if what == "open":
                opened += 1
            elif what == "up" and (connection not in open_one or connection in idle_answer):
                open_one[connection] = Request(time - rtt_s / 2)
                idle_answer.discard(connection)
                requests.append(open_one[connection])
            elif what == "down" and connection in open_one:
                open_one[connection].bytes += count
                open_one[connection].end = time
                idle_answer.add(connection)
    return requests, opened


def in_flight(requests, begin, end):
    """Seconds with so many requests in flight: {number: seconds}."""
    events = sorted([(max(r.sent, begin), 1) for r in requests] + [(min(r.end, end), -1) for r in requests])
    seconds, now, count = collections.Counter(), begin, 0
    for time, step in events:
        seconds[count] += max(0, time - now)
        now, count = max(now, time), count + step
    seconds[count] += max(0, end - now)
    return seconds


def show(title, requests, begin, end, mbit):
    inside = [r for r in requests if begin <= r.sent < end]
    total = sum(r.bytes for r in inside)
    busy = total * 8 / 1e6 / mbit if mbit else 0
    print(f"{title}: {end - begin:.3f} s, {len(inside)} requests, {total / 1e6:.2f} MB: link busy {busy:.3f} s, idle {end - begin - busy:.3f} s")
    seconds = in_flight(inside, begin, end)
    bands = [("0", 0, 0), ("1", 1, 1), ("2", 2, 2), ("3-4", 3, 4), ("5-7", 5, 7), ("8", 8, 8), ("more", 9, 1 << 30)]
    print("  seconds with N in flight: " + ", ".join(f"{name}: {sum(s for n, s in seconds.items() if low <= n <= high):.3f}" for name, low, high in bands))
    sizes = collections.defaultdict(list)
    for request in inside:
        sizes[bisect.bisect_left(SIZES, request.bytes)].append(request)
    for index in sorted(sizes):
        group = sizes[index]
        limit = f"<= {SIZES[index] >> 10} KiB" if index < len(SIZES) - 1 else "larger"
        print(f"  {limit:>12}: {len(group):4} requests, {sum(r.bytes for r in group) / 1e6:7.3f} MB, "
              f"{sum(r.end - r.sent for r in group):.3f} s in flight")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("deliveries")
    parser.add_argument("samples")
    parser.add_argument("--number", type=int, default=0)
    options = parser.parse_args()
    with open(options.samples) as file:
        result = json.load(file)
    sample = result["samples"][options.number]
    rtt_ms, mbit = (float(part) for part in sample["link"].split(":"))
    begin = sample["began"]
    pulled, end = begin + sample["pull_s"], begin + sample["total_s"]
    requests, opened = read_requests(options.deliveries, begin, end + 0.001, rtt_ms / 1000)
    print(f"{sample['image']}, {sample['mode']}: pull {sample['pull_s']} s, run {sample['run_s']} s, again {sample['warm_s']} s; "
          f"{opened} connections, {sample['cpu_s']:.2f} s of CPU of client and daemons")
    show("pull", requests, begin, pulled, mbit)
    show("run ", requests, pulled, end, mbit)
    first = min((r.sent for r in requests if r.sent >= pulled), default=pulled)
    print(f"  first request {first - pulled:.3f} s after the pull")


if __name__ == "__main__":
    main()
