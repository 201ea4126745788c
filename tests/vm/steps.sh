# Steps of a suite inside a guest: one line each, and the output of those that fail. Source it; the suite's arguments are
# TESTS-BUILD BUILD, the folders of the test programs and of dedupd.
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
TESTS=$1/kernel
export BUILD=$2
. "$REPO/scripts/lib/say.sh"
PASSED=0 FAILED=0 SKIPPED=0

# step NAME COMMAND...: 0 passed, 77 skipped, else failed.
step() {
  local log status=0 t0=$EPOCHREALTIME
  log=$(mktemp)
  "${@:2}" >"$log" 2>&1 </dev/null || status=$?
  case $status in
    0) PASSED=$((PASSED + 1)); printf 'ok    %-20s %6.1f s   %s\n' "$1" "$(seconds_since "$t0")" "$(tail -n 1 "$log" | cut -c1-120)" ;;
    77) SKIPPED=$((SKIPPED + 1)); printf 'SKIP  %-20s %6.1f s   %s\n' "$1" "$(seconds_since "$t0")" "$(tail -n 1 "$log")" ;;
    *) FAILED=$((FAILED + 1)); printf 'FAIL  %-20s %6.1f s   status %s\n' "$1" "$(seconds_since "$t0")" "$status"; tail -n 60 "$log" ;;
  esac
  rm -f "$log"
}

steps_end() {
  echo "$(uname -r): $PASSED passed, $FAILED failed, $SKIPPED skipped"
  [ $((PASSED + FAILED)) -gt 0 ] && [ "$FAILED" = 0 ]
}
