#!/bin/bash
# What a reader of a lazily mounted image sees is the same behind every door, on every file system a pool may be on.
#   run.sh [BUILD]     BUILD: build folder (default: build/release)
#   DOORS="..."        doors to test (default: those that dedup-kcheck finds to work)
#   FILE_SYSTEMS="..." of the pool (default: ext4 xfs btrfs; one that cannot be made or mounted here is skipped by name)
#   IMAGES=N           images mounted at once, on the first file system (200)
#   KILLS=N            kills of the worker under readers, for each combination (10)
#   SLOW=N             how many times slower this machine is than a real one (1)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
IMAGES=${IMAGES:-200} KILLS=${KILLS:-10} SLOW=${SLOW:-1} FILE_SYSTEMS=${FILE_SYSTEMS:-ext4 xfs btrfs} SKIPPED=0
FILES=40 BYTES=$((1 << 20)) CHUNK=$((64 << 10))
HERE=$REPO/tests/conformance/doors

skipped() { SKIPPED=$((SKIPPED + 1)); say "SKIP  $*"; }
ways() { python3 "$HERE/ways.py" "$1" "$LAB/mnt" "$2" "$BYTES" "${@:3}"; }
# is WHAT EXPECTED COMMAND...: what the command prints.
is() { check_equal "$WHERE: $1" "$2" "$("${@:3}" 2>>"$LAB/log/ways.log" || true)"; }
fault() { echo "$LAYER $*" >"$LAB/images/fault"; }
healed() { : >"$LAB/images/fault"; }
fetch_requests() { grep -c '/blobs/.* 206 ' "$LAB/log/registry.log" || true; }
pool_is_clean() { dedupctl check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }
mounted() { mkdir -p "$LAB/mnt" && dedupctl mount "$REGISTRY/$1:latest" "$LAB/mnt" >>"$LAB/log/mount.log"; }
unmounted() { dedupctl umount "$LAB/mnt" >>"$LAB/log/mount.log"; }

# make_image NAME [OPTION...]: sets LAYER.
make_image() {
  [ -e "$LAB/images/$1" ] || python3 "$REPO/tests/e2e/estargz-blob.py" "${@:2}" "$LAB/images/$1" >"$LAB/$1.json"
  LAYER=$(jq -r .layer "$LAB/$1.json")
}

# pool_on FILE_SYSTEM: an empty one at $LAB/disk.
pool_on() {
  local file=$LAB/disk.$1
  truncate -s 3G "$file"
  "mkfs.$1" -q "$file" >"$LAB/log/mkfs.log" 2>&1 || return
  mkdir -p "$LAB/disk"
  mount -o loop "$file" "$LAB/disk" 2>>"$LAB/log/mkfs.log"
}

# Without readahead: a file is missing until it is read.
start() { dedupd_start ".fetch.readahead_bytes = 0 | .fetch.readaround_bytes = 0 | .root = \"$LAB/disk/dedupd\" | .door = \"$DOOR\" | .limits.min_free_bytes = 0 | .fetch.stall_timeout_ms = $((500 * SLOW)) | .fetch.retries = 0"; }

# Every way gets a file of its own: nothing of it is there yet.
every_way() {
  local way number=0 verdict
  make_image all --files $FILES --bytes $BYTES --chunk $CHUNK --program /bin/bash
  mounted all
  for way in read random readahead mmap mmap-backwards mmap-populate direct sendfile splice copy-range; do
    verdict=$(ways $way $number) || true
    if [ "$verdict" = refused ]; then say "      $WHERE: $way is nothing this kernel's EROFS takes"; else
      check_equal "$WHERE: $way" right "$verdict"
      is "$way, present" right ways $way $number
    fi
    number=$((number + 1))
  done
  # shellcheck disable=SC2016 # not for this shell
  is "a program runs while its text is missing" 42 "$LAB/mnt/program" -c 'echo $((6 * 7))'
}

# One missing extent, many readers: one fetch.
one_fetch() {
  local before
  make_image single --files 2 --bytes $BYTES --seed 2
  mounted single
  before=$(fetch_requests)
  is "64 readers of one missing extent" right ways read 0 --seed 2 --readers 64
  check_equal "$WHERE: fetches for them" 1 $(($(fetch_requests) - before))
  unmounted
}

