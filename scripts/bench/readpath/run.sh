#!/bin/bash
# Read path: how fast data that is on the node is read through our mounts, against a plain EROFS image of the same tree, mounted from
# a file on the same disk by the same kernel.
#   run.sh [--runs N] [--mib N] [--files N] [--doors "NAME..."] [--quick] [--out DIR] [--json FILE] [--force] [BUILD]
#     --runs   rounds; in each, every side takes its turn (3)
#     --mib    size of the file that is read (256); --files  of the tree that is walked, beside it (4000)
#     --quick  one round, 64 MiB
#     BUILD    build folder (build/release)
# what: sequential (128 KiB reads), random (4 KiB reads, said to be random), mmap (4 KiB at random places of a mapping), walk (readdir,
#       stat and getxattr of every file); by fio and by walk_rate.
# cache: warm (the mount's pages are in memory), pool (those of the file below are, the mount's are not), cold (none).
# segment: partial (something else in it is missing, so that the door is asked), finished (nothing is since it was mounted), complete
#       (nothing was when it was mounted).
# of_erofs: operations per second as part of plain EROFS's. cpu_s: of all dedupd's processes during the run.
# The rows `event` are the cost of asking a door about data that is present: random, pool, 1 thread: partial minus complete. stargz's
# FUSE mount is a gap: Debian has no package of its daemon.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say check lab containerd registry dedupd bench; do . "$REPO/scripts/lib/$piece.sh"; done
RUNS=3 MIB=256 FILES=4000 FILE_BYTES=512
BENCH_OPTIONS=([--runs]=RUNS [--mib]=MIB [--files]=FILES)
BENCH_QUICK=([RUNS]=1 [MIB]=64)
bench_options "$@"

drop_caches() { sync && echo 3 >/proc/sys/vm/drop_caches; }

# dedupd_cpu_ns: of all threads that live, in nanoseconds: what is spent on warm reads is less than a clock tick.
dedupd_cpu_ns() {
  local pid
  [ -n "${LAB_PIDS[dedupd]:-}" ] || { echo 0 && return; }
  for pid in "${LAB_PIDS[dedupd]}" $(pgrep -P "${LAB_PIDS[dedupd]}"); do cat "/proc/$pid/task/"*/schedstat; done | awk '{ sum += $1 } END { printf "%.0f", sum }'
}

# fio_read WHAT CACHE THREADS MOUNT
fio_read() {
  local bytes=$((MIB << 20)) operations=$((MIB << (20 - 12 - 2))) invalidate=0 options
  # Warm reads are so fast that more of them are needed for a number.
  [ "$2" != warm ] || operations=$((operations * 16))
  [ "$2" != pool ] || invalidate=1
  case $1 in
    sequential)
      options=(--ioengine=psync --rw=read --bs=128k --size=$((bytes / $3)) --offset_increment=$((bytes / $3)))
      [ "$2" != warm ] || options+=(--loops=$((1024 / MIB)))
      ;;
    random) options=(--ioengine=psync --rw=randread --bs=4k --io_size=$((operations * 4096 / $3))) ;;
    mmap) options=(--ioengine=mmap --fadvise_hint=0 --rw=randread --bs=4k --io_size=$((operations * 4096 / $3))) ;;
  esac
  fio --name="$1" --filename="$4/program" --readonly --thread --numjobs="$3" --group_reporting --invalidate=$invalidate --norandommap \
    --randrepeat=1 --clocksource=clock_gettime --output-format=json "${options[@]}" |
    jq '.jobs[0].read | {seconds: (.runtime / 1000), mb_s: (.bw_bytes / 1e6), ops_s: .iops,
      p50_us: (.clat_ns.percentile["50.000000"] / 1000), p99_us: (.clat_ns.percentile["99.000000"] / 1000)}'
}

walk() {
  "$BUILD/tests/bench/walk_rate" "$2" "$1" | jq '{seconds, mb_s: null, ops_s: (.operations / .seconds), p50_us, p99_us}'
}

# measure SIDE SEGMENT CACHE WHAT THREADS: one sample.
measure() {
  local result cpu
  case $3 in
    cold) drop_caches ;;
    pool) # through both caches; fio drops the mount's again
      dd if="$LAB/$1/program" iflag=nocache count=0 status=none
      cat "$LAB/$1/program" >/dev/null
      ;;
  esac
  cpu=$(dedupd_cpu_ns)
  if [ "$4" = walk ]; then result=$(walk "$5" "$LAB/$1"); else result=$(fio_read "$4" "$3" "$5" "$LAB/$1"); fi
  cpu=$(($(dedupd_cpu_ns) - cpu))
  jq -c --arg side "$1" --arg segment "$2" --arg cache "$3" --arg what "$4" --argjson threads "$5" --argjson cpu "$cpu" \
    '{what: $what, cache: $cache, threads: $threads, side: $side, segment: $segment} + . + {cpu_s: ($cpu / 1e9)}' <<<"$result" >>"$LAB/samples"
}

# measure_all SIDE SEGMENT CACHE...
measure_all() {
  local cache what threads
  for cache in "${@:3}"; do
    [ "$cache" != warm ] || { cat "$LAB/$1/program" && walk 1 "$LAB/$1"; } >/dev/null
    for what in sequential random mmap walk; do
      for threads in 1 16; do
        [[ "$cache $what $threads" != pool\ @(walk*|*16) ]] || continue
        measure "$1" "$2" "$cache" "$what" "$threads"
      done
    done
  done
}

missing_bytes() { dedupctl images --json | jq '.images[0] | .bytes - .present_bytes'; }

