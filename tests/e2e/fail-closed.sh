#!/bin/bash
# A lazy image through a door that fails closed: every byte is right, also where chunks do not end on blocks; when all of dedupd is
# killed readers of missing bytes get an error and never zeros; a new dedupd serves new mounts beside the dead one.
#   fail-closed.sh [BUILD]     BUILD: build folder (default: build/release); DEDUPD_DOOR: fuse (default) or cachefiles
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
DEDUPD_DOOR=${DEDUPD_DOOR:-fuse}
for piece in say check lab containerd dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
FILES=24 FILE_BYTES=700003

make_image() { python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes $FILE_BYTES "${@:2}" "$LAB/images/$1" >"$LAB/$1.json"; }
mount_image() { mkdir -p "$LAB/$2" && dedupctl mount "oci:$LAB/images/$1:latest" "$LAB/$2" >>"$LAB/log/mount.log"; }
read_files() { python3 "$REPO/tests/e2e/read-files.py" --files $FILES --bytes $FILE_BYTES "$@"; }
ALL_RIGHT="right=$((FILES * FILE_BYTES)) error=0 wrong=0"
pool_is_clean() { dedupctl check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }
drop_caches() { sync && echo 3 >/proc/sys/vm/drop_caches; }

# killed: keeper and worker at once.
killed() {
  local workers
  mapfile -t workers < <(pgrep -P "${LAB_PIDS[dedupd]}")
  lab_kill dedupd "${workers[@]}"
}

require_root
require_programs python3 jq
lab_open
mkdir "$LAB/images"
make_image big --seed 1
make_image odd --seed 2 --chunk 10000   # three of four blocks at chunk ends belong to two chunks
make_image tar --seed 3 --form gzip
dedupd_start_or_skip
check_equal "door" "$DEDUPD_DOOR" "$(dedupd_number .door)"

mount_image odd odd
check_equal "bytes in the pool after the mount" 0 "$(dedupctl pool stat --json | jq .present_bytes)"
head -c 5000 "$LAB/odd/d000/f00003" >"$LAB/head"
check_at_most "bytes in the pool after one short read" $((2 * FILE_BYTES)) "$(dedupctl pool stat --json | jq .present_bytes)"
check_equal "lazy image with odd chunks" "$ALL_RIGHT" "$(read_files --seed 2 "$LAB/odd")"
mount_image tar tar
check_equal "image of a plain layer" "$ALL_RIGHT" "$(read_files --seed 3 "$LAB/tar")"
drop_caches
check_equal "once more from the disk" "$ALL_RIGHT" "$(read_files --seed 2 "$LAB/odd")"
check "the pool is clean" pool_is_clean

mount_image big big
head -c 5000 "$LAB/big/d000/f00003" >"$LAB/head"
killed
result=$(read_files --first 4 "$LAB/big")
say "reads without any dedupd: $result"
check_equal "right and wrong bytes without any dedupd" "right=0 wrong=0" "$(sed -E 's/error=[0-9]+ //' <<<"$result")"

dedupd_start
check "the dead mount can be taken down" dedupctl umount "$LAB/big"
mount_image big big
check_equal "mounted again" "$ALL_RIGHT" "$(read_files "$LAB/big")"
mount_image odd again
check_equal "beside a dead mount" "$ALL_RIGHT" "$(read_files --seed 2 "$LAB/again")"
check "the pool is clean" pool_is_clean
for mnt in again big; do check "unmounted: $mnt" dedupctl umount "$LAB/$mnt"; done
checks_end
