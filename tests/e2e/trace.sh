#!/bin/bash
# What containers really touch is recorded, and the next node starts from it: by itself and on request, warm or cold, one image
# or several at once; through a registry that knows no referrers; and hostile profiles cost a line in the log.
#   trace.sh [BUILD]     BUILD: build folder (default: build/release)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry image-build image-convert dedupd cold; do . "$REPO/scripts/lib/$piece.sh"; done

NUMPY='import numpy; print(numpy.eye(100).trace())'
PROFILE_TYPE=application/vnd.dedup-snapshotter.profile.v1+json+zstd
MANIFEST_TYPE=application/vnd.oci.image.manifest.v1+json
INDEX_TYPE=application/vnd.oci.image.index.v1+json

pull() { ctr-remote images rpull --plain-http --snapshotter dedup "$1" >>"$LAB/log/pull.log" 2>&1 || die "rpull of $1 failed: $(tail -n 3 "$LAB/log/pull.log")"; }
# Other labs' containers have other names: runc knows them by id alone.
name() { echo "$1-${LAB##*.}"; }
# run REF NAME COMMAND...
run() { ctr run --rm --snapshotter dedup "$1" "$(name "$2")" "${@:3}" 2>>"$LAB/log/run.log" </dev/null; }
run_detached() { ctr run -d --snapshotter dedup "$1" "$(name "$2")" "${@:3}" >>"$LAB/log/run.log" 2>&1 </dev/null; }
end_container() { ctr task rm -f "$(name "$1")" >>"$LAB/log/run.log" 2>&1 && ctr container rm "$(name "$1")" >>"$LAB/log/run.log"; }
numpy() { run "$1" "$2" python3 -c "$NUMPY"; }

traces() { echo ".prefetch.trace_dir = \"$LAB/traces/$1\" | .trace.auto_starts = $2"; }
# starts_of TEXT: files of starts whose name has that in it.
starts_of() { find "$LAB/traces" -name "start-*$1*.profile" -o -name "part-*$1*.profile"; }
starts() { dedupctl trace list --json | jq "[.images[] | select(.ref == \"$1\").starts] | add // 0"; }
recorded() { [ -n "$(starts_of "$(name "$1")")" ]; }
# trace_of NAME: waits for the trace of that container; $LAB/NAME.json is what `profile show` says of it.
trace_of() {
  wait_until 30 recorded "$1" || die "container $1 was not recorded: $(dedupctl trace list)"
  dedupctl profile show "$(starts_of "$(name "$1")")" --json >"$LAB/$1.json"
}
# of NAME JQ-PROGRAM: a value of that.
of() { jq -r "$2" "$LAB/$1.json"; }
touches() { jq -e --arg path "$2" 'any(.entries[]; .path | test($path))' "$LAB/$1.json"; }
touches_not() { ! touches "$@"; }
# blocks_of NAME BYTES: the set of blocks of that size it touches, one per line.
blocks_of() {
  jq -r --argjson size "$2" '.entries[] | .path as $path | .layer as $layer
    | range((.offset / $size | floor); ((.offset + .length - 1) / $size | floor) + 1) | "\($layer) \($path) \(.)"' "$LAB/$1.json" | sort -u
}
dedupd_log_lines() { wc -l <"$LAB/log/dedupd.log"; }
# dedupd_logged LINES TEXT: how often since then.
dedupd_logged() { tail -n "+$(($1 + 1))" "$LAB/log/dedupd.log" | grep -c -- "$2" || true; }

by_itself() {
  local mark
  lab_cold dedup "$(traces own 1) | .prefetch.enabled = false"
  mark=$(registry_mark)
  pull "$DEMO"
  check_equal "numpy runs" 100.0 "$(numpy "$DEMO" first)"
  LAZY_BYTES=$(registry_bytes "$mark")
  trace_of first
  check_equal "starts recorded" 1 "$(starts "$DEMO")"
  check_equal "the container's id" "$(name first)" "$(of first .trace.container)"
  check_equal "the entrypoint" "python3 -c $NUMPY" "$(of first '.entrypoint | join(" ")')"
  check_equal "runs and source" "1 touches" "$(of first '"\(.runs) \(.source)"')"
  check "its program was touched" touches first '^/usr/bin/python3'
  check "libc was touched" touches first '/libc\.so\.6$'
  check "numpy was touched" touches first '/numpy/'
  check "pandas was not" touches_not first '/pandas/'
  check_at_least "pieces fetched for readers or along with theirs" 100 "$(of first '.trace.fetched.reader.ranges + .trace.fetched.readahead.ranges')"
  check_equal "prefetched or filled" 0 "$(of first '.trace.fetched.prefetch.ranges + .trace.fetched.background.ranges')"
  check_equal "touched before anything fetched it" 0 "$(of first .trace.touched.present)"
  check_equal "touches dropped" 0 "$(dedupctl trace list --json | jq .recorder.dropped)"
  dedupctl trace show "$DEMO" --json >"$LAB/show.json"
  check "trace show IMAGE is that start" cmp "$LAB/first.json" "$LAB/show.json"
  dedupctl trace show "$DEMO" >"$LAB/show.txt"
  check "as text it names the container" grep -q "$(name first)" "$LAB/show.txt"
  check "and the files" grep -q /libc.so.6 "$LAB/show.txt"
  dedupctl trace show "$DEMO" --html "$LAB/show.html" >/dev/null
  check "as a page, too" grep -q '</html>' "$LAB/show.html"
}

