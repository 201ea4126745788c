#!/bin/bash
# Cold start: pull of an image and run until its first line of output, on a node that has nothing, over a slow link, by this project
# and by others (peers). In each round every image and mode takes its turn, over the same links to the same registry.
#   run.sh [--images "NAME..."] [--modes "NAME..."] [--link "RTT_MS:MBIT..."] [--runs N] [--doors "NAME..."] [--stargz PROGRAM]
#          [--quick] [--force] [--out DIR] [--json FILE] [BUILD]
#     --images  folders of scripts/images (nginx pyapp); ml is large and takes ten minutes when it is not in the cache yet.
#               "OLD>NEW" is NEW on a node that has run OLD: "pyapp>pyapp-v2", "node>node-v2", "pair-v1>pair-v2"
#     --modes   ours: lazy profile plain wrong; peers: overlayfs-1.6 overlayfs-2.1 erofs-2.1 soci stargz nydus (all but wrong), see
#               modes.sh and peers.sh beside this file. One that cannot run here is a row that says why
#     --link    links to the registry (20:200 0:0; images has 5:1000): round trip time in ms and Mbit/s; 0: none, no limit
#     --runs    rounds (3)
#     --doors   of ours (the first that works); "all" that work
#     --quick   two small images, one of which the tests build anyway; lazy, profile, two peers; one link, one round
#     BUILD     build folder (build/release)
# Before each sample caches are dropped and the node is checked to hold nothing; see sample.sh.
# Columns: pull_s, run_s (from the end of the pull to the first line), total_s their sum; warm_s a second run on the same node;
# medians and one 95th percentile. floor_s: 4 round trips, the compressed bytes that hold what a recorded start touched at full
# bandwidth, and the shortest warm_s of all modes: one floor for all modes of an image. faster: than overlayfs-1.6. mb and requests:
# blobs, as the registry counted. cpu_s: of the client that pulls and of all daemons (containerd with unpigz and mkfs.erofs,
# snapshotter, dedupd), until the first line; peak_mib: anonymous memory of those daemons, the most of ten looks a second.
# touched, miss_pct, late_pct come from one more start of ours, behind the first door, which is recorded and not timed: ranges the
# container touched, those it had to fetch itself, and those it waited for although they were on their way. LAB_KEEP=1 keeps all logs,
# of the links, too; timeline.py says from them where the time went.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../../.." && pwd)
for piece in say lab containerd registry image-build image-convert dedupd cold peers bench; do . "$REPO/scripts/lib/$piece.sh"; done
for piece in modes peers sample; do . "$REPO/scripts/bench/coldstart/$piece.sh"; done
IMAGES='nginx pyapp' RUNS=3 LINKS='20:200 0:0' STARGZ=containerd-stargz-grpc
BENCH_OPTIONS=([--images]=IMAGES [--modes]=MODES [--link]=LINKS [--runs]=RUNS [--stargz]=STARGZ)
BENCH_QUICK=([IMAGES]='demo nginx' [MODES]='overlayfs-1.6 erofs-2.1 lazy profile' [LINKS]=20:200 [RUNS]=1)
bench_options "$@"
declare -A LAYOUTS=() LINK_ADDRESS=()

# images_serve IMAGE...: both forms of each are in the registry, and $LAB/served/IMAGE names the blobs.
images_serve() {
  local image form layout
  mkdir "$LAB/served"
  for image in "$@"; do
    for form in plain estargz; do
      layout=${LAYOUTS[$image]}/$form
      image_push "$layout" "$REGISTRY/$image:${form/estargz/lazy}"
      image_manifest "$layout" | jq -r '.config.digest, .layers[].digest' >>"$LAB/served/$image"
    done
  done
}

