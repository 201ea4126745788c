#!/bin/bash
# Scale: how dedupd's memory and the time of its operations grow with the number of mounted images, of chunks in the index, and of cold
# starts at once. Images are small, lazy, without common content, from a registry on loopback.
#   run.sh [--mounts "N..."] [--starts "N..."] [--chunks "N..."] [--doors "NAME..."] [--quick] [--out DIR] [--json FILE] [--force] [BUILD]
#     --mounts  images mounted at once (1 10 50 100 200 500)
#     --starts  cold starts at once: pull, mount and the first read of a file (1 2 4 8 16 32 64)
#     --chunks  of all images in the index, in steps of 10000 from the second on (1000 10000 100000 1000000)
#     --doors   (the one dedupd takes by itself)
#     --quick   up to 100 mounts, 16 starts, 50000 chunks
#     BUILD     build folder (build/release)
# Operations: mount (with its pull), umount, remount and first_read of one more small image; pull of a lazy one with 1000 chunks,
# pull_plain of one that is not lazy, remove; status, images, pool: those of dedupctl; recover: from the SIGKILL of the worker until its
# successor answers; memory: MiB of anonymous memory of the worker that has just taken over (of starts: after them), without that of one
# with an empty pool. All but memory in milliseconds, dedupctl's own start in them. grows: the slope of a line through the medians, both
# axes logarithmic: n^1 is linear.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say check lab containerd registry dedupd bench; do . "$REPO/scripts/lib/$piece.sh"; done
MOUNTS='1 10 50 100 200 500' STARTS='1 2 4 8 16 32 64' CHUNKS='1000 10000 100000 1000000'
BENCH_OPTIONS=([--mounts]=MOUNTS [--starts]=STARTS [--chunks]=CHUNKS)
BENCH_QUICK=([MOUNTS]='1 10 50 100' [STARTS]='1 4 16' [CHUNKS]='1000 10000 50000')
bench_options "$@"
LAST=10 REPEATS=5 PROBES=3 PROBE_CHUNKS=1000 STEP_CHUNKS=10000

# sample WHAT N OPERATION VALUE
sample() { printf '{"door":"%s","what":"%s","n":%d,"operation":"%s","value":%s}\n' "$DEDUPD_DOOR" "$@" >>"$LAB/samples"; }

milliseconds_since() {
  local us=$((${EPOCHREALTIME/[.,]/} - $1))
  printf '%d.%03d' $((us / 1000)) $((us % 1000))
}

# timed WHAT N OPERATION COMMAND...
timed() {
  local t0=${EPOCHREALTIME/[.,]/}
  "${@:4}" >>"$LAB/log/timed.log" 2>&1 || die "$1 $2, $3: $(tail -n 3 "$LAB/log/timed.log")"
  sample "$1" "$2" "$3" "$(milliseconds_since "$t0")"
}

mount_image() { mkdir -p "$LAB/mnt/$1" && dedupctl mount "$REGISTRY/$1:latest" "$LAB/mnt/$1"; }
first_read() { head -c 4096 "$LAB/mnt/$1/d000/f00000"; }
cold_start() { mount_image "$1" && first_read "$1"; }

# Until another process answers: the old socket may take a request that nobody reads any more.
recover() {
  local old
  old=$(dedupd_number .pid)
  kill -KILL "$old"
  another_answers() { local pid; pid=$(dedupd_number .pid) && [ "$pid" != null ] && [ "$pid" != "$old" ]; }
  wait_until 60 another_answers || die 'no dedupd answers'
}

fresh_dedupd() {
  dedupd_wipe
  dedupd_start '.log.level = "info"'
  recover
  sleep 1 # the tracer needs memory while it is loaded
  EMPTY_KIB=$(anonymous_kib)
}

anonymous_kib() { awk '/^RssAnon/ { print $2 }' "/proc/$(dedupd_number .pid)/status"; }

# memory WHAT N
memory() { sample "$1" "$2" memory "$(LC_ALL=C awk -v kib=$(($(anonymous_kib) - EMPTY_KIB)) 'BEGIN { print kib / 1024 }')"; }

# ask_all WHAT N: the operations that change nothing, and memory.
ask_all() {
  local i
  timed "$1" "$2" recover recover
  sleep 1
  memory "$1" "$2"
  for ((i = 0; i < REPEATS; ++i)); do
    timed "$1" "$2" status dedupctl status
    timed "$1" "$2" images dedupctl images
    timed "$1" "$2" pool dedupctl pool stat
  done
}

# make_images NAME COUNT SEED OPTION...: NAME0, NAME1 ...
make_images() { python3 "$REPO/tests/e2e/estargz-blob.py" --copies "$2" --seed "$3" "${@:4}" "$LAB/images/$1" >/dev/null; }

