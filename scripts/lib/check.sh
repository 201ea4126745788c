# Counting checks in an end-to-end script: each prints one line with the numbers it compared. Needs say.sh.

CHECKS_PASSED=0
CHECKS_FAILED=0

passed() { CHECKS_PASSED=$((CHECKS_PASSED + 1)); say "ok    $*"; }
failed() { CHECKS_FAILED=$((CHECKS_FAILED + 1)); say "FAIL  $*"; }

# check WHAT COMMAND...
check() { if "${@:2}" >/dev/null; then passed "$1"; else failed "$1"; fi; }

# check_equal WHAT EXPECTED ACTUAL
check_equal() { if [ "$2" = "$3" ]; then passed "$1: $3"; else failed "$1: expected $2, is $3"; fi; }

# check_at_most WHAT LIMIT VALUE, check_at_least WHAT LIMIT VALUE: whole numbers.
check_at_most() { if [ "$3" -le "$2" ]; then passed "$1: $3 <= $2"; else failed "$1: $3 is more than $2"; fi; }
check_at_least() { if [ "$3" -ge "$2" ]; then passed "$1: $3 >= $2"; else failed "$1: $3 is less than $2"; fi; }

# checks_end: the sum, as the last line; false when one failed.
checks_end() {
  say "$CHECKS_PASSED passed, $CHECKS_FAILED failed"
  [ "$CHECKS_FAILED" = 0 ]
}
