#!/usr/bin/python3
"""The program behind monitor.sh, which says what it does."""
import argparse
import csv
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

OURS = ("dedupd", "dedup-snapshotter")
TICKS = os.sysconf("SC_CLK_TCK")
COLUMNS = ("cpu_s", "rss_bytes", "pss_bytes", "anon_bytes", "cached_bytes", "read_bytes", "written_bytes", "received_bytes",
           "sent_bytes")
COUNTERS = ("cpu_s", "read_bytes", "written_bytes", "received_bytes", "sent_bytes")


def text_of(path):
    """None when the file, or what it speaks of, is gone."""
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return None


def numbers(text, unit=1):
    """{name: number} of lines "name: number" or "name number"."""
    return {match[1]: int(match[2]) * unit for match in re.finditer(r"^(\S+?):?\s+(\d+)", text or "", re.MULTILINE)}


def network(text):
    """Bytes of all interfaces but loopback, of a /proc/PID/net/dev."""
    lines = [line.split(":") for line in (text or "").splitlines() if ":" in line]
    fields = [rest.split() for name, rest in lines if name.strip() != "lo"]
    return {"received_bytes": sum(int(field[0]) for field in fields), "sent_bytes": sum(int(field[8]) for field in fields)}


def machine():
    ticks = [int(tick) for tick in text_of("/proc/stat").split("\n", 1)[0].split()[1:9]]
    memory = numbers(text_of("/proc/meminfo"), 1024)
    disks = [line.split() for line in text_of("/proc/diskstats").splitlines()]
    disks = [disk for disk in disks if os.path.exists(f"/sys/block/{disk[2]}/device")]  # not partitions, loops, or stacked ones
    return {"cpu_s": (sum(ticks) - ticks[3] - ticks[4]) / TICKS, "rss_bytes": memory["MemTotal"] - memory["MemAvailable"],
            "anon_bytes": memory["AnonPages"], "cached_bytes": memory["Cached"], "read_bytes": sum(int(disk[5]) for disk in disks) * 512,
            "written_bytes": sum(int(disk[9]) for disk in disks) * 512, **network(text_of("/proc/net/dev"))}


def stat_fields(pid):
    """From the third, the state, on; None when it is gone."""
    text = text_of(f"/proc/{pid}/stat")
    return text and text.rsplit(")", 1)[1].split()


def program_of(pid):
    """Name of its executable; "" of kernel threads and what is gone."""
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
    except OSError:
        return ""


def process(pid, with_children=False):
    fields = stat_fields(pid)
    if not fields or fields[0] in "ZX":
        return None
    memory, disk = numbers(text_of(f"/proc/{pid}/smaps_rollup"), 1024), numbers(text_of(f"/proc/{pid}/io"))
    return {"cpu_s": sum(int(tick) for tick in fields[11:15 if with_children else 13]) / TICKS, "rss_bytes": memory.get("Rss"),
            "pss_bytes": memory.get("Pss"), "anon_bytes": memory.get("Anonymous"),
            "cached_bytes": memory["Rss"] - memory["Anonymous"] if "Rss" in memory else None, "read_bytes": disk.get("read_bytes"),
            "written_bytes": disk.get("write_bytes")}


