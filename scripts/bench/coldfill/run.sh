#!/bin/bash
# Cold fill: one large file of a lazy image is read from beginning to end, through each door, from a registry on loopback, with an
# empty pool; and in the same run what decompression and verification alone reach on the same blob, from memory to memory.
#   run.sh [--runs N] [--mib N] [--doors "NAME..."] [--quick] [--out DIR] [--json FILE] [--force] [BUILD]
#     --runs   rounds; in each, verify alone and every door take turns (3)
#     --mib    size of the file (1024)
#     --quick  one round, 64 MiB
#     BUILD    build folder (build/release)
# The file is made of this machine's /usr/lib. Prints a table; the ratio is to verify on one thread: on N CPUs, registry, reader and
# the copies in between share the other N - 1.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say check lab containerd registry dedupd bench; do . "$REPO/scripts/lib/$piece.sh"; done
RUNS=3 MIB=1024
BENCH_OPTIONS=([--runs]=RUNS [--mib]=MIB)
BENCH_QUICK=([RUNS]=1 [MIB]=64)
bench_options "$@"

# sample SIDE SECONDS CPU-SECONDS
sample() {
  jq -nc --arg side "$1" --argjson seconds "$2" --argjson cpu "$3" '{side: $side, seconds: $seconds, cpu_seconds: $cpu}' >>"$LAB/samples"
  say "round $round: $1 $2 s, $3 s of CPU"
}

verify_alone() {
  local line threads
  "$BUILD/tests/bench/verify_rate" "$blob" "$(nproc)" >"$LAB/verify"
  while read -r line; do
    threads=$(jq .threads <<<"$line")
    sample "verify, $threads thread$([ "$threads" = 1 ] || echo s)" "$(jq .seconds <<<"$line")" "$(jq .cpu_seconds <<<"$line")"
  done <"$LAB/verify"
}

fill_through() {
  local worker t0 seconds
  DEDUPD_DOOR=$1
  dedupd_wipe
  dedupd_start '.log.level = "info"'
  worker=$(pgrep -P "${LAB_PIDS[dedupd]}" --newest)
  dedupctl mount "$REGISTRY/big:latest" "$LAB/mnt" >>"$LAB/log/mount.log"
  t0=$EPOCHREALTIME
  dd if="$LAB/mnt/program" of="/dev/null" bs=1M status=none
  seconds=$(seconds_since "$t0")
  sample "$1" "$seconds" "$(bench_cpu "$worker")"
  [ "$round" != 1 ] || check_equal "$1: content" "$content" "$(sha256sum <"$LAB/mnt/program")"
  dedupctl umount "$LAB/mnt" >>"$LAB/log/mount.log"
}

require_root
require_programs python3 jq dd
[ -x "$BUILD/tests/bench/verify_rate" ] || die "no $BUILD/tests/bench/verify_rate: build the target verify_rate"
DOORS=$(bench_doors)
lab_open
mkdir "$LAB/images" "$LAB/mnt"
set +o pipefail # head ends the pipe
tar -cf - -C / --sort=name usr/lib 2>/dev/null | head -c "${MIB}M" >"$LAB/file"
set -o pipefail
content=$(sha256sum <"$LAB/file")
layer=$(python3 "$REPO/tests/e2e/estargz-blob.py" --files 1 --bytes 4096 --program "$LAB/file" "$LAB/images/big" | jq -r .layer)
blob=$LAB/images/big/blobs/${layer/://}
odd_registry_start
for ((round = 1; round <= RUNS; ++round)); do
  verify_alone
  for door in $DOORS; do fill_through "$door"; done
done
dedupd_wipe

rows=$(jq -s --argjson bytes "$(stat -c %s "$LAB/file")" "$BENCH_JQ"'
  (map(select(.side == "verify, 1 thread").seconds) | at(0.5)) as $alone
  | group_by(.side) | map((map(.seconds) | at(0.5)) as $p50
    | {side: .[0].side, runs: length, p50_s: $p50, p95_s: (map(.seconds) | at(0.95)), cpu_s: (map(.cpu_seconds) | at(0.5)),
       mib_s: ($bytes / 1048576 / $p50 | round), of_verify: ($alone / $p50 | digits(2))})' "$LAB/samples")
bench_result "$rows" "$(jq -n --argjson mib "$MIB" '{link: "loopback", file_mib: $mib}')" '{
  "title": "Cold fill of one file against decompression and verification alone", "kind": "bars", "x": "side", "y": "mib_s",
  "ylabel": "MiB/s (median)"}'
checks_end
