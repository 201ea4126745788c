#!/bin/bash
# Records CPU, memory, disk and network of dedupd, dedup-snapshotter and a container while a command runs.
#   monitor.sh [--interval S] [--pid PID]... [--container ID | --cgroup PATH] [--out DIR] -- COMMAND [ARGUMENT...]
#     --interval   seconds between two looks (1)
#     --pid        this process, too
#     --container  the container of this ID, which may start later; cgroup v1 or v2
#     --cgroup     the same by its cgroup, as in /proc/PID/cgroup ("/default/web")
#     --out        folder of monitor.csv, monitor.json and the plots monitor-N.svg (./monitor)
# dedupd's processes and the snapshotter are found by their executables, whenever they start. The exit status is the command's.
# Lines of the CSV, one per look and subject: `machine`, `command` with its descendants, `container`, and each process by name and
# pid. cpu_s and the bytes of disk and network count from the first look, of what starts later from its start; network without
# loopback, and only of the machine and of a container with a namespace of its own. In bytes: rss, pss, anon (AnonPages), cached: page
# cache, of a process the mapped files in its rss; a container's rss is anon and cached.
exec "$(dirname "$0")/monitor.py" "$0" "$@"
