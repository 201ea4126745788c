#!/bin/bash
# The power goes while images are pulled and read lazily: of what was not flushed to the pool's disk a random half is lost. The
# pool opens clean all the same, nothing it calls present is absent or wrong, and what was lost is fetched again.
#   power-cut.sh [BUILD]     BUILD: build folder (default: build/release)
#   FILE_SYSTEMS="ext4 xfs btrfs", ROUNDS (4): cuts on each; SLOW (1): how many times slower this machine is than a real one
#   NO_SYNC=1  dedupd never flushes its data files: the negative control, which this script ends with where xfs can be had
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
FILE_SYSTEMS=${FILE_SYSTEMS:-ext4 xfs btrfs} ROUNDS=${ROUNDS:-4} SLOW=${SLOW:-1} SKIPPED=0 NO_SYNC=${NO_SYNC:-}
VOLATILE_DISK=${VOLATILE_DISK:-$BUILD/tests/kernel/volatile_disk}
FILES=24 BYTES=$((2 << 20)) CHUNK=$((64 << 10))

skipped() { SKIPPED=$((SKIPPED + 1)); say "SKIP  $*"; }
pool_check() { dedupctl check --json | tail -n 1; }

# disk_on FILE: a loop device on it at $LAB/pool.
disk_on() {
  LOOP=$(losetup --find --show "$1")
  mount "$LOOP" "$LAB/pool" 2>>"$LAB/log/mount.log"
}
disk_off() {
  umount "$LAB/pool" 2>/dev/null || umount -l "$LAB/pool"
  losetup -d "$LOOP"
}

start() {
  local library=
  [ -z "$NO_SYNC" ] || library=$(dirname "$VOLATILE_DISK")/libforget_sync.so
  LD_PRELOAD=$library dedupd_start ".root = \"$LAB/pool/dedupd\" | .limits.min_free_bytes = 0"
}

