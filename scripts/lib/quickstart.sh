# The measured part of quickstart.sh: one cold pull and run per mode, one JSON line per mode in $LAB/modes.

quickstart_build() {
  local log=$REPO/build/quickstart.log
  mkdir -p "$REPO/build"
  [ -x "$BUILD/daemon/dedupd" ] && [ "$BUILD" != "$REPO/build/release" ] && return
  say "building (a few minutes the first time; log: $log)"
  { cmake -S "$REPO" --preset release && cmake --build --preset release --target dedupd dedupctl dedup-snapshotter; } >"$log" 2>&1 </dev/null || {
    tail -n 30 "$log" >&2
    die "the build failed"
  }
}

# image_from_reference REF: copies and converts; prints the folder with plain/, estargz/ and facts.json. Cached by digest.
image_from_reference() {
  local ref=$1 source digest dir out=$LAB/imported
  [[ $ref == *:/* || $ref == oci:* ]] && source=$ref || source=docker://$ref
  digest=$(skopeo inspect --format '{{.Digest}}' "$source") || die "cannot read $ref"
  dir=$(image_cache_dir)/imported-${digest#sha256:}
  if [ ! -e "$dir/facts.json" ]; then
    say "copying $ref and converting it to eStargz (kept for the next run)"
    mkdir -p "$out" "$(dirname "$dir")"
    skopeo copy --quiet --insecure-policy --format oci "$source" "oci:$out/plain:latest" >&2
    containerd_start
    image_to_estargz "$out/plain" "$out/estargz" >"$LAB/log/convert.log" 2>&1 || die "conversion failed: $(tail -n 1 "$LAB/log/convert.log")"
    containerd_wipe
    image_keep "$out" "$dir"
  fi
  echo "$dir"
}

# quickstart_mode MODE SNAPSHOTTER KIND: pull, run to the first line of output, then compare the whole tree.
quickstart_mode() {
  local mode=$1 snapshotter=$2 kind=$3 ref=$REGISTRY/image:$3
  local t0 pid pull_s first_s line mark requests bytes door=none peak=null verified=true
  say "mode $mode"
  lab_cold "$snapshotter"
  registry_warm_image "$layouts/$kind" # for every mode alike
  mark=$(registry_mark)

  t0=$EPOCHREALTIME
  quickstart_pull "$snapshotter" "$ref" >"$LAB/log/pull-$mode.log" 2>&1 || die "pull failed: $(tail -n 3 "$LAB/log/pull-$mode.log")"
  pull_s=$(seconds_since "$t0")
  exec 3< <(exec ctr run --rm --snapshotter "$snapshotter" "$ref" "run-$mode" "${command[@]}" 2>"$LAB/log/run-$mode.log" </dev/null)
  pid=$!
  read -r line <&3 || die "no output from the container: $(tail -n 3 "$LAB/log/run-$mode.log")"
  first_s=$(seconds_since "$t0")
  say "  pulled in $pull_s s, first output after $first_s s: $line"

  requests=$(registry_requests "$mark")
  bytes=$(registry_bytes "$mark")
  [ "$snapshotter" = overlayfs ] || door=$(dedupd_number .door)
  # A server goes on after its first line.
  wait_until 5 lab_gone "$pid" || lab_stop_containers
  exec 3<&-
  [ "$snapshotter" = overlayfs ] || peak=$(dedupd_number .memory.peak_rss_bytes)
  tree_of_image "$snapshotter" "$ref" "$LAB/tree-$mode"
  if [ "$mode" != overlayfs ]; then
    tree_compare "$LAB/tree-overlayfs" "$LAB/tree-$mode" --whole-seconds --excuse . >"$LAB/differences" || {
      verified=false
      cat "$LAB/differences" >&2
    }
  fi
  jq -c --arg mode "$mode" --arg image "$ref" --arg door "$door" --arg kind "$kind" \
    --argjson n "[$pull_s, $first_s, $bytes, $requests, $verified, $peak]" \
    '.[$kind] as $facts | {mode: $mode, image: $image} + ($facts | {layers, files, compressed_bytes}) +
      {pull_s: $n[0], first_output_s: $n[1], bytes_fetched: $n[2], registry_requests: $n[3], door: $door, verified: $n[4],
       daemon_peak_bytes: $n[5]}' \
    "$layouts/facts.json" >>"$LAB/modes"
}

# Labels, which let a snapshotter fetch by itself, are sent by ctr-remote; containerd 1.6's ctr has none.
quickstart_pull() {
  case $1 in
    overlayfs) ctr image pull --plain-http --snapshotter overlayfs "$2" ;;
    dedup) ctr-remote images rpull --plain-http --snapshotter dedup "$2" ;;
  esac
}

quickstart_table() {
  jq -rs '.[0] | "\n\(.image | sub(":plain$"; "")): \(.layers) layers, \(.files) files, \(.compressed_bytes / 1e6 | floor) MB compressed\n"' "$LAB/modes"
  printf '%-14s %8s %16s %12s %10s %-9s %-9s %s\n' mode pull 'first output' fetched requests door contents 'daemon peak'
  jq -rs '.[] | [.mode, .pull_s, .first_output_s, (.bytes_fetched / 1e5 | round / 10), .registry_requests, .door,
      (if .verified then "equal" else "DIFFERENT" end),
      (.daemon_peak_bytes | if . then "\(. / 1048576 | ceil) MiB" else "-" end)] | @tsv' "$LAB/modes" |
    while IFS=$'\t' read -r mode pull first mb requests door contents peak; do
      LC_ALL=C printf '%-14s %6.2f s %14.2f s %9.1f MB %10d %-9s %-9s %s\n' "$mode" "$pull" "$first" "$mb" "$requests" "$door" "$contents" "$peak"
    done
}