bad_sources() {
  local spec number=10
  make_image all
  fault "slow 300"
  is "slow source" right ways read $number
  for spec in "status 500" "status 404" flip cut wrong-range hang hang-body; do
    number=$((number + 1))
    fault "$spec"
    is "source: $spec" EIO ways read $number
    healed
    is "then healed" right ways read $number
  done
  number=$((number + 1))
  fault "status 500"
  is "mapped page that cannot be had" SIGBUS ways mmap $number
  healed
  is "mapped again" right ways mmap $number
  # Half of the file is there, the rest cannot be had.
  number=$((number + 1))
  dd if="$LAB/mnt/d000/f000$number" of=/dev/null bs=$((BYTES / 2)) count=1 iflag=fullblock status=none
  fault "status 500"
  is "half present, half failing" EIO ways read $number
  is "the half that is present" right head_is_right $number $((BYTES / 4))
  healed
  is "healed" right ways read $number
  make_image lying --lie chunk-digest --seed 3
  unmounted
  mounted lying
  is "lying source" EIO lying_file 4
  is "once more" EIO lying_file 4
  is "its neighbour" right lying_file 5
  unmounted
  mounted all
}
head_is_right() { python3 "$HERE/ways.py" read "$LAB/mnt" "$1" "$2"; }
lying_file() { python3 "$HERE/ways.py" read "$LAB/mnt" "$1" 100000 --seed 3; }

kills() {
  local result
  make_image storm --files 16 --bytes $BYTES --chunk $CHUNK --seed 4
  mkdir -p "$LAB/storm"
  dedupctl mount "$REGISTRY/storm:latest" "$LAB/storm" >>"$LAB/log/mount.log"
  result=$(python3 "$REPO/tests/e2e/read-under-kills.py" --files 16 --bytes $BYTES --seed 4 --readers 8 --kills "$KILLS" --slow "$SLOW" \
    "${LAB_PIDS[dedupd]}:$LAB/storm" 2>>"$LAB/log/ways.log") || true
  check_equal "$WHERE: worker killed under readers" "kills=$KILLS wrong=0 failed=0 stuck=0" "$(sed -E 's/ reads=[0-9]+//' <<<"$result")"
  check "$WHERE: the daemon answers" wait_until 15 dedupctl status
  dedupctl umount "$LAB/storm" >>"$LAB/log/mount.log"
}

busy_and_restart() {
  local before
  exec 4<"$LAB/mnt/d000/f00030"
  is "umount of what is in use is refused" busy umount_says
  is "and harmless" right ways read 30
  exec 4<&-
  unmounted
  lab_stop dedupd
  check_equal "$WHERE: mounts left after a clean stop" 0 "$(grep -c "$LAB/disk/dedupd" /proc/self/mountinfo || true)"
  start
  before=$(fetch_requests)
  mounted all
  is "present before the restart" right ways read 0
  check_equal "$WHERE: fetches for it" 0 $(($(fetch_requests) - before))
  is "missing before the restart" right ways read 31
  unmounted
}
umount_says() { dedupctl umount "$LAB/mnt" 2>&1 | grep -oE 'busy' | head -n 1; }

many_images() {
  local i right
  [ -e "$LAB/images/many0" ] || python3 "$REPO/tests/e2e/estargz-blob.py" --copies "$IMAGES" --files 2 --bytes 8192 --seed 1000 "$LAB/images/many" >"$LAB/many.json"
  for ((i = 0; i < IMAGES; i++)); do
    mkdir -p "$LAB/many/$i"
    dedupctl mount "$REGISTRY/many$i:latest" "$LAB/many/$i" >>"$LAB/log/mount.log"
  done
  right=$(python3 "$HERE/ways.py" read "$LAB/many" 1 8192 --seed 1000 --copies "$IMAGES" | grep -cx right || true)
  check_equal "$WHERE: right among $IMAGES mounted images" "$IMAGES" "$right"
  for ((i = 0; i < IMAGES; i++)); do dedupctl umount "$LAB/many/$i" >>"$LAB/log/mount.log"; done
  say "      $WHERE: VmHWM $(dedupd_number .memory.peak_rss_bytes) bytes"
}

# suite FILE_SYSTEM
suite() {
  WHERE="$DOOR on $1"
  pool_on "$1" || { skipped "$WHERE: $(tail -n 1 "$LAB/log/mkfs.log")"; return; }
  start
  every_way
  bad_sources
  one_fetch_beside
  kills
  busy_and_restart
  [ "$1" != "${FILE_SYSTEMS%% *}" ] || many_images
  check "$WHERE: the pool is clean" pool_is_clean
  lab_stop dedupd
  lab_unmount_below "$LAB/disk"
  umount "$LAB/disk"
  rm "$LAB/disk.$1"
}
one_fetch_beside() {
  unmounted
  one_fetch
  mounted all
}

require_root
require_programs python3 jq
DOORS=${DOORS:-$("$BUILD/kmod-tools/dedup-kcheck" --json | jq -r '.doors[] | select(.works) | .name')}
[ -n "$DOORS" ] || { say "skipped: no door works in this kernel (dedup-kcheck says why)"; exit 77; }
lab_open
mkdir "$LAB/images"
odd_registry_start
for DOOR in $DOORS; do
  for file_system in $FILE_SYSTEMS; do suite "$file_system"; done
done
say "$CHECKS_PASSED passed, $CHECKS_FAILED failed, $SKIPPED skipped"
[ "$CHECKS_FAILED" = 0 ]
