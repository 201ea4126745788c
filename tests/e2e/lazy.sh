#!/bin/bash
# An eStargz image starts with little data: what is fetched is close to what is touched, the same image under another tag
# fetches nothing, and the daemon stays small.
#   lazy.sh [BUILD]     BUILD: build folder (default: build/release)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry image-build image-convert tree dedupd cold; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1

MIB=$((1 << 20))
run_numpy() {
  ctr run --rm --snapshotter dedup "$1" "$2" python3 -c 'import numpy; print(numpy.eye(100).trace())' </dev/null
}
rpull() { ctr-remote images rpull --plain-http --snapshotter dedup "$1" >>"$LAB/log/pull.log" 2>&1 || die "rpull of $1 failed"; }
manifest_gets() { tail -c "+$(($1 + 1))" "$LAB/log/registry.log" | grep -c '"GET /v2/[^ ]*/manifests/first .*"dedup-snapshotter"' || true; }
layer_gets() { registry_blob_gets "$1" | grep -cE "$layer_pattern" || true; }

require_root
require_programs containerd ctr-remote docker-registry skopeo
demo=$("$REPO/scripts/demo-image.sh" demo)
lab_open
registry_start
image_push "$demo/estargz" "$REGISTRY/demo:first"
image_push "$demo/estargz" "$REGISTRY/demo:second"
compressed=$(jq .estargz.compressed_bytes "$demo/facts.json")
layer_pattern=$(image_manifest "$demo/estargz" | jq -r '[.layers[].digest] | join("|")')

lab_cold dedup
mark=$(registry_mark)
rpull "$REGISTRY/demo:first"
check_equal "manifests the daemon asked for" 1 "$(manifest_gets "$mark")"
say "pulled: $(registry_bytes "$mark") bytes in $(registry_requests "$mark") requests"
check_equal "numpy runs" 100.0 "$(run_numpy "$REGISTRY/demo:first" one)"
touched=$(dedupd_number .fetch.chunk_bytes)
fetched=$(dedupd_number .fetch.bytes)
say "fetched $fetched of $compressed bytes in $(dedupd_number .fetch.requests) requests; chunks touched: $touched bytes"
check_at_most "bytes fetched for the compressed bytes touched" $((touched * 5 / 4)) "$fetched"
check_at_most "bytes fetched of the whole image" $((compressed / 2)) "$fetched"

mark=$(registry_mark)
rpull "$REGISTRY/demo:second"
check_equal "numpy runs under the other tag" 100.0 "$(run_numpy "$REGISTRY/demo:second" two)"
check_equal "layer requests for the other tag" 0 "$(layer_gets "$mark")"
check_at_most "peak memory of the daemon, bytes" $((100 * MIB)) "$(dedupd_number .memory.peak_rss_bytes)"
checks_end
