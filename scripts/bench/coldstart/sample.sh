# One cold start, measured, and the traps that made others' numbers wrong. Needs modes.sh.

# link_start NAME TO LINK: sets LINK_STARTED, its address.
link_start() {
  lab_spawn "link-$1" "$BUILD/tests/bench/slow_link" --to "$2" --rtt-ms "${3%:*}" --mbit "${3#*:}" --log "$LAB/log/deliveries-$1"
  lab_ready "link-$1" 10 grep -q listening "$LAB/log/link-$1.log"
  LINK_STARTED=$(sed -n 's/^listening on //p' "$LAB/log/link-$1.log")
}

# links_idle: no connection is open through any of them. Clients that go on fetching after a run would slow down the next one.
links_idle() {
  local name
  for name in "${!LAB_PIDS[@]}"; do
    [[ $name == link-* ]] || continue
    kill -USR1 "${LAB_PIDS[$name]}"
    sleep 0.05
    [ "$(tail -n 1 "$LAB/log/$name.log" | jq .open)" = 0 ] || return 1
  done
}

# forget IMAGE: nothing is in the page cache but what the registry serves of the image, and the programs that every node runs all
# the time; and nothing is waiting to be written.
forget() {
  local digests
  mapfile -t digests <"$LAB/served/$1"
  sync -f "$LAB"
  echo 3 >/proc/sys/vm/drop_caches
  registry_warm "${digests[@]#sha256:}"
  cat "${PROGRAMS[@]}" >/dev/null
}

# check_cold: the node has no content, images, snapshots or leases, and dedupd has fetched nothing.
check_cold() {
  local left
  left=$(
    set -e # or no answer would be taken for nothing
    "$CTR" content ls -q
    "$CTR" images ls -q
    "$CTR" leases ls -q
    "$CTR" snapshots --snapshotter "$SNAPSHOTTER" ls | tail -n +2
    ! is_ours "$MODE" || dedupd_number 'if .fetch.bytes > 0 then "\(.fetch.bytes) bytes fetched" else empty end'
  )
  [ -z "$left" ] || die "the node is not cold: $(head -n 3 <<<"$left")"
}

# check_pull IMAGE BYTES: what must be fetched whole was, and a peer that may be lazy is (of ours the bytes in the table tell).
check_pull() {
  local whole
  whole=$(jq .plain.compressed_bytes "${LAYOUTS[$1]}/facts.json")
  if [ -z "$LAZY" ]; then
    [ "$2" -ge "$whole" ] || die "$MODE fetched $2 of $whole bytes of $1: the node was not cold"
  elif ! is_ours "$MODE"; then
    peer_is_lazy || die "$MODE has unpacked $1"
  fi
}

pull() {
  "${PULL[@]}" "$(mode_ref "$1")" >>"$LAB/log/pull.log" 2>&1 </dev/null || die "pull of $1 failed: $(tail -n 3 "$LAB/log/pull.log")"
}

# run_until_ready IMAGE NAME: runs the image's own command until its first line of output, which must be `ready`. runc knows
# containers by id alone: another lab may have one of that name.
run_until_ready() {
  local line pid
  exec 3< <(exec "$CTR" run --rm --snapshotter "$SNAPSHOTTER" "$(mode_ref "$1")" "$2-${LAB##*.}" 2>>"$LAB/log/run.log" </dev/null)
  pid=$!
  read -r line <&3 || die "no output from $1: $(tail -n 3 "$LAB/log/run.log")"
  [[ $line == ready* ]] || die "$1 printed: $line"
  RUN_PID=$pid
}

# A service ends a moment after its first line.
run_end() {
  wait_until 10 lab_gone "$RUN_PID" || lab_stop_containers
  exec 3<&-
}

daemon_pids() {
  local name
  for name in "${!LAB_PIDS[@]}"; do [[ $name == @(registry|link|memory)* ]] || echo "${LAB_PIDS[$name]}"; done
}

