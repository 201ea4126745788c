#!/bin/bash
# Builds the images the quickstart and the tests run and keeps them between runs.
#   demo-image.sh [NAME...]   NAME: a folder of scripts/images (default: demo)
# Prints one directory per NAME. In it: plain/ and estargz/ (OCI layout directories, tag `latest`) and facts.json.
# Images lie in $DEDUP_CACHE/images (default: ~/.cache/dedup-snapshotter/images), one folder per recipe version.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/.." && pwd)
for piece in say lab containerd image-build image-convert; do . "$REPO/scripts/lib/$piece.sh"; done

# build NAME DIR: everything happens in the lab; DIR appears complete or not at all.
build() {
  local name=$1 dir=$2 out=$LAB/$1.out t0=$EPOCHREALTIME t1
  say "building image $name (about two minutes, kept for the next run)"
  mkdir -p "$LAB/$name" "$out" "$(dirname "$dir")"
  image_build "$name" "$LAB/$name" "$out/plain" >"$LAB/log/$name.log" 2>&1 || build_failed "$name"
  lab_unmount_below "$LAB/$name"
  rm -rf --one-file-system "${LAB:?}/$name"
  t1=$EPOCHREALTIME
  say "  built in $(seconds_since "$t0") s; converting to eStargz"
  lab_running containerd || containerd_start
  image_to_estargz "$out/plain" "$out/estargz" >>"$LAB/log/$name.log" 2>&1 || build_failed "$name"
  say "  converted in $(seconds_since "$t1") s"
  image_keep "$out" "$dir"
}

build_failed() {
  tail -n 30 "$LAB/log/$1.log" >&2
  die "image $1 could not be built"
}

[ $# -gt 0 ] || set -- demo
for name in "$@"; do
  [ -e "$IMAGE_RECIPES/$name/Containerfile" ] || die "no image recipe $name"
  dir=$(image_cache_dir)/$name-$(image_key "$name")
  if [ ! -e "$dir/facts.json" ]; then
    require_root
    require_programs buildah mmdebstrap skopeo jq containerd ctr-remote python3
    [ -n "${LAB:-}" ] || lab_open
    build "$name" "$dir"
  fi
  echo "$dir"
done