through_door() {
  local door=$1
  DEDUPD_DOOR=$door
  dedupd_wipe
  # So that the second mount is a new one.
  dedupd_start '.log.level = "info" | .trace.auto_starts = 0 | .mount.keep_idle_ms = 0'
  dedupctl mount "$REGISTRY/tree:latest" "$LAB/$door" >>"$LAB/log/mount.log"
  cat "$LAB/$door/program" >/dev/null
  check_at_least "$door: missing bytes of the partial segment" 1 "$(missing_bytes)"
  [ -n "$QUICK" ] || measure_all "$door" partial warm
  measure_all "$door" partial pool cold
  find "$LAB/$door" -type f -print0 | xargs -0 cat >/dev/null
  check_equal "$door: missing bytes of the complete segment" 0 "$(missing_bytes)"
  measure_all "$door" finished cold
  [ "$round" != 1 ] || check_equal "$door: content" "$content" "$(sha256sum <"$LAB/$door/program")"
  dedupctl umount "$LAB/$door" >>"$LAB/log/mount.log"
  dedupctl mount "$REGISTRY/tree:latest" "$LAB/$door" >>"$LAB/log/mount.log"
  measure_all "$door" complete warm pool cold
  dedupctl umount "$LAB/$door" >>"$LAB/log/mount.log"
  dedupd_wipe
}

# plain_erofs BLOB: from the files of the layer itself. mount(8) would put a loop device between.
plain_erofs() {
  mkdir "$LAB/tree"
  tar -C "$LAB/tree" -xzf "$1" --exclude=stargz.index.json
  mkfs.erofs --quiet "$LAB/tree.erofs" "$LAB/tree" >"$LAB/log/mkfs.log"
  rm -r "$LAB/tree"
  python3 - "$LAB/tree.erofs" "$LAB/erofs" <<'PYTHON' || die "this kernel mounts no EROFS image from a file (6.12 does)"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
MS_RDONLY = 1
if libc.mount(os.fsencode(sys.argv[1]), os.fsencode(sys.argv[2]), b"erofs", MS_RDONLY, None) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
PYTHON
}

rows() {
  jq -s "$BENCH_JQ"'
    def of(f): map(f) | at(0.5);
    def key: [.what, .cache, .threads];
    group_by([.what, .cache, .threads, .side, .segment]) | map(
      {what: .[0].what, cache: .[0].cache, threads: .[0].threads, side: .[0].side, segment: .[0].segment, runs: length,
       mb_s: of(.mb_s), ops_s: of(.ops_s), p50_us: of(.p50_us), p99_us: of(.p99_us), cpu_s: of(.cpu_s)})
    | . as $rows | map(. as $row | ($rows[] | select(.side == "erofs" and key == ($row | key))) as $erofs
      | . + {of_erofs: (.ops_s / $erofs.ops_s), cpu_s: (.cpu_s | digits(4))})
    | . as $rows | . + [$rows[] | select(.what == "random" and .cache == "pool" and .threads == 1 and .segment == "partial") | . as $row
      | ($rows[] | select(.side == $row.side and key == ($row | key) and .segment == "complete")) as $complete
      | . + {what: "event", mb_s: null, ops_s: null, p50_us: (.p50_us - $complete.p50_us), p99_us: null, of_erofs: null}]
    | sort_by(.what, .cache, .threads, .side != "erofs")
    | . + [.[0] | map_values(null) + {what: "gap", side: "stargz", segment: "no package"}]
    | map(with_entries(if .key != "cpu_s" and (.value | type) == "number" then .value |= digits(if . > 1000 then 0 else 2 end) else . end))' "$LAB/samples"
}

require_root
require_programs python3 jq fio mkfs.erofs
[ -x "$BUILD/tests/bench/walk_rate" ] || die "no $BUILD/tests/bench/walk_rate: build the target walk_rate"
DOORS=$(bench_doors)
lab_open
mkdir "$LAB/images" "$LAB/erofs"
for door in $DOORS; do mkdir "$LAB/$door"; done
set +o pipefail # head ends the pipe
tar -cf - -C / --sort=name usr/lib 2>/dev/null | head -c "${MIB}M" >"$LAB/file"
set -o pipefail
content=$(sha256sum <"$LAB/file")
layer=$(python3 "$REPO/tests/e2e/estargz-blob.py" --files "$FILES" --bytes $FILE_BYTES --program "$LAB/file" "$LAB/images/tree" | jq -r .layer)
rm "$LAB/file"
odd_registry_start
plain_erofs "$LAB/images/tree/blobs/${layer/://}"
for ((round = 1; round <= RUNS; ++round)); do
  say "round $round"
  measure_all erofs - warm pool cold
  for door in $DOORS; do through_door "$door"; done
done
rows=$(rows)
for door in $DOORS; do
  check_at_most "$door: dedupd's CPU during all warm reads, in microseconds per second" 10000 \
    "$(jq -s --arg door "$door" 'map(select(.side == $door and .cache == "warm")) | 1e6 * (map(.cpu_s) | add) / (map(.seconds) | add) | round' "$LAB/samples")"
done
bench_result "$rows" "$(jq -n --arg fio "$(fio --version)" --argjson mib "$MIB" --argjson files "$FILES" \
  '{versions: {fio: $fio}, file_mib: $mib, files: $files}')" \
  '{"title": "Reads of data on the node, as part of plain EROFS", "kind": "bars", "x": ["what", "threads"],
    "y": "of_erofs", "group": ["side", "segment"], "facet": "cache", "where": {"what": ["sequential", "random", "mmap", "walk"]},
    "ylabel": "operations per second, plain EROFS = 1; after the comma: threads"}'
checks_end