# Programs that a node has in memory, and libraries that only peers use.
programs() {
  local name
  for name in containerd containerd-shim-runc-v2 ctr ctr-remote runc unpigz "$STARGZ"; do command -v "$name" || true; done
  if [ -n "$PEERS" ]; then
    ls "$PEERS"/bin/mkfs.erofs "$PEERS"/usr/bin/{containerd,containerd-shim-runc-v2,ctr,mkfs.erofs,soci,soci-snapshotter-grpc}
    find "$PEERS/usr" -type f -name '*.so*'
  fi
  ls "$BUILD"/{daemon/dedupd,snapshotter/dedup-snapshotter}
}

versions() {
  jq -n --arg containerd "$(containerd --version | cut -d' ' -f3)" --arg runc "$(runc --version | sed -n 's/^runc version //p')" \
    --arg stargz "$("$STARGZ" -version 2>/dev/null || true)" --arg dedupd "$("$BUILD/daemon/dedupctl" --version)" \
    --arg peers "$([ -z "$PEERS" ] || grep -E '^(containerd|erofs-utils|soci-snapshotter) ' "$PEERS/versions")" \
    '{dedupd: $dedupd, containerd: $containerd, runc: $runc, stargz: (if $stargz == "" then null else $stargz end),
      debian_unstable: ($peers | split("\n") | map(split(" ") | {(.[0]): .[1]}) | add)}'
}

require_root
require_programs containerd ctr-remote docker-registry skopeo jq openssl python3
[ -x "$BUILD/tests/bench/slow_link" ] || die "no $BUILD/tests/bench/slow_link: build the target slow_link"
read -ra starts <<<"$IMAGES"
mapfile -t images < <(printf '%s\n' "${starts[@]}" | tr '>' '\n' | awk '!seen[$0]++')
# Not in a lab of ours: it opens its own.
mapfile -t layouts < <("$REPO/scripts/demo-image.sh" "${images[@]}")
[ ${#layouts[@]} = ${#images[@]} ] || exit 1
for ((i = 0; i < ${#images[@]}; ++i)); do LAYOUTS[${images[i]}]=${layouts[i]}; done
[[ $MODES != *@(2.1|soci|stargz)* ]] || peers_fetch || true

lab_open
mkdir "$LAB/mnt"
modes_present
mapfile -t PROGRAMS < <(programs)
registry_start
images_serve "${images[@]}"
for link in $LINKS; do
  link_start "$link" "$REGISTRY" "$link"
  LINK_ADDRESS[$link]=$LINK_STARTED
done
if [[ " $MODES " == *" soci "* ]]; then
  tls_start
  soci_index "${images[@]}"
fi
recordings "${images[@]}"
needed=$(for start in "${starts[@]}"; do
  jq -n --arg start "$start" --argjson bytes "$(needed_bytes "$start")" '{($start): $bytes}'
done | jq -s add)
for link in $LINKS; do
  for ((round = 1; round <= RUNS; ++round)); do
    for start in "${starts[@]}"; do
      for mode in $MODES; do
        for door in $(mode_doors "$mode"); do
          mode_use "$mode" "$door" "$link"
          cold_start "$start" "$link"
        done
      done
    done
  done
done
: >"$LAB/watched.json"
for link in $LINKS; do
  for image in "${starts[@]}"; do
    [ -z "$(older_of "$image")" ] || continue
    for mode in $MODES; do
      [[ $mode == @(lazy|profile|wrong) ]] || continue
      mode_use "$mode" "${DOORS%% *}" "$link"
      watch "$image" "$link"
    done
  done
done

rows=$(jq -s --slurpfile watched "$LAB/watched.json" --slurpfile gaps "$LAB/gaps" --argjson needed "$needed" \
  "$BENCH_JQ$(cat "$REPO/scripts/bench/coldstart/rows.jq")" "$LAB/samples")
bench_result "$rows" "$(jq -s --argjson versions "$(versions)" --argjson needed "$needed" \
  '{versions: $versions, needed_bytes: $needed, samples: .}' "$LAB/samples")" \
  '{"title": "Cold start: pull and run to the first line of output", "kind": "bars", "x": "image", "y": "total_s",
    "group": ["mode", "door"], "facet": "link", "floor": "floor_s", "ylabel": "seconds (median); link: RTT in ms : Mbit/s, 0: no limit"}'