# Behind by_itself: all is in the pool and in the page cache.
on_request() {
  local mark stopped
  numpy "$DEMO" unwanted >/dev/null
  sleep 1
  check_equal "starts after trace.auto_starts of them" 1 "$(starts "$DEMO")"

  dedupctl trace start "$DEMO" >/dev/null
  mark=$(registry_mark)
  check_equal "numpy runs again" 100.0 "$(numpy "$DEMO" second)"
  trace_of second
  check_equal "blobs asked for meanwhile" 0 "$(registry_requests "$mark")"
  check_equal "fetched, in the trace" 0 "$(of second '[.trace.fetched[].ranges] | add')"
  same_touches first second
  run_detached "$DEMO" third python3 -c "$NUMPY; import time; time.sleep(600)"
  wait_until 20 recording third
  sleep 1
  stopped=$(dedupctl trace stop "$DEMO")
  check "trace stop names the file of what still runs" test -e "$(grep -F "$(name third)" <<<"$stopped")"
  check "and of what ran before" test -e "$(grep -F "$(name second)" <<<"$stopped")"
  end_container third
  numpy "$DEMO" unwanted >/dev/null
  sleep 1
  check_equal "trace show CONTAINER is of that one" "$(name second)" "$(dedupctl trace show "$(name second)" --json | jq -r .trace.container)"
  check_equal "or of one whose id begins so" "$(name third)" "$(dedupctl trace show third --json | jq -r .trace.container)"
  check_equal "starts after trace stop" 3 "$(starts "$DEMO")"
  check "the recorder is detached from the kernel then" wait_until 10 attached false
  dedupctl trace start "$DEMO" >/dev/null
  check "attached while one is wanted" wait_until 10 attached true
  dedupctl trace stop "$DEMO"
  check "and not when it has not come" wait_until 10 attached false
  a_running_one
}

attached() { [ "$(dedupctl trace list --json | jq .recorder.attached)" = "$1" ]; }

recording() { dedupctl trace list --json | jq -e --arg name "$(name "$1")" 'any(.active[]; .container == $name)'; }

a_running_one() {
  local pid
  run_detached "$DEMO" shell sh -c 'cat /usr/share/dpkg/cputable; until [ -e /go ]; do sleep 0.1; done; cat /usr/share/dpkg/ostable; touch /done; sleep 600'
  pid=$(ctr task ls | awk -v name="$(name shell)" '$1 == name { print $2 }')
  sleep 0.5
  dedupctl trace start "$(name shell)" >/dev/null
  : >"/proc/$pid/root/go"
  wait_until 10 test -e "/proc/$pid/root/done" || die "the shell does not go on"
  check "trace stop CONTAINER prints the file" test -e "$(dedupctl trace stop "$(name shell)")"
  trace_of shell
  check "what it read afterwards is in it" touches shell '^/usr/share/dpkg/ostable$'
  check "what it read before is not" touches_not shell '^/usr/share/dpkg/cputable$'
  end_container shell
}

# The first ranges of a profile, and no more, where the queue is short. A range may lie in several pieces.
short_queue() {
  cp -r "$LAB/traces/own" "$LAB/traces/short"
  lab_cold dedup "$(traces short 16) | .prefetch.queue_size = 3"
  pull "$DEMO"
  check_equal "numpy runs with prefetch.queue_size 3" 100.0 "$(numpy "$DEMO" short)"
  trace_of short
  check_at_least "ranges prefetched" 1 "$(of short .trace.fetched.prefetch.ranges)"
  check_at_most "ranges prefetched, no more than a few," 9 "$(of short .trace.fetched.prefetch.ranges)"
}

