#!/bin/bash
# Every inode of an image, seen through our mounts, equals what containerd's own overlayfs snapshotter shows.
#   oracle.sh [BUILD]     BUILD: build folder with dedupd and dedup-snapshotter (default: build/release)
# Images: the demo image (plain and eStargz) and the hostile image. Ways: pulled with labels (the daemon fetches), pulled
# plainly (containerd unpacks into our snapshots), mounted by dedupctl from an OCI layout directory.
# GIANT=0 leaves the 5 GiB sparse file out (containerd writes it in full, which takes most of this script's time).
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say lab containerd registry image-build image-convert tree dedupd cold; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
# containerd ignores a layer's entry for the root, and a directory without an entry has the time of unpacking.
UNSTATED=(--excuse . --excuse implied)
passed=0
failed=0

# judge WHAT EXPECTED [OPTION...]: compares with the tree dumped last.
judge() {
  if tree_compare "$2" "$LAB/tree" "${UNSTATED[@]}" "${@:3}" >"$LAB/differences"; then
    passed=$((passed + 1))
    say "ok    $1: $(tail -n 1 "$LAB/differences")"
  else
    failed=$((failed + 1))
    say "FAIL  $1"
    sed 's/^/      /' "$LAB/differences" >&2
  fi
}

# check_fetched WHAT REF EXPECTED [OPTION...]: the daemon fetches what the labels name.
check_fetched() {
  lab_cold dedup
  ctr-remote images rpull --plain-http --snapshotter dedup "$2" >>"$LAB/log/pull.log" 2>&1 || die "rpull of $2 failed"
  tree_of_image dedup "$2" "$LAB/tree"
  judge "$1, fetched by the daemon" "${@:3}"
}

# check_unpacked WHAT REF EXPECTED: no labels, containerd downloads and unpacks.
check_unpacked() {
  lab_cold dedup
  ctr image pull --plain-http --snapshotter dedup "$2" >>"$LAB/log/pull.log" 2>&1 || die "pull of $2 failed"
  tree_of_image dedup "$2" "$LAB/tree"
  judge "$1, unpacked by containerd" "$3"
}

# check_mounted WHAT LAYOUT EXPECTED: no registry, no containerd.
check_mounted() {
  dedupd_wipe
  dedupd_start
  mkdir -p "$LAB/mnt"
  dedupctl mount "oci:$2:latest" "$LAB/mnt" >>"$LAB/log/pull.log" 2>&1 || die "mount of $2 failed"
  tree_dump "$LAB/mnt" >"$LAB/tree"
  dedupctl umount "$LAB/mnt" >>"$LAB/log/pull.log"
  judge "$1, mounted by dedupctl" "$3"
}

# expect REF FILE: the tree that overlayfs shows.
expect() {
  lab_cold overlayfs
  ctr image pull --plain-http --snapshotter overlayfs "$1" >>"$LAB/log/pull.log" 2>&1 || die "pull of $1 failed"
  tree_of_image overlayfs "$1" "$2"
}

require_root
require_programs containerd ctr-remote docker-registry skopeo zstd
[ -x "$BUILD/daemon/dedupd" ] || die "no dedupd in $BUILD"
demo=$("$REPO/scripts/demo-image.sh" demo)
lab_open
giant=()
[ "${GIANT:-1}" = 1 ] || giant=(--no-giant)
python3 "$REPO/tests/e2e/hostile-image.py" "${giant[@]}" "$LAB/hostile"
python3 "$REPO/tests/e2e/hostile-image.py" "${giant[@]}" --gnu-sparse "$LAB/hostile-gnu"
registry_start
image_push "$demo/plain" "$REGISTRY/demo:plain"
image_push "$demo/estargz" "$REGISTRY/demo:estargz"
image_push "$LAB/hostile" "$REGISTRY/hostile:plain"

expect "$REGISTRY/demo:plain" "$LAB/demo.expected"
expect "$REGISTRY/hostile:plain" "$LAB/hostile.expected"

check_fetched "demo, plain" "$REGISTRY/demo:plain" "$LAB/demo.expected"
# The eStargz table of contents states times in seconds.
check_fetched "demo, eStargz" "$REGISTRY/demo:estargz" "$LAB/demo.expected" --whole-seconds
check_unpacked "demo, plain" "$REGISTRY/demo:plain" "$LAB/demo.expected"
check_fetched "hostile" "$REGISTRY/hostile:plain" "$LAB/hostile.expected"
check_unpacked "hostile" "$REGISTRY/hostile:plain" "$LAB/hostile.expected"
check_mounted "hostile" "$LAB/hostile" "$LAB/hostile.expected"
check_mounted "hostile with GNU sparse files" "$LAB/hostile-gnu" "$LAB/hostile.expected"

say "$passed passed, $failed failed"
[ "$failed" = 0 ]
