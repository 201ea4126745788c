#!/bin/bash
# Two images that share nearly every file and no layer: the pool holds the common content once, the catalogue says so, and
# removing one image frees exactly what only it used.
#   sharing.sh [BUILD]     BUILD: build folder (default: build/release)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry image-build image-convert tree dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1

pool() { dedupctl pool stat --json | jq -r ".$1"; }
catalog() { sqlite3 -readonly "$LAB/dedupd/pool/index.db" "$1"; }
pull() { dedupctl pull "$1" >>"$LAB/log/pull.log" || die "pull of $1 failed"; }
# Without segment 0, the hole that sparse files share.
segment_files() { find "$LAB/dedupd/pool/segments" -name "*.data" ! -name 00000000.data | wc -l; }
fetched() { dedupd_number .fetch.bytes; }

# read_all REF FILE: mounts the image and reads every byte of it.
read_all() {
  mkdir -p "$LAB/mnt"
  dedupctl mount "$1" "$LAB/mnt" >>"$LAB/log/pull.log"
  tree_dump "$LAB/mnt" >"$2"
  dedupctl umount "$LAB/mnt" >>"$LAB/log/pull.log"
}

plain_layers() {
  local v1=oci:$one/plain:latest v2=oci:$two/plain:latest v1_bytes v2_bytes both_bytes shared freed
  dedupd_start
  pull "$v2"
  v2_bytes=$(pool bytes)
  dedupd_wipe

  dedupd_start
  pull "$v1"
  v1_bytes=$(pool bytes)
  pull "$v2"
  both_bytes=$(pool bytes)
  shared=$(catalog 'SELECT SUM(size) FROM chunks WHERE ref_count > 1')
  say "v1 $v1_bytes bytes, v2 $v2_bytes bytes, both $both_bytes bytes"
  check_equal "no layer in common" 8 "$(pool layers)"
  check_at_most "both images together, bytes" $((v1_bytes * 11 / 10)) "$both_bytes"
  check_at_least "bytes used more than once, by SQL" $((v1_bytes * 9 / 10)) "$shared"
  check_equal "pool stat agrees with SQL" "$shared" "$(pool shared_bytes)"

  read_all "$v2" "$LAB/before"
  freed=$(dedupctl rm "$v1" --json | jq .freed_bytes)
  check_equal "removing v1 frees exactly what only it used" $((both_bytes - v2_bytes)) "$freed"
  check_equal "the pool is that of v2 alone" "$v2_bytes" "$(pool bytes)"
  check_equal "check finds the pool" clean "$(dedupctl check --json | tail -n 1 | jq -r 'if .clean then "clean" else "not clean" end')"
  read_all "$v2" "$LAB/after"
  check "v2 reads as before" cmp "$LAB/before" "$LAB/after"

  dedupctl rm "$v2" >/dev/null
  check_equal "bytes after removing both" 0 "$(pool bytes)"
  check_equal "rows after removing both" 0 "$(catalog 'SELECT COUNT(*) FROM chunks')"
  check_equal "segment files after removing both" 0 "$(segment_files)"
  dedupd_wipe
}

# What one lazy image has fetched, another does not fetch.
lazy_layers() {
  local first second
  registry_start
  image_push "$one/estargz" "$REGISTRY/pair:v1"
  image_push "$two/estargz" "$REGISTRY/pair:v2"
  dedupd_start
  read_all "$REGISTRY/pair:v1" "$LAB/v1"
  first=$(fetched)
  read_all "$REGISTRY/pair:v2" "$LAB/v2"
  second=$(($(fetched) - first))
  check_at_most "bytes fetched to read all of v2 after v1 ($first)" $((first / 10)) "$second"
  cut -d'"' -f4 "$LAB/before" >"$LAB/names.plain"
  cut -d'"' -f4 "$LAB/v2" >"$LAB/names.lazy"
  check "v2 has the same names" cmp "$LAB/names.plain" "$LAB/names.lazy"
  check "v2 has the same content" tree_compare "$LAB/before" "$LAB/v2" --whole-seconds --excuse .
  dedupd_wipe
}

require_root
require_programs sqlite3 docker-registry skopeo
{ read -r one; read -r two; } < <("$REPO/scripts/demo-image.sh" pair-v1 pair-v2)
lab_open
plain_layers
lazy_layers
checks_end