# in_container NAME COMMAND...: as a liveness probe would.
in_container() { ctr task exec --exec-id "probe$RANDOM" "$(name "$1")" "${@:2}" >>"$LAB/log/run.log" 2>&1 </dev/null; }
not_recording() { [ "$(dedupctl trace list --json | jq '.active | length')" = 0 ]; }
# What that container reads now is of no start. Looks are taken twice a second.
late_reads() {
  in_container "$1" cat "$2" || die "cat $2 in $1: $(tail -n 1 "$LAB/log/run.log")"
  sleep 1.5
  wait_until 10 not_recording || die "a recording does not end"
}
restarted() { local pid; pid=$(dedupd_number .pid) && [ "$pid" != "$1" ] && [ "$pid" != null ]; }

# A container that goes on reading is one start, whoever looks when.
one_container_is_one_start() {
  local pid
  lab_cold dedup "$(traces again 3) | .trace.quiet_time_ms = 1000"
  pull "$DEMO"
  run_detached "$DEMO" busy sh -c 'cat /usr/share/dpkg/cputable; sleep 600'
  trace_of busy
  late_reads busy /usr/share/dpkg/ostable
  check_equal "starts of a container that reads on after its start" 1 "$(starts "$DEMO")"
  pid=$(dedupd_number .pid)
  kill -KILL "$pid"
  wait_until 20 restarted "$pid" || die "the worker does not come back"
  late_reads busy /usr/share/dpkg/tupletable
  check_equal "starts after the worker was restarted below it" 1 "$(starts "$DEMO")"
  numpy "$DEMO" next >/dev/null
  trace_of next
  check_equal "starts with one that came then, to the same mount" 2 "$(starts "$DEMO")"
  dedupctl profile rm "$DEMO"
  late_reads busy /etc/debian_version
  check_equal "starts after profile rm, the container still runs" 0 "$(starts "$DEMO")"
  numpy "$DEMO" anew >/dev/null
  trace_of anew
  check_equal "starts with one that came then" 1 "$(starts "$DEMO")"
  run_detached "$DEMO" long sh -c 'for file in /usr/bin/*; do cat "$file" >/dev/null; sleep 0.1; done; sleep 600'
  wait_until 20 recording long
  check "trace stop IMAGE ends what is recorded by itself" test -e "$(dedupctl trace stop "$DEMO" | grep -F "$(name long)")"
  end_container long
  end_container busy
}

# A container served wholly from the page cache touches what the first did.
same_touches() {
  local one=$LAB/$1 two=$LAB/$2 both all
  blocks_of "$1" $((4 << 20)) >"$one.4m"
  blocks_of "$2" $((4 << 20)) >"$two.4m"
  check "touched from cache: the same $(wc -l <"$one.4m") ranges of files as when fetched" cmp "$one.4m" "$two.4m"
  diff "$one.4m" "$two.4m" >&2 || true
  blocks_of "$1" $((64 << 10)) >"$one.64k"
  blocks_of "$2" $((64 << 10)) >"$two.64k"
  both=$(comm -12 "$one.64k" "$two.64k" | wc -l)
  all=$(sort -u "$one.64k" "$two.64k" | wc -l)
  check_at_least "in blocks of 64 KiB, $both of $all are of both: percent" 90 $((both * 100 / all))
}

# A new node with those traces.
fetched_ahead() {
  local mark bytes all missed
  lab_cold dedup "$(traces own 16)"
  mark=$(registry_mark)
  pull "$DEMO"
  check_equal "numpy runs on a new node" 100.0 "$(numpy "$DEMO" ahead)"
  trace_of ahead
  bytes=$(registry_bytes "$mark")
  say "touched: $(of ahead '.trace.touched | tojson'), fetched: $(of ahead '.trace.fetched | tojson')"
  all=$(of ahead '[.trace.touched[]] | add') missed=$(of ahead .trace.touched.miss)
  check_at_most "ranges it had to fetch itself, of $all" $((all * 3 / 100)) "$missed"
  check_at_most "bytes from the registry where plain lazy takes $LAZY_BYTES" $((LAZY_BYTES * 5 / 4)) "$bytes"
}

