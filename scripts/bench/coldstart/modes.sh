# The modes of a cold start: which programs run on the node, and which form of the image they pull.
#   lazy, profile, wrong   ours, eStargz: what the container asks for is fetched; one earlier start was recorded on this node; a
#                          profile of as many files, none of which the container touches
#   plain                  ours, the image as gzip layers without an index: all of it is fetched, streaming
# and those of peers.sh. Of one mode: MODE, DOOR (ours), SNAPSHOTTER, FORM (plain or lazy), ADDRESS (of the link), LOG (of the
# registry behind it), PULL (the command, without the reference), LAZY (whether it may leave most of the image where it is).

readonly OURS='plain lazy profile wrong'
MODES='overlayfs-1.6 overlayfs-2.1 erofs-2.1 soci stargz nydus plain lazy profile'

is_ours() { [[ " $OURS " == *" $1 "* ]]; }

# modes_present: leaves in MODES what can run here, and writes down why the others cannot; of doors the first, when none was asked for.
modes_present() {
  local mode gap present=()
  case $DOORS in
    '') DOORS=$(bench_doors | head -n 1) ;;
    all) DOORS='' DOORS=$(bench_doors | paste -sd ' ') ;;
  esac
  : >"$LAB/gaps"
  for mode in $MODES; do
    gap=''
    is_ours "$mode" || gap=$(peer_gap "$mode")
    if [ -z "$gap" ]; then present+=("$mode"); else jq -nc --arg mode "$mode" --arg gap "$gap" '{mode: $mode, gap: $gap}' >>"$LAB/gaps"; fi
  done
  MODES=${present[*]}
}

# mode_doors MODE: the doors it is measured behind; "-" for peers.
mode_doors() { if is_ours "$1"; then echo "$DOORS"; else echo -; fi; }

# mode_use MODE DOOR LINK
mode_use() {
  MODE=$1 DOOR=$2 SNAPSHOTTER=dedup FORM=lazy ADDRESS=${LINK_ADDRESS[$3]} LOG=registry LAZY=1
  PULL=(ctr-remote images rpull --plain-http --snapshotter dedup)
  if is_ours "$1"; then
    [ "$1" != plain ] || FORM=plain LAZY=''
  else
    peer_use "$3"
  fi
}

# A start is IMAGE, or OLD>IMAGE: on a node that has run OLD.
image_of() { echo "${1#*>}"; }
older_of() { [[ $1 != *">"* ]] || echo "${1%>*}"; }

mode_ref() { echo "$ADDRESS/$1:$FORM"; }

# mode_start IMAGE [JQ-EDIT]: a node that has nothing, with the programs of the mode running.
mode_start() {
  if is_ours "$MODE"; then
    DEDUPD_DOOR=$DOOR
    lab_cold dedup "$(mode_config "$1") | ${2:-.}"
  else
    peer_start
  fi
}

# mode_stop: none of them runs any more, and nothing that they kept is left.
mode_stop() {
  containerd_wipe
  if is_ours "$MODE"; then dedupd_wipe; else peer_stop; fi
}

# mode_config IMAGE: the jq program that changes dedupd's configuration.
mode_config() {
  case $MODE in
    plain | lazy) echo '.prefetch.enabled = false | .trace.auto_starts = 0' ;;
    profile) echo "$(trace_directory "$1") | .trace.auto_starts = 0" ;;
    wrong) echo "$(trace_directory "$1-wrong") | .trace.auto_starts = 0" ;;
  esac
}

trace_directory() { echo ".prefetch.trace_dir = \"$LAB/traces/$1\""; }

# recordings IMAGE...: records one start of each, and makes the wrong profile of it.
recordings() {
  local image profile
  mkdir "$LAB/profiles"
  for image in "$@"; do
    profile=$LAB/profiles/$image
    mode_use lazy "${DOORS%% *}" "${LINKS%% *}"
    mode_start "$image" "$(trace_directory "$image") | .prefetch.enabled = true | .trace.auto_starts = 1"
    pull "$image"
    run_until_ready "$image" record
    run_end
    wait_until 60 recorded || die "the start of $image was not recorded: $(dedupctl trace list)"
    dedupctl profile export "$(mode_ref "$image")" --output "$profile" >/dev/null
    dedupctl profile show "$profile" --json >"$profile.json"
    say "$image: $(dedupctl profile show "$profile" | sed -n 1p)"
    [[ " $MODES " != *" wrong "* ]] || wrong_profile "$image"
    mode_stop
  done
}

# needed_bytes START: compressed bytes that hold what a recorded start touched, without those that the older image left on the node.
needed_bytes() {
  local image old
  image=$(image_of "$1") old=$(older_of "$1")
  python3 "$REPO/scripts/bench/coldstart/needed_bytes.py" "${LAYOUTS[$image]}/estargz" "$LAB/profiles/$image.json" \
    ${old:+"${LAYOUTS[$old]}/estargz" "$LAB/profiles/$old.json"}
}

recorded() { [ "$(dedupctl trace list --json | jq '[.images[].starts] | add')" = 1 ]; }

# wrong_profile IMAGE: files of the image that are not in its profile, as many as are.
wrong_profile() {
  jq -r '.entries[].path' "$LAB/profiles/$1.json" | sort -u >"$LAB/touched"
  dedupctl mount "$(mode_ref "$1")" "$LAB/mnt" >/dev/null
  find "$LAB/mnt" -type f -size +0 -printf '/%P\n' | sort | comm -23 - "$LAB/touched" |
    shuf --random-source="$BUILD/daemon/dedupd" -n "$(wc -l <"$LAB/touched")" >"$LAB/untouched"
  dedupctl umount "$LAB/mnt" >/dev/null
  dedupctl profile import "$LAB/untouched" --output "$LAB/wrong.profile" >/dev/null
  cp -r "$LAB/traces/$1" "$LAB/traces/$1-wrong"
  rm "$LAB/traces/$1-wrong"/*/*.profile
  cp "$LAB/wrong.profile" "$(echo "$LAB/traces/$1-wrong"/*)/list.profile"
}
