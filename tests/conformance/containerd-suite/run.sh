#!/usr/bin/env bash
# containerd's own snapshotter suite against dedup-snapshotter.
#   run.sh BUILD_DIR     DEDUPD_DOOR: the daemon's door (auto)
# Every case must pass; only Rename, which containerd itself skips, may be skipped. The daemon takes part when BUILD_DIR has
# one and it starts here; otherwise the snapshotter runs alone with --no-convert. Needs root, golang-go and
# golang-github-containerd-containerd-dev, and a TMPDIR whose filesystem can hold an overlay upperdir.
# Exit status 77: something the suite needs is missing, the last line names it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || { echo "usage: run.sh BUILD_DIR" >&2; exit 2; }
build=$(cd "$1" && pwd)
snapshotter=$build/snapshotter/dedup-snapshotter
daemon=$build/daemon/dedupd
gopath=/usr/share/gocode
cases=21
work=
pids=()

skip() { echo "skipped: $1"; exit 77; }

stop_all() {
  local pid
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  pids=()
}

cleanup() {
  local status=$?
  stop_all
  if [ -n "$work" ]; then
    # A case that failed may have left its mounts, a killed daemon its own.
    awk -v top="$work/" 'index($5, top) == 1 {print $5}' /proc/self/mountinfo | tac |
      while read -r target; do umount -l "$target" 2>/dev/null || true; done
    rm -rf "$work"
  fi
  exit "$status"
}

wait_for_socket() {  # SOCKET PID
  local i
  for ((i = 0; i < 100; i++)); do
    [ -S "$1" ] && return 0
    kill -0 "$2" 2>/dev/null || return 1
    sleep 0.1
  done
  return 1
}

# The test program, kept as long as its source and the installed containerd are the same.
build_suite() {
  local cache=${DEDUP_CACHE:-$HOME/.cache/dedup-snapshotter} key
  key=$( (cat "$here/suite_test.go"; go version; cat "$gopath/src/github.com/containerd/containerd/snapshots/testsuite/testsuite.go") |
    sha256sum | cut -c1-16)
  suite=$cache/containerd-suite-$key
  [ -x "$suite" ] && return 0
  mkdir -p "$cache"
  echo "building the suite (about a minute)"
  (cd "$here" && GO111MODULE=off GOPATH=$gopath GOFLAGS=-p=2 go test -c -o "$suite.$$" . && mv "$suite.$$" "$suite")
}

start_daemon() {
  [ -x "$daemon" ] || { echo "no daemon in $build: --no-convert"; return 1; }
  mkdir -p "$work/pool"
  printf '{"root": "%s", "socket": "%s", "door": "%s"}\n' "$work/pool" "$work/dedupd.sock" "${DEDUPD_DOOR:-auto}" > "$work/config.json"
  "$daemon" --config "$work/config.json" > "$work/dedupd.log" 2>&1 &
  pids+=($!)
  wait_for_socket "$work/dedupd.sock" $! && return 0
  echo "the daemon does not start here: --no-convert"
  tail -3 "$work/dedupd.log"
  return 1
}

[ "$(id -u)" = 0 ] || skip "not root"
command -v go >/dev/null || skip "golang-go"
[ -d "$gopath/src/github.com/containerd/containerd/snapshots/testsuite" ] || skip "golang-github-containerd-containerd-dev"
[ -x "$snapshotter" ] || { echo "no $snapshotter: build the target dedup-snapshotter" >&2; exit 2; }
build_suite

trap cleanup EXIT
work=$(mktemp -d -t snap.XXXXXX)  # short: its path is in every lowerdir
convert=()
start_daemon || convert=(--no-convert)
"$snapshotter" --root "$work/root" --address "$work/snap.sock" --daemon "$work/dedupd.sock" --log-level info \
  "${convert[@]}" > "$work/snapshotter.log" 2>&1 &
snapshotter_pid=$!
pids+=("$snapshotter_pid")
wait_for_socket "$work/snap.sock" "$snapshotter_pid" || { cat "$work/snapshotter.log"; exit 1; }

(cd "$work" && TMPDIR=$work SNAP_SOCK=$work/snap.sock timeout 600 "$suite" -test.v -test.root) > "$work/suite.log" 2>&1 || true
passed=$(grep -c '^    --- PASS' "$work/suite.log" || true)
failed=$(grep -c '^    --- FAIL' "$work/suite.log" || true)
skipped=$(grep '^    --- SKIP' "$work/suite.log" || true)
skips=$(grep -c . <<< "$skipped" || true)

kill -TERM "$snapshotter_pid"
stopped=0
wait "$snapshotter_pid" || stopped=$?
pids=("${pids[@]:0:${#pids[@]}-1}")  # it was the last

echo "$passed passed, $failed failed, $skips skipped"
problem=
[ "$failed" = 0 ] || problem="cases failed"
[ $((passed + failed + skips)) = $cases ] || problem="${problem:-not all $cases cases ran}"
grep -v '/Rename ' <<< "$skipped" | grep -q . && problem="${problem:-a case other than Rename was skipped}"
if [ ${#convert[@]} = 0 ]; then
  converted=$(grep -c 'msg="directory converted"' "$work/snapshotter.log" || true)
  echo "the daemon took part: $converted directories converted"
  [ "$converted" -gt 0 ] || problem="${problem:-the daemon converted nothing}"
fi
[ "$stopped" = 0 ] || problem="${problem:-the snapshotter left with status $stopped}"
if [ -n "$problem" ]; then
  echo "$problem"
  grep -E '^ +(---|.*_test|testsuite)' "$work/suite.log" | head -60
  tail -20 "$work/snapshotter.log"
  exit 1
fi