through_the_registry() {
  local lines
  dedupctl profile push "$DEMO" >"$LAB/pushed"
  say "$(cat "$LAB/pushed")"
  check "the registry lists it under a tag" registry_get manifests "$(referrers_tag)" "$INDEX_TYPE"
  lab_cold dedup "$(traces other 0)"
  lines=$(dedupd_log_lines)
  pull "$DEMO"
  check_equal "numpy runs on another node" 100.0 "$(numpy "$DEMO" elsewhere)"
  check_at_least "lines of what was prefetched" 1 "$(dedupd_logged "$lines" "prefetched.*profile of")"
  check "the profile is kept" compgen -G "$LAB/traces/other/*/registry.profile"
}

# registry_get manifests|blobs REFERENCE [TYPE]: of the demo image's repository.
registry_get() { curl -fsS ${3:+-H "Accept: $3"} "http://$REGISTRY/v2/demo/$1/$2"; }
referrers_tag() { image_digest "$REGISTRY/demo:lazy" | tr : -; }
image_digest() { skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$1"; }

# put_blob FILE: prints its descriptor.
put_blob() {
  local digest location
  digest=sha256:$(sha256sum "$1" | cut -d' ' -f1)
  location=$(curl -fsS -D - -o /dev/null -X POST "http://$REGISTRY/v2/demo/blobs/uploads/" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
  curl -fsS -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$1" "http://$REGISTRY$location&digest=$digest"
  jq -nc --arg digest "$digest" --arg type "$PROFILE_TYPE" --argjson size "$(stat -c %s "$1")" '{mediaType: $type, digest: $digest, size: $size}'
}

# put_manifest TYPE REFERENCE|'' FILE: under its digest by default.
put_manifest() {
  curl -fsS -X PUT -H "Content-Type: $1" --data-binary "@$3" "http://$REGISTRY/v2/demo/manifests/${2:-sha256:$(sha256sum "$3" | cut -d' ' -f1)}"
}

# hostile FILE...: artifacts of these bytes take the place of what is listed for the image.
hostile() {
  local file artifact index=$LAB/index.json manifest=$LAB/artifact.json
  registry_get manifests "$(referrers_tag)" "$INDEX_TYPE" >"$index"
  artifact=$(jq -r '.manifests[0].digest' "$index")
  registry_get manifests "$artifact" "$MANIFEST_TYPE" >"$LAB/good.json"
  jq -c '.manifests |= .[:1]' "$index" >"$LAB/good-index.json"
  jq -c '.manifests = []' "$index" >"$LAB/bad-index.json"
  for file in "$@"; do
    jq -c --argjson layer "$(put_blob "$file")" '.layers = [$layer]' "$LAB/good.json" >"$manifest"
    put_manifest "$MANIFEST_TYPE" '' "$manifest"
    jq -c --slurpfile good "$LAB/good-index.json" --arg digest "sha256:$(sha256sum "$manifest" | cut -d' ' -f1)" --argjson size "$(stat -c %s "$manifest")" \
      '.manifests += [$good[0].manifests[0] + {digest: $digest, size: $size}]' "$LAB/bad-index.json" >"$index"
    mv "$index" "$LAB/bad-index.json"
  done
  put_manifest "$INDEX_TYPE" "$(referrers_tag)" "$LAB/bad-index.json"
}

hostile_profiles() {
  local lines mark
  head -c 4096 /dev/urandom >"$LAB/garbage"
  head -c 20000000 /dev/urandom >"$LAB/large"
  hostile "$LAB/garbage" "$LAB/large" "$(starts_of "$(name left)")"
  lab_cold dedup "$(traces hostile 0)"
  lines=$(dedupd_log_lines)
  mark=$(registry_mark)
  pull "$DEMO"
  check_equal "numpy runs where only hostile profiles are" 100.0 "$(numpy "$DEMO" hostile)"
  check_equal "warnings, one for each" 3 "$(dedupd_logged "$lines" 'a profile of the registry is not usable')"
  check_equal "of one that names another image's layers" 1 "$(dedupd_logged "$lines" 'it is of another image')"
  check_equal "other warnings" 0 "$(($(dedupd_logged "$lines" level=warn) - 3))"
  check_equal "prefetched" 0 "$(dedupd_logged "$lines" prefetched)"
  check_at_most "bytes of layers, with those of the profiles that were looked at" $((LAZY_BYTES * 102 / 100 + 65536)) "$(registry_bytes "$mark")"
}

# two_of_a_base: OCI layouts that share the demo image's first layers. left: those, and pair-v1's program; right: the demo image.
make_left() {
  local config manifest pair=$1 out=$2
  cp -r "$demo/estargz" "$out"
  cp "$pair/estargz/blobs/sha256/"* "$out/blobs/sha256/"
  config_of() { jq -c . "$1/estargz/blobs/$(image_manifest "$1/estargz" | jq -r '.config.digest' | tr : /)"; }
  config=$(jq -cn --argjson demo "$(config_of "$demo")" --argjson pair "$(config_of "$pair")" \
    '$pair | .rootfs.diff_ids = $demo.rootfs.diff_ids[:3] + $pair.rootfs.diff_ids[-1:] | del(.history)')
  manifest=$(jq -cn --argjson demo "$(image_manifest "$demo/estargz")" --argjson pair "$(image_manifest "$pair/estargz")" \
    --argjson config "$(layout_put "$out" "$config")" \
    '$pair | .layers = $demo.layers[:3] + $pair.layers[-1:] | .config += $config')
  jq -c --argjson manifest "$(layout_put "$out" "$manifest")" '.manifests[0] += $manifest' "$out/index.json" >"$out/index.new"
  mv "$out/index.new" "$out/index.json"
}

# layout_put LAYOUT TEXT: prints {digest, size}.
layout_put() {
  local digest
  digest=$(printf %s "$2" | sha256sum | cut -d' ' -f1)
  printf %s "$2" >"$1/blobs/sha256/$digest"
  jq -nc --arg digest "sha256:$digest" --argjson size "$(printf %s "$2" | wc -c)" '{digest: $digest, size: $size}'
}

only_layers_of() { jq -e --argjson own "$(image_manifest "$2" | jq -c '[.layers[].digest]')" '[.layers, [.entries[].layer], [.fetches[].layer]] | flatten - $own == []' "$LAB/$1.json"; }

two_at_once() {
  local pids=()
  lab_cold dedup "$(traces pair 1)"
  pull "$LEFT"
  pull "$DEMO"
  run "$LEFT" left python3 -u /app/app.py >"$LAB/left.out" & pids+=($!)
  numpy "$DEMO" right >"$LAB/right.out" & pids+=($!)
  wait "${pids[@]}" || true
  check_equal "both ran" "ready: version 1, 100.0" "$(cat "$LAB/left.out"), $(cat "$LAB/right.out")"
  trace_of left
  trace_of right
  check "the one names layers of its image only" only_layers_of left "$LAB/left"
  check "the other names layers of its image only" only_layers_of right "$demo/estargz"
  check_at_least "layers that both name" 1 "$(jq -s '[.[] | [.entries[].layer] | unique] | .[0] - (.[0] - .[1]) | length' "$LAB/left.json" "$LAB/right.json")"
  check "its own file is in the one" touches left '^/app/app.py$'
  check "and not in the other, who has one of that name" touches_not right '^/app/app.py$'
  check "numpy is in the other" touches right /numpy/
  check "and not in the one" touches_not left /numpy/
}

ten_at_once() {
  local mark pids=() i chunks bytes
  lab_cold dedup "$(traces ten 0) | .prefetch.enabled = false"
  pull "$DEMO"
  mark=$(registry_mark)
  numpy "$DEMO" one >/dev/null
  bytes=$(registry_bytes "$mark") chunks=$(dedupd_number .fetch.chunks)
  lab_cold dedup "$(traces ten 0) | .prefetch.enabled = false"
  pull "$DEMO"
  mark=$(registry_mark)
  for i in 0 1 2 3 4 5 6 7 8 9; do
    numpy "$DEMO" "ten$i" >"$LAB/ten.$i" & pids+=($!)
  done
  wait "${pids[@]}" || true
  check_equal "ten ran" 10 "$(cat "$LAB"/ten.? | grep -cx 100.0 || true)"
  # What is read along with a miss depends on the order of misses: some chunks more or less.
  check_at_most "chunks that ten starts at once fetch where one fetches $chunks" $((chunks * 102 / 100)) "$(dedupd_number .fetch.chunks)"
  check_at_most "bytes they fetch where one fetches $bytes" $((bytes * 102 / 100)) "$(registry_bytes "$mark")"
}

require_root
require_programs containerd ctr-remote docker-registry skopeo curl jq
{ read -r demo; read -r pair; } < <("$REPO/scripts/demo-image.sh" demo pair-v1)
lab_open
registry_start
DEMO=$REGISTRY/demo:lazy LEFT=$REGISTRY/left:lazy
make_left "$pair" "$LAB/left"
image_push "$demo/estargz" "$DEMO"
image_push "$LAB/left" "$LEFT"
by_itself
on_request
fetched_ahead
short_queue
one_container_is_one_start
through_the_registry
two_at_once
hostile_profiles
ten_at_once
checks_end
