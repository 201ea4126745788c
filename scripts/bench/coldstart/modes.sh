# The modes of a cold start: what differs is dedupd's configuration. Needs the libraries of run.sh.

MODES='lazy profile'
RECORDED_STARTS=3

# trace_dir MODE IMAGE: outside the daemon's root, so that it outlives the wiping.
trace_dir() { echo "$LAB/traces/$1/$2"; }

# mode_config MODE IMAGE: the jq program that changes the configuration. Nothing is recorded while it is measured.
mode_config() {
  local common='.prefetch.from_registry = false'
  case $1 in
    lazy) echo "$common | .trace.auto_starts = 0 | .prefetch.enabled = false" ;;
    record) echo "$common | .trace.auto_starts = $RECORDED_STARTS | .trace.quiet_time_ms = 60000 | .prefetch.trace_dir = \"$(trace_dir profile "$2")\"" ;;
    *) echo "$common | .trace.auto_starts = 0 | .prefetch.trace_dir = \"$(trace_dir "$1" "$2")\"" ;;
  esac
}

recorded_starts() { find "$(trace_dir profile "$1")" -name 'start-*.profile' 2>/dev/null | wc -l; }
starts_recorded() { [ "$(recorded_starts "$1")" -ge "$2" ]; }

# record_starts IMAGE: as a node does by itself, here from a registry that is near.
record_starts() {
  local image=$1 start
  lab_cold dedup "$(mode_config record "$image")"
  pull "$REGISTRY/$image:lazy"
  # Held: a container is gone with its image's mount at once, one start after the other.
  mkdir -p "$LAB/held"
  dedupctl mount "$REGISTRY/$image:lazy" "$LAB/held" >>"$LAB/log/pull.log"
  for ((start = 1; start <= RECORDED_STARTS; ++start)); do
    run_until_ready "$REGISTRY/$image:lazy" "record-$start"
    run_end
    wait_until 20 starts_recorded "$image" "$start" || die "start $start of $image was not recorded: $(grep -E 'level=(warn|error)' "$LAB/log/dedupd.log" | tail -n 3)"
  done
  dedupctl umount "$LAB/held" >>"$LAB/log/pull.log"
  say "$image: $(recorded_starts "$image") starts recorded"
}

# modes_prepare IMAGE...: once, before the first round.
modes_prepare() {
  local image
  for image in "$@"; do record_starts "$image"; done
}
