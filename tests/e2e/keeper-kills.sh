#!/bin/bash
# SIGKILL of keeper and worker at one moment, again and again, under 16 verifying readers of a lazy mount, with a service manager
# that starts dedupd again: the witness keeps every reader waiting, the next dedupd takes over. No wrong byte, no failed read, no
# stuck reader. Then the witness dies, too: with the service manager's fd store nothing is lost; without it the guard kills the
# readers before they see a hole, and the next dedupd serves new mounts. (What a door that fails closed does then: fail-closed.sh.)
#   keeper-kills.sh [BUILD]     BUILD: build folder (default: build/release); KILLS (20), READERS (16), FILE_BYTES (8 MiB)
#   DEDUPD_DOOR: fanotify (default), fuse or cachefiles; SLOW: how many times slower this machine is than a real one (1)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
DEDUPD_DOOR=${DEDUPD_DOOR:-fanotify}
for piece in say check lab containerd registry dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
KILLS=${KILLS:-20} READERS=${READERS:-16} SLOW=${SLOW:-1}
FILES=64 FILE_BYTES=${FILE_BYTES:-$((8 << 20))} CHUNK_BYTES=$((64 << 10))

pool_is_clean() { dedupctl check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }
processes() { pgrep -cf "^(/proc/self/exe|$BUILD/daemon/dedupd) .*$LAB/config.json" || true; }
worker_is_alone() { [ "$(dedupd_number .holders)" = 1 ]; }
# The service manager goes first: it must not start the next one.
kill_keeper_and_witness() {
  local keeper witness
  keeper=$(dedupd_number .keeper_pid) witness=$(dedupd_number .witness_pid)
  lab_kill dedupd
  kill -KILL "$keeper" "$witness"
}
family_is_whole() { [ "$(dedupd_number .holders)" = 3 ]; }

# start_service [--fd-store]
start_service() {
  mkdir -p "$LAB/service"
  DEDUPD_LAUNCHER=(python3 "$REPO/tests/e2e/service-manager.py" "$@" --state "$LAB/service")
  dedupd_start_or_skip
}

# storm WHO KILLS MNT: the line of read-under-kills.py
storm() {
  python3 "$REPO/tests/e2e/read-under-kills.py" --files $FILES --bytes "$FILE_BYTES" --readers "$READERS" --kills "$2" --victims "$1" \
    --slow "$SLOW" "$LAB/service/pid:$3" 2>>"$LAB/log/readers.log" || true
}

# second_is_refused: while a keeper lives.
second_is_refused() {
  local status=0
  "$BUILD/daemon/dedupd" --config "$LAB/config.json" >>"$LAB/log/second.log" 2>&1 || status=$?
  [ "$status" = 73 ]
}

require_root
require_programs python3 jq
lab_open
mkdir "$LAB/images" "$LAB/mnt" "$LAB/mnt2"
python3 "$REPO/tests/e2e/estargz-blob.py" --files $FILES --bytes "$FILE_BYTES" --chunk $CHUNK_BYTES "$LAB/images/storm" >"$LAB/facts.json"
# The delay keeps most of the image missing until the last kill.
odd_registry_start --delay-ms 25

facts_of() { sed -E 's/ (reads|guarded)=[0-9]+//g' <<<"$1"; }
mount_storm() { dedupctl mount "$REGISTRY/storm:latest" "$1" >>"$LAB/log/mount.log"; }

say "--- keeper and worker die together"
start_service
mount_storm "$LAB/mnt"
check "three processes hold the groups" wait_until 5 family_is_whole
t0=$EPOCHREALTIME
result=$(storm keeper "$KILLS" "$LAB/mnt")
say "$result ($(seconds_since "$t0") s)"
check_equal "storm" "kills=$KILLS wrong=0 failed=0 stuck=0" "$(facts_of "$result")"
check "dedupd answers" wait_until 15 dedupctl status
check "three processes hold the groups again" wait_until 15 family_is_whole
check "a second dedupd is refused" second_is_refused
check_equal "processes of dedupd" 3 "$(processes)"
check "the pool is clean" pool_is_clean
check "the mount can be taken down" dedupctl umount "$LAB/mnt"
lab_stop dedupd
check_equal "processes left after a stop" 0 "$(processes)"