scale_mounts() {
  local n i mounted=0
  fresh_dedupd
  for n in $MOUNTS; do
    for (( ; mounted < n; ++mounted)); do
      if ((n - mounted > LAST)); then mount_image "m$mounted" >>"$LAB/log/timed.log"; else
        timed mounts "$n" mount mount_image "m$mounted"
        timed mounts "$n" first_read first_read "m$mounted"
      fi
    done
    for ((i = n > LAST ? n - LAST : 0; i < n; ++i)); do timed mounts "$n" umount dedupctl umount "$LAB/mnt/m$i"; done
    for ((i = n > LAST ? n - LAST : 0; i < n; ++i)); do timed mounts "$n" remount mount_image "m$i"; done
    ask_all mounts "$n"
  done
  check_equal "$DEDUPD_DOOR: mounts that can be read" "$mounted" \
    "$(for ((n = 0; n < mounted; ++n)); do first_read "m$n" | wc -c; done | grep -c '^4096$')"
  lab_unmount_below "$LAB/mnt"
}

# One of those that start at once; a process of its own.
start_one() {
  local t0=${EPOCHREALTIME/[.,]/}
  cold_start "$2" >/dev/null || return
  sample starts "$1" start "$(milliseconds_since "$t0")"
}

scale_starts() {
  local n i pids number=0 t0
  fresh_dedupd
  for n in $STARTS; do
    t0=${EPOCHREALTIME/[.,]/} pids=()
    for ((i = 0; i < n; ++i)); do
      start_one "$n" "s$number" &
      pids+=($!) number=$((number + 1))
    done
    for i in "${pids[@]}"; do wait "$i" || die "one of $n cold starts failed"; done
    sample starts "$n" all "$(milliseconds_since "$t0")"
    memory starts "$n"
  done
  lab_unmount_below "$LAB/mnt"
}

scale_chunks() {
  local n i probe=0 steps=0 chunks=0
  fresh_dedupd
  for n in $CHUNKS; do
    while ((chunks + STEP_CHUNKS <= n)); do
      dedupctl pull "$REGISTRY/b$((steps++)):latest" >>"$LAB/log/timed.log" 2>&1
      chunks=$((chunks + STEP_CHUNKS))
    done
    sync
    for ((i = 0; i < PROBES; ++i)); do
      timed chunks "$n" pull dedupctl pull "$REGISTRY/p$probe:latest"
      timed chunks "$n" mount mount_image "p$probe"
      timed chunks "$n" first_read first_read "p$probe"
      timed chunks "$n" umount dedupctl umount "$LAB/mnt/p$probe"
      timed chunks "$n" remove dedupctl rm "$REGISTRY/p$probe:latest"
      timed chunks "$n" pull_plain dedupctl pull "$REGISTRY/g$probe:latest"
      probe=$((probe + 1))
    done
    ask_all chunks "$n"
  done
}

rows() {
  jq -s "$BENCH_JQ"'
    def slope: map(select(.n > 0 and .p50 > 0) | [(.n | log), (.p50 | log)]) | length as $k
      | if $k < 2 then null else (map(.[0]) | add / $k) as $x | (map(.[1]) | add / $k) as $y
        | (map((.[0] - $x) * (.[1] - $y)) | add) / (map((.[0] - $x) * (.[0] - $x)) | add) end;
    group_by([.door, .what, .operation]) | map(
      group_by(.n) | map({door: .[0].door, what: .[0].what, operation: .[0].operation, n: .[0].n, runs: length, p50: (map(.value) | at(0.5)),
        p95: (map(.value) | at(0.95))})
      | slope as $slope | map(. + {grows: ($slope | if . then "n^\(digits(2))" else null end)}
        | map_values(if type == "number" then digits(2) else . end))) | flatten' "$LAB/samples"
}

require_root
require_programs python3 jq
DOORS=${DOORS:-$(bench_doors | head -n 1)}
lab_open
mkdir "$LAB/images" "$LAB/mnt"
make_images m "${MOUNTS##* }" 1 --files 4 --bytes 65536
make_images s "$((${STARTS// / + }))" 1000 --files 4 --bytes 65536
make_images b "$((${CHUNKS##* } / STEP_CHUNKS))" 2000 --files $STEP_CHUNKS --bytes 8
make_images g "$(($(wc -w <<<"$CHUNKS") * PROBES))" 4000 --form gzip --files 4 --bytes 65536
make_images p "$(($(wc -w <<<"$CHUNKS") * PROBES))" 3000 --files $PROBE_CHUNKS --bytes 8
odd_registry_start
for DEDUPD_DOOR in $DOORS; do
  scale_mounts
  scale_starts
  scale_chunks
  dedupd_wipe
done
rows=$(rows)
bench_result "$rows" '{"link": "loopback"}' '[
  {"title": "Time of an operation", "kind": "lines", "x": "n", "y": "p50", "group": ["operation", "door"], "facet": "what",
    "without": {"operation": "memory"}, "logx": true, "logy": true, "ylabel": "ms (median)"},
  {"title": "Memory", "kind": "lines", "x": "n", "y": "p50", "group": "door", "facet": "what", "where": {"operation": "memory"},
   "logx": true, "ylabel": "MiB"}]'
jq -r '.[] | select(.grows) | "\(.door), \(.what): \(.operation) grows as \(.grows)"' <<<"$rows" | uniq
checks_end
