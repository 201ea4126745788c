# The modes of a cold start: what differs is dedupd's configuration, and which profiles it finds.
#   lazy     what the container asks for is fetched
#   profile  one earlier start was recorded on this node
#   wrong    a profile of as many files, none of which the container touches

MODES='lazy profile wrong'

# modes_prepare IMAGE...: records one start of each, over the same link, and makes the wrong profile of it.
modes_prepare() {
  local image
  for image in "$@"; do
    lab_cold dedup "$(trace_directory "$image") | .trace.auto_starts = 1"
    pull "$image"
    run_until_ready "$image" record
    run_end
    wait_until 60 recorded "$image" || die "the start of $image was not recorded: $(dedupctl trace list)"
    wrong_profile "$image"
    say "$image: $(dedupctl profile show "$LAB/right.profile" | sed -n 1p); the wrong profile: $(dedupctl profile show "$LAB/wrong.profile" | sed -n 1p)"
  done
}

recorded() { [ "$(dedupctl trace list --json | jq '[.images[].starts] | add')" = 1 ]; }

# wrong_profile IMAGE: files of the image that are not in its profile, as many as are.
wrong_profile() {
  local ref=$LINK_ADDRESS/$1:lazy
  dedupctl profile export "$ref" --output "$LAB/right.profile" >/dev/null
  dedupctl profile show "$LAB/right.profile" --json | jq -r '.entries[].path' | sort -u >"$LAB/touched"
  dedupctl mount "$ref" "$LAB/mnt" >/dev/null
  find "$LAB/mnt" -type f -size +0 -printf '/%P\n' | sort | comm -23 - "$LAB/touched" |
    shuf --random-source="$BUILD/daemon/dedupd" -n "$(wc -l <"$LAB/touched")" >"$LAB/untouched"
  dedupctl umount "$LAB/mnt" >/dev/null
  dedupctl profile import "$LAB/untouched" --output "$LAB/wrong.profile" >/dev/null
  cp -r "$LAB/traces/$1" "$LAB/traces/$1-wrong"
  rm "$LAB/traces/$1-wrong"/*/*.profile
  cp "$LAB/wrong.profile" "$(echo "$LAB/traces/$1-wrong"/*)/list.profile"
}

trace_directory() { echo ".prefetch.trace_dir = \"$LAB/traces/$1\""; }

# mode_config MODE IMAGE: the jq program that changes the configuration.
mode_config() {
  case $1 in
  lazy) echo '.prefetch.enabled = false | .trace.auto_starts = 0' ;;
  profile) echo "$(trace_directory "$2") | .trace.auto_starts = 0" ;;
  wrong) echo "$(trace_directory "$2-wrong") | .trace.auto_starts = 0" ;;
  esac
}