say "--- keeper and witness die, the worker is left alone"
start_service
mount_storm "$LAB/mnt"
check "three processes hold the groups" wait_until 5 family_is_whole
kill_keeper_and_witness
check "the worker serves on, and says that it is the only holder" wait_until 5 worker_is_alone
check "and raises the alarm" wait_until 5 grep -q 'level=error msg="only this process holds' "$LAB/log/dedupd.log"
DEDUPD_LAUNCHER=()
dedupd_start
check "the next dedupd takes over from it" wait_until 10 family_is_whole
echo "${LAB_PIDS[dedupd]}" >"$LAB/service/pid"
result=$(storm worker 2 "$LAB/mnt")
check_equal "the mount still serves" "kills=2 wrong=0 failed=0 stuck=0" "$(facts_of "$result")"
check "dedupd answers" wait_until 15 dedupctl status
check "the mount can be taken down" dedupctl umount "$LAB/mnt"
lab_stop dedupd
check_equal "processes left after a stop" 0 "$(processes)"

say "--- all three die, the service manager keeps the fds"
start_service --fd-store
mount_storm "$LAB/mnt"
check "three processes hold the groups" wait_until 5 family_is_whole
case $DEDUPD_DOOR in
  fanotify) check_equal "groups in the fd store" 16 "$(grep -c ^group- "$LAB/service/stored")" ;;
  cachefiles) check_equal "/dev/cachefiles in the fd store" 1 "$(grep -cx segment-4294901761 "$LAB/service/stored")" ;;
  fuse) check_equal "FUSE connection and mount in the fd store" 2 "$(grep -cE '^segment-429490176[02]$' "$LAB/service/stored")" ;;
esac
result=$(storm all $((KILLS / 4)) "$LAB/mnt")
say "$result"
check_equal "storm" "kills=$((KILLS / 4)) wrong=0 failed=0 stuck=0" "$(facts_of "$result")"
check "three processes hold the groups again" wait_until 15 family_is_whole
result=$(storm keeper 1 "$LAB/mnt")
check_equal "the mount still serves" "kills=1 wrong=0 failed=0 stuck=0" "$(facts_of "$result")"
check "the mount can be taken down" wait_until 15 dedupctl umount "$LAB/mnt"
check_at_least "times it told that it is ready" 2 "$(cat "$LAB/service/ready")"
lab_stop dedupd
check_equal "fds left in the store" 0 "$(grep -c . "$LAB/service/stored" || true)"

say "--- all three die, nothing is left"
start_service
if [ "$DEDUPD_DOOR" != fanotify ]; then
  say "      $DEDUPD_DOOR fails closed without a guard"
elif [ "$(dedupd_number .guard)" = null ]; then
  say "skipped: no guard in this kernel: $(grep -m 1 'no guard' "$LAB/log/dedupd.log")"
else
  mount_storm "$LAB/mnt"
  check_at_least "guarded mounts" 1 "$(dedupd_number .guard.armed)"
  result=$(storm all 1 "$LAB/mnt")
  say "$result"
  check_equal "storm" "kills=1 wrong=0 failed=0 stuck=0" "$(facts_of "$result")"
  check_at_least "readers killed by the guard" 1 "${result##*guarded=}"
  check "dedupd answers" wait_until 15 dedupctl status
  check_equal "lost mounts that stay closed" 1 "$(dedupd_number .guard.lost)"
  mount_storm "$LAB/mnt2"
  result=$(storm keeper 2 "$LAB/mnt2")
  check_equal "a new mount serves" "kills=2 wrong=0 failed=0 stuck=0" "$(facts_of "$result")"
  check "dedupd answers" wait_until 15 dedupctl status
  check "the lost mount can be taken down" dedupctl umount "$LAB/mnt"
  check "the new mount can be taken down" dedupctl umount "$LAB/mnt2"
  check_equal "lost mounts" 0 "$(dedupd_number .guard.lost)"
fi
lab_stop dedupd
check_equal "segments used after their fd was closed" 0 "$(grep -c 'Bad file descriptor' "$LAB/log/dedupd.log" || true)"

say "$CHECKS_PASSED passed, $CHECKS_FAILED failed, 0 skipped"
[ "$CHECKS_FAILED" = 0 ]