class Cgroup:
    """A container's, in the hierarchies of either version, found as soon as it is there."""

    def __init__(self, root, path, container):
        self.root, self.path, self.container = root, path, container

    def find(self):
        if self.path or not self.container:
            return self.path
        for directory, names, _ in os.walk(self.root):
            for name in names:
                if name == self.container or name.endswith(f"-{self.container}.scope"):
                    path = os.path.relpath(os.path.join(directory, name), self.root)
                    if not os.path.exists(f"{self.root}/cgroup.controllers"):
                        path = path.partition("/")[2]  # the hierarchy's folder, such as memory or unified
                    self.path = "/" + path
                    return self.path
        return None

    def file(self, controller, name):
        for folder in (f"/{controller}", "/unified", ""):
            text = text_of(f"{self.root}{folder}{self.path}/{name}")
            if text is not None:
                return text
        return None

    def sample(self):
        if not self.find():
            return None
        memory = numbers(self.file("memory", "memory.stat"))
        if "anon" in memory:
            sample = {"anon_bytes": memory["anon"], "cached_bytes": memory["file"],
                      "cpu_s": numbers(self.file("", "cpu.stat")).get("usage_usec", 0) / 1e6}
            disk = self.file("", "io.stat") or ""
            read, written = (sum(int(n) for n in re.findall(rf"\b{name}=(\d+)", disk)) for name in ("rbytes", "wbytes"))
        elif "total_rss" in memory:
            sample = {"anon_bytes": memory["total_rss"], "cached_bytes": memory["total_cache"],
                      "cpu_s": int(self.file("cpuacct", "cpuacct.usage") or 0) / 1e9}
            disk = self.file("blkio", "blkio.throttle.io_service_bytes_recursive") or ""
            read, written = (sum(int(n) for n in re.findall(rf"{name} (\d+)$", disk, re.MULTILINE)) for name in ("Read", "Write"))
        else:
            return None
        sample.update(rss_bytes=sample["anon_bytes"] + sample["cached_bytes"], read_bytes=read, written_bytes=written)
        pids = (self.file("memory", "cgroup.procs") or "").split()
        if pids and text_of(f"/proc/{pids[0]}/net/dev") and not same_network(pids[0]):
            sample.update(network(text_of(f"/proc/{pids[0]}/net/dev")))
        return sample


