#!/usr/bin/env python3
"""make-trace.py FILES [--plain]: a trace as a start could leave it, as JSON lines, the same each time.

A prefetcher streams a slightly wrong list over 200 Mbit/s and 20 ms; a container starts 180 ms after the image was
prepared and reads FILES files, waiting for what is not there; a background fill follows. --plain: the touches alone,
as a profile of three runs."""
import argparse
import json
import random

LINK_BYTES_PER_US = 25
LATENCY_US = 20_000
PREPARED_US = 180_000
BLOCK = 64 << 10
EXTENT = 256 << 10

PLACES = [  # weight, layer, pattern, smallest and largest size
    (2, 0, "/usr/lib/x86_64-linux-gnu/lib{}.so.{n}", 20 << 10, 2 << 20),
    (6, 1, "/usr/lib/python3.11/{}.py", 1 << 10, 60 << 10),
    (3, 1, "/usr/lib/python3.11/__pycache__/{}.cpython-311.pyc", 1 << 10, 80 << 10),
    (3, 2, "/usr/local/lib/python3.11/site-packages/numpy/{}/_impl.py", 1 << 10, 90 << 10),
    (1, 2, "/usr/local/lib/python3.11/site-packages/numpy/core/_{}.cpython-311-x86_64-linux-gnu.so", 100 << 10, 6 << 20),
    (2, 3, "/app/service/{}/handlers.py", 1 << 10, 20 << 10),
]
SYLLABLES = "ab ac con de el fa gra in io ker lo ma net os pa que ro sys ta un vec web xml zip".split()


def make_files(rng, count):
    files, seen = [], set()
    while len(files) < count:
        _, layer, pattern, low, high = rng.choices(PLACES, [place[0] for place in PLACES])[0]
        name = "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 4)))
        path = pattern.format(name, n=rng.randint(0, 9))
        if path not in seen:
            seen.add(path)
            files.append({"layer": layer, "path": path, "size": int(low * (high / low) ** rng.random())})
    # Started programs map libraries first, then load modules, the service's own last, with some disorder.
    return sorted(files, key=lambda file: file["layer"] + rng.gauss(0, 0.4))


def ranges_of(file):
    """What a start touches of a file: its head, and of large files some places more."""
    rng, size = random.Random(file["path"]), file["size"]
    spots = {0} | {rng.randrange(size) // EXTENT * EXTENT for _ in range(min(4, size // (512 << 10)))}
    return [(spot, min(BLOCK * rng.randint(2, 4), size - spot)) for spot in sorted(spots)]


def size_of(file):
    return sum(min(EXTENT, file["size"] - offset) for offset, _ in ranges_of(file))


class Start:
    def __init__(self, rng):
        self.rng = rng
        self.entries, self.fetches, self.there = [], [], {}

    def fetch(self, file, us, by, wait_us=0):
        self.there[file["path"]] = us
        for offset, _ in ranges_of(file):
            line = {"layer": file["layer"], "path": file["path"], "offset": offset,
                    "length": min(EXTENT, file["size"] - offset), "us": us, "by": by}
            self.fetches.append(line | ({"wait_us": wait_us} if wait_us and offset == 0 else {}))

    def prefetch(self, files):
        link_us, batch, batch_bytes = 30_000 + LATENCY_US, [], 0
        for file in files:
            batch.append(file)
            batch_bytes += size_of(file)
            if batch_bytes > 512 << 10:
                link_us += batch_bytes // LINK_BYTES_PER_US
                for one in batch:
                    self.fetch(one, link_us, "prefetch")
                batch, batch_bytes = [], 0
        link_us += batch_bytes // LINK_BYTES_PER_US
        for one in batch:
            self.fetch(one, link_us, "prefetch")
        return link_us

    def run(self, files):
        clock = PREPARED_US
        late = {}
        for number, file in enumerate(files):
            clock += int(self.rng.expovariate(1 / (1_500_000 / len(files))))
            if number in (len(files) // 3, len(files) * 2 // 3):
                clock += 400_000  # the program computes
            there = self.there.get(file["path"])
            if there is None:
                wait = LATENCY_US + size_of(file) // LINK_BYTES_PER_US
                self.touch(file, clock)
                clock += wait
                self.fetch(file, clock, "reader", wait)
            elif there > clock:
                self.touch(file, clock)
                late[file["path"]] = there - clock
                clock = there
            else:
                self.touch(file, clock)
        for line in self.fetches:
            if line["path"] in late and line["offset"] == 0:
                line["wait_us"] = late[line["path"]]
        return clock

    def touch(self, file, clock):
        us = clock - PREPARED_US
        for offset, length in ranges_of(file):
            self.entries.append({"layer": file["layer"], "path": file["path"], "offset": offset, "length": length,
                                 "us": us, "runs": 1})
            us += self.rng.randint(1, 40)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", type=int)
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    rng = random.Random(options.files)
    every = make_files(rng, options.files * 3 // 2)
    rng.shuffle(rest := every[:])
    rest = rest[: options.files // 2]
    unneeded = {file["path"] for file in rest}
    files = [file for file in every if file["path"] not in unneeded]
    start = Start(rng)
    if options.plain:
        for file in files:
            start.there[file["path"]] = 0
    else:
        # The list lacks some of what this start needs and names some of what it does not.
        unlisted = {file["path"] for file in rng.sample(files, max(1, len(files) // 40))}
        wanted = [file for file in files if file["path"] not in unlisted] + rest[: max(1, len(files) // 25)]
        end = start.prefetch(sorted(wanted, key=lambda file: every.index(file) + rng.gauss(0, len(files) / 60)))
    clock = start.run(files)
    if not options.plain:
        clock = max(clock, end)
        for file in rest:
            if file["path"] not in start.there:
                clock += size_of(file) // LINK_BYTES_PER_US * 2
                start.fetch(file, clock, "background")
    header = {"dedup_profile": 1, "image": "sha256:" + "6f1c" * 16, "entrypoint": ["python3", "-m", "service.main"],
              "source": "touches", "runs": 3 if options.plain else 1,
              "layers": ["sha256:" + digit * 64 for digit in "09c4"], "entries": len(start.entries)}
    if not options.plain:
        header |= {"container": "web-7d4b9c6f5-x2x8k", "started": 1790000000, "prepared_us": PREPARED_US,
                   "fetches": len(start.fetches)}
    print(json.dumps(header))
    for line in sorted(start.entries, key=lambda line: line["us"]) + sorted(start.fetches, key=lambda line: line["us"]):
        print(json.dumps(line))


main()