# cpu_used: seconds of all daemons, their children and what those have waited for (unpigz, mkfs.erofs), and of clients that ended.
cpu_used() {
  local pid
  {
    for pid in $(daemon_pids); do
      cat "/proc/$pid/stat"
      pgrep -P "$pid" | while read -r child; do cat "/proc/$child/stat" 2>/dev/null || true; done
    done
    sed 's/) S [0-9]*/) S -/' "/proc/$$/stat"
  } | sed 's/.*) //' | awk -v hz="$(getconf CLK_TCK)" '{ sum += ($2 == "-" ? 0 : $12 + $13) + $14 + $15 } END { printf "%.2f", sum / hz }'
}

# cold_start START LINK: one sample of the mode in use.
cold_start() {
  local image old pids t0 t1 mark pull_s run_s warm_s cpu_before cpu_after bytes requests peak
  image=$(image_of "$1") old=$(older_of "$1")
  wait_until 5 links_idle || die "somebody still uses a link"
  forget "$image"
  mode_start "$image"
  check_cold
  if [ -n "$old" ]; then
    pull "$old"
    run_until_ready "$old" old
    run_end
    forget "$image"
  fi
  mark=$(registry_mark "$LOG")
  mapfile -t pids < <(daemon_pids)
  lab_spawn memory python3 "$REPO/scripts/bench/coldstart/peak_memory.py" "${pids[@]}"
  lab_ready memory 10 grep -q looking "$LAB/log/memory.log"
  cpu_before=$(cpu_used)

  t0=$EPOCHREALTIME
  pull "$image"
  pull_s=$(seconds_since "$t0")
  t1=$EPOCHREALTIME
  run_until_ready "$image" cold
  run_s=$(seconds_since "$t1")
  cpu_after=$(cpu_used)
  bytes=$(registry_bytes "$mark" "$LOG")
  requests=$(registry_requests "$mark" "$LOG")
  : >"$LAB/log/memory.log"
  lab_stop memory
  peak=$(cat "$LAB/log/memory.log")
  check_pull "$image" "$bytes"
  run_end

  t1=$EPOCHREALTIME
  run_until_ready "$image" warm
  warm_s=$(seconds_since "$t1")
  run_end
  mode_stop
  jq -nc --arg link "$2" --arg image "$1" --arg mode "$MODE" --arg door "$DOOR" --arg began "$t0" \
    --argjson n "[$pull_s, $run_s, $warm_s, $bytes, $requests, $cpu_before, $cpu_after, $peak]" \
    '{link: $link, image: $image, mode: $mode, door: $door, began: ($began | tonumber), pull_s: $n[0], run_s: $n[1],
      total_s: ($n[0] + $n[1]), warm_s: $n[2], bytes: $n[3], requests: $n[4], cpu_s: ($n[6] - $n[5]), peak_bytes: $n[7]}' >>"$LAB/samples"
  say "$2, round $round: $1, $MODE $DOOR: pull $pull_s s, run $run_s s, again $warm_s s; $bytes bytes, $requests requests"
}

# watch IMAGE LINK: one more cold start of the mode in use, recorded and not timed.
watch() {
  local image=$1 traces=$LAB/watched known
  rm -rf "$traces"
  mkdir "$traces"
  case $MODE in
    profile) cp -r "$LAB/traces/$image/." "$traces" ;;
    wrong) cp -r "$LAB/traces/$image-wrong/." "$traces" ;;
  esac
  mode_start "$image" ".trace.auto_starts = 16 | .prefetch.trace_dir = \"$traces\""
  known=$(find "$traces" -name 'start-*' | wc -l)
  pull "$image"
  run_until_ready "$image" watched
  run_end
  another_start() { [ "$(find "$traces" -name 'start-*' | wc -l)" -gt "$known" ]; }
  wait_until 60 another_start || die "the start of $image was not recorded"
  dedupctl profile show "$(find "$traces" -name 'start-*' | sort | tail -n 1)" --json |
    jq -c --arg link "$2" --arg image "$image" --arg mode "$MODE" --arg door "$DOOR" \
      '{link: $link, image: $image, mode: $mode, door: $door, touched: .trace.touched}' >>"$LAB/watched.json"
  mode_stop
}