# use_it SEED: pulls a plain image and reads a lazy one, in the background.
use_it() {
  dedupctl pull "$REGISTRY/plain$1:latest" >>"$LAB/log/pull.log" 2>&1 &
  USERS=($!)
  (
    dedupctl mount "$REGISTRY/lazy$1:latest" "$LAB/mnt" && shuf -e "$LAB"/mnt/d000/* --random-source=<(yes "$1") | xargs cat
  ) >/dev/null 2>>"$LAB/log/read.log" &
  USERS+=($!)
  # The kernel writes back what it likes when it likes: here soon, and still without a flush.
  (while sleep 0.02; do find "$LAB/pool/dedupd" -type f -size -1000000k -exec dd iflag=nocache count=0 status=none if={} ';' 2>/dev/null; done) &
  WRITEBACK=$!
}

# power_off: and everything that ran on the disk gone.
power_off() {
  local workers
  mapfile -t workers < <(pgrep -P "${LAB_PIDS[dedupd]}")
  kill "$WRITEBACK"
  kill -USR1 "${LAB_PIDS[disk]}"
  lab_kill dedupd "${workers[@]}"
  wait "${USERS[@]}" "$WRITEBACK" 2>/dev/null || true
  lab_unmount_below "$LAB/pool"
  lab_unmount_below "$LAB/mnt" && { umount -l "$LAB/mnt" 2>/dev/null || true; }
  disk_off
  lab_stop disk
  umount "$LAB/fuse" 2>/dev/null || umount -l "$LAB/fuse" 2>/dev/null || true
}

# one_round FILE_SYSTEM FILE NUMBER
one_round() {
  local verdict seed=$3
  VOLATILE_SEED=$3
  lab_spawn disk "$VOLATILE_DISK" "$2" "$LAB/fuse" "$VOLATILE_SEED"
  lab_ready disk 10 test -e "$LAB/fuse/disk"
  disk_on "$LAB/fuse/disk" || { say "FAIL  $1 cannot be mounted before cut $3"; return 1; }
  start
  use_it "$seed"
  sleep "$((RANDOM % (3 * SLOW))).$((RANDOM % 100))"
  power_off
  disk_on "$2" || { failed "$1, cut $3: the file system cannot be mounted again: $(tail -n 1 "$LAB/log/mount.log")"; return 1; }
  start
  verdict=$(pool_check)
  say "      $1, cut $3: $(tail -n 1 "$LAB/log/disk.log"); $(jq -r '"\(.checked_chunks) chunks, \(.missing_bytes) bytes missing"' <<<"$verdict")"
  check_equal "$1, cut $3: bad chunks" "true 0" "$(jq -r '"\(.clean) \(.bad | length)"' <<<"$verdict")"
  whole "$1, cut $3" "lazy$seed"
  whole "$1, cut $3" "plain$seed"
  lab_stop dedupd
  disk_off
}

# whole WHERE IMAGE: it can be had, and every byte of it is right.
whole() {
  dedupctl mount "$REGISTRY/$2:latest" "$LAB/mnt" >>"$LAB/log/mount.log"
  check_equal "$1: wrong files of $2" 0 "$(wrong_files "$2")"
  dedupctl umount "$LAB/mnt" >>"$LAB/log/mount.log"
}
wrong_files() {
  (cd "$LAB/mnt" && sha256sum d000/* 2>>"$LAB/log/read.log") | diff - "$LAB/$1.sums" | grep -c '^[<>]' || true
}

# An image and the sums of its files.
make_image() { # NAME OPTION...
  python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes $BYTES --chunk $CHUNK "${@:2}" "$LAB/images/$1" >"$LAB/facts.json"
  PYTHONPATH=$REPO/tests/e2e python3 - $FILES $BYTES "${@: -1}" >"$LAB/$1.sums" <<'PY'
import hashlib, sys
from blob_files import content, file_name
files, size, seed = map(int, sys.argv[1:])
for number in range(files):
    print(hashlib.sha256(content(seed, number, 0, size)).hexdigest() + "  " + file_name(number))
PY
}

cuts_on() {
  local file=$LAB/disk.$1 round
  truncate -s 2G "$file"
  "mkfs.$1" -q "$file" >"$LAB/log/mkfs.log" 2>&1 || { skipped "$1: $(tail -n 1 "$LAB/log/mkfs.log")"; return; }
  LOOP=
  disk_on "$file" || { [ -z "$LOOP" ] || losetup -d "$LOOP"; skipped "$1: $(tail -n 1 "$LAB/log/mount.log")"; return; }
  disk_off
  for ((round = 1; round <= ROUNDS; round++)); do one_round "$1" "$file" "$round" || return 0; done
  rm "$file"
}

require_root
require_programs python3 jq losetup
[ -x "$VOLATILE_DISK" ] || die "no $VOLATILE_DISK: build it first"
[ -e /dev/fuse ] || { say "skipped: no /dev/fuse for the disk with a volatile cache"; exit 77; }
lab_open
mkdir "$LAB/images" "$LAB/pool" "$LAB/fuse" "$LAB/mnt"
odd_registry_start --delay-ms 10
for ((round = 1; round <= ROUNDS; round++)); do
  make_image "lazy$round" --seed "$round"
  make_image "plain$round" --form gzip --seed $((100 + round))
done
for file_system in $FILE_SYSTEMS; do cuts_on "$file_system"; done
if [ -z "$NO_SYNC" ] && [[ " $FILE_SYSTEMS " == *" xfs "* ]]; then
  NO_SYNC=1 ROUNDS=3 FILE_SYSTEMS=xfs "$0" "$BUILD" >"$LAB/log/control.log" 2>&1 || true
  check_at_least "control without flushes: failures found" 1 "$(grep -c '^FAIL' "$LAB/log/control.log" || true)"
fi
say "$CHECKS_PASSED passed, $CHECKS_FAILED failed, $SKIPPED skipped"
[ "$CHECKS_FAILED" = 0 ]
