# Messages and small checks every script uses. Source it first.
# Progress goes to stderr, so that a script's stdout stays what it was asked for.

say() { printf '%s\n' "$*" >&2; }

die() {
  say "${0##*/}: $*"
  exit 1
}

require_root() { [ "$(id -u)" = 0 ] || die "must run as root (it mounts and starts containers)"; }

# require_programs NAME...: one clear message instead of a failure half way.
require_programs() {
  local missing=() name
  for name in "$@"; do command -v "$name" >/dev/null || missing+=("$name"); done
  [ ${#missing[@]} -eq 0 ] || die "not installed: ${missing[*]} (run scripts/setup.sh)"
}

# wait_until SECONDS COMMAND...: polls every 50 ms; false when the time is over. SLOW: how many times slower this machine is than
# a real one (1).
wait_until() {
  local deadline=$((SECONDS + $1 * ${SLOW:-1} + 1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.05
  done
}

# seconds_since T0: T0 is a value of $EPOCHREALTIME.
seconds_since() { LC_ALL=C awk -v a="${1/,/.}" -v b="${EPOCHREALTIME/,/.}" 'BEGIN { printf "%.3f", b - a }'; }