def same_network(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/net") == os.readlink("/proc/self/ns/net")
    except OSError:
        return True


class Monitor:
    def __init__(self, options):
        self.options, self.rows, self.begin, self.first, self.looked = options, [], time.monotonic(), {}, False
        self.cgroup = Cgroup(options.cgroup_root, options.cgroup, options.container)
        self.seen, self.ours, self.command = set(), {pid: f"{program_of(pid)} {pid}" for pid in options.pid}, set()

    def look_for_processes(self):
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        for pid in sorted(pids - self.seen):
            fields = stat_fields(pid)
            if fields and int(fields[1]) in self.command:
                self.command.add(pid)
        # All: a process may become another program at any time.
        for pid in pids - self.ours.keys():
            name = program_of(pid)
            if name in OURS:
                # The keeper and the witness say what they are.
                role = (text_of(f"/proc/{pid}/comm") or "").strip()
                self.ours[pid] = f"{role if role.startswith('dedupd-') else name} {pid}"
        self.seen = pids

    def command_sample(self):
        """All of the tree; CPU of the dead is in that of those who waited for them."""
        samples = {pid: process(pid, with_children=True) for pid in self.command}
        self.command = {pid for pid, sample in samples.items() if sample}
        alive = [sample for sample in samples.values() if sample]
        return {name: sum(sample[name] or 0 for sample in alive) for name in alive[0]} if alive else None

    def look(self):
        self.look_for_processes()
        seconds = round(time.monotonic() - self.begin, 3)
        self.add(seconds, "machine", machine())
        self.add(seconds, "command", self.command_sample())
        self.add(seconds, "container", self.cgroup.sample())
        for pid in list(self.ours):
            sample = process(pid)
            if not sample:
                del self.ours[pid]
                continue
            self.add(seconds, self.ours[pid], sample)
        self.looked = True

    def add(self, seconds, who, sample):
        if sample is None:
            return
        # What is there at the first look had a life before.
        first = self.first.setdefault(who, {} if who == "command" or self.looked else sample)
        counted = {name: sample[name] - first.get(name, 0) for name in COUNTERS if sample.get(name) is not None}
        row = {"seconds": seconds, "who": who, **{name: sample.get(name) for name in COLUMNS}, **counted}
        # A group's sum of disk counters falls when a member ends.
        last = next((old for old in reversed(self.rows) if old["who"] == who), None)
        for name in counted:
            row[name] = round(max(row[name], last[name] or 0) if last else row[name], 3)
        row["cpu_percent"] = round((row["cpu_s"] - last["cpu_s"]) * 100 / max(seconds - last["seconds"], 1e-3), 1) if last else None
        self.rows.append(row)

    def run(self):
        self.look_for_processes()
        child = subprocess.Popen(self.options.command)
        self.command.add(child.pid)
        # A terminal sends it to both.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        self.look()
        while True:
            try:
                status = child.wait(self.options.interval)
                break
            except subprocess.TimeoutExpired:
                self.look()
        # Also of processes that came and went between two looks.
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.add(round(time.monotonic() - self.begin, 3), "command",
                 {"cpu_s": used.ru_utime + used.ru_stime, "read_bytes": used.ru_inblock * 512, "written_bytes": used.ru_oublock * 512})
        self.look()
        return 128 - status if status < 0 else status

    def write(self, folder):
        columns = ["seconds", "who", "cpu_percent", *COLUMNS]
        with open(f"{folder}/monitor.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        with open(f"{folder}/monitor.json", "w") as file:
            json.dump({"command": self.options.command, "interval_s": self.options.interval, **self.pictures()}, file)
        subprocess.run([os.path.join(os.path.dirname(os.path.abspath(__file__)), "plot.py"), f"{folder}/monitor.json"], check=False)

    def pictures(self):
        """plots and rows for plot.py."""
        sizes = [name for name in COLUMNS if name.endswith("_bytes")]
        rows = [{**row, **{name.replace("_bytes", "_mib"): row[name] and row[name] / 1048576 for name in sizes}} for row in self.rows]
        plots = []
        for title, column, label in (
                ("CPU", "cpu_percent", "per cent of one CPU"), ("Resident memory", "rss_mib", "MiB"), ("AnonPages", "anon_mib", "MiB"),
                ("Page cache", "cached_mib", "MiB"), ("Disk: read", "read_mib", "MiB since the start"),
                ("Disk: written", "written_mib", "MiB since the start"), ("Network: received", "received_mib", "MiB since the start")):
            # The memory of the whole machine would press all others flat.
            who = {row["who"] for row in rows if row[column] is not None} - ({"machine"} if label == "MiB" else set())
            if who:
                plots.append({"title": title, "kind": "lines", "x": "seconds", "y": column, "group": "who", "where": {"who": sorted(who)},
                              "ylabel": label})
        return {"plots": plots, "rows": rows}

    def summary(self):
        print(f"{'':24} {'CPU s':>8} {'peak RSS':>10} {'peak anon':>10} {'read':>10} {'written':>10}  MiB", file=sys.stderr)
        for who in dict.fromkeys(row["who"] for row in self.rows):
            own = [row for row in self.rows if row["who"] == who]
            most = {name: max((row[name] for row in own if row[name] is not None), default=None) for name in COLUMNS}
            text = [f"{most[name] / 1048576:10.1f}" if most[name] is not None else f"{'-':>10}" for name in
                    ("rss_bytes", "anon_bytes", "read_bytes", "written_bytes")]
            print(f"{who:24} {most['cpu_s']:8.2f} {' '.join(text)}", file=sys.stderr)
        print(f"{'(this monitor)':24} {time.process_time():8.2f}", file=sys.stderr)
        seen = {row["who"] for row in self.rows}
        if (self.options.container or self.options.cgroup) and "container" not in seen:
            print(f"monitor.sh: {self.options.container or self.options.cgroup} was never seen: no cgroup of that name", file=sys.stderr)
        for pid in self.options.pid:
            if not any(who.endswith(f" {pid}") for who in seen):
                print(f"monitor.sh: process {pid} was never seen", file=sys.stderr)


def main():
    script = sys.argv[1]
    parser = argparse.ArgumentParser(prog=os.path.basename(script), add_help=False)
    parser.add_argument("--interval", type=float, default=1)
    parser.add_argument("--pid", type=int, action="append", default=[])
    parser.add_argument("--container")
    parser.add_argument("--cgroup")
    parser.add_argument("--cgroup-root", default="/sys/fs/cgroup", help=argparse.SUPPRESS)
    parser.add_argument("--out", default="monitor")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(sys.argv[2:])
    if options.help:
        with open(script) as file:
            print("".join(line[2:] or "\n" for line in file.readlines()[1:] if line.startswith("#")), end="")
        return 0
    options.command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not options.command or options.interval <= 0:
        parser.error("a command after -- is needed, and an interval above 0")
    monitor = Monitor(options)
    try:
        os.makedirs(options.out, exist_ok=True)
        status = monitor.run()
    except OSError as error:
        sys.exit(f"monitor.sh: {error}")
    monitor.summary()
    monitor.write(options.out)
    return status


if __name__ == "__main__":
    sys.exit(main())
