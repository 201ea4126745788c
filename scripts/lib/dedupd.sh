# Our own programs in the lab: dedupd and dedup-snapshotter. Needs lab.sh, containerd.sh; BUILD is the build folder.

DEDUPD_DOOR=${DEDUPD_DOOR:-auto}
# A program in front of dedupd, with its arguments.
DEDUPD_LAUNCHER=()

# dedupd_start [JQ-EDIT]: writes $LAB/config.json (changed by the jq program, when given) and waits for the API.
dedupd_start() {
  jq -n --arg lab "$LAB" --arg door "$DEDUPD_DOOR" --arg registry "${REGISTRY:-127.0.0.1:1}" \
    '{root: "\($lab)/dedupd", socket: "\($lab)/dedupd.sock", door: $door, log: {level: "debug", format: "text"},
      registries: {($registry): {plain_http: true}}} | '"${1:-.}" >"$LAB/config.json"
  mkdir -p "$LAB/dedupd"
  lab_spawn dedupd "${DEDUPD_LAUNCHER[@]}" "$BUILD/daemon/dedupd" --config "$LAB/config.json"
  lab_ready dedupd 20 dedupctl status
}

# dedupd_start_or_skip: ends the script with 77 where $DEDUPD_DOOR does not work in this kernel.
dedupd_start_or_skip() {
  local refused
  dedupd_start "$@" && return
  refused=$(grep -m 1 'no way to load images lazily' "$LAB/log/dedupd.log") || exit 1
  say "skipped: $refused"
  exit 77
}

dedupctl() { "$BUILD/daemon/dedupctl" --socket "$LAB/dedupd.sock" "$@"; }

# dedupd_number JQ-PATH: one value of the status, e.g. .fetch.bytes
dedupd_number() { dedupctl status --json | jq -r "$1"; }

# snapshotter_start: containerd may run already or start later.
snapshotter_start() {
  mkdir -p "$LAB/snapshotter"
  lab_spawn dedup-snapshotter "$BUILD/snapshotter/dedup-snapshotter" --root "$LAB/snapshotter" --address "$LAB/snapshotter.sock" \
    --daemon "$LAB/dedupd.sock"
  lab_ready dedup-snapshotter 10 test -S "$LAB/snapshotter.sock"
}

# dedupd_wipe: stops both and forgets everything they keep.
dedupd_wipe() {
  lab_stop dedup-snapshotter
  lab_unmount_below "$LAB/snapshotter"
  lab_unmount_below "$LAB/dedupd"
  lab_stop dedupd
  lab_unmount_below "$LAB/dedupd"
  lab_remove_guard
  rm -rf --one-file-system "$LAB/snapshotter" "$LAB/dedupd" "$LAB/snapshotter.sock" "$LAB/dedupd.sock"
}
