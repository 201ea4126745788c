#!/bin/bash
# Gets a Debian kernel as it is, with what vm.sh needs to boot it: prints a folder with vmlinuz and modules/, in which the file
# `order` names them in the order of loading. Downloaded once into $DEDUP_CACHE/kernels (~/.cache/dedup-snapshotter/kernels).
#   stock.sh SERIES     6.1, 6.12, ...: the newest package of that series that apt offers
# Exit status 77: apt has none (the last line says so).
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/../../scripts/lib/say.sh"
CACHE=${DEDUP_CACHE:-$HOME/.cache/dedup-snapshotter}/kernels
SERIES=${1:?usage: stock.sh SERIES}
# A module that this kernel has built in, or not at all, is left out.
WANTED=(virtio_pci virtio_blk virtio_rng ext4 9pnet_virtio 9p overlay loop fuse erofs cachefiles)

skip() { say "skipped: $*"; exit 77; }
for program in apt-cache dpkg-deb depmod xz; do command -v $program >/dev/null || skip "$program is not installed (scripts/setup.sh)"; done

# The flavours for clouds have no 9p.
package=$(apt-cache search --names-only "^linux-image-${SERIES//./\\.}[.+-].*amd64\$" | cut -d' ' -f1 |
  grep -vE 'cloud|-rt-|unsigned|dbg' | sort -V | tail -n 1) || true
[ -n "$package" ] || skip "apt offers no kernel of the series $SERIES"
version=$(apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p')
out=$CACHE/$package-$version
[ ! -d "$out" ] || { echo "$out"; exit; }

mkdir -p "$CACHE"
WORK=$(mktemp -d "$CACHE/stock.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
[ ! -t 2 ] || say "downloading $package $version"
(cd "$WORK" && apt-get -q download "$package" >"$WORK/log" 2>&1) || { tail -n 3 "$WORK/log" >&2; skip "$package cannot be downloaded"; }
dpkg-deb -x "$WORK"/*.deb "$WORK/tree"
# Newer packages have /usr/lib only; modprobe asks for /lib.
[ -d "$WORK/tree/lib/modules" ] || { mkdir -p "$WORK/tree/lib" && ln -s ../usr/lib/modules "$WORK/tree/lib/modules"; }
release=$(ls "$WORK/tree/lib/modules")
depmod -b "$WORK/tree" "$release"
mkdir -p "$WORK/out/modules"
cp "$WORK/tree/boot/vmlinuz-$release" "$WORK/out/vmlinuz"
: >"$WORK/out/modules/order"
for module in "${WANTED[@]}"; do
  modprobe -S "$release" -d "$WORK/tree" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' | while read -r file; do
    name=$(basename "$file" .xz)
    ! grep -qxF "$name" "$WORK/out/modules/order" || continue
    if [[ $file = *.xz ]]; then xz -dc "$file" >"$WORK/out/modules/$name"; else cp "$file" "$WORK/out/modules/$name"; fi
    echo "$name" >>"$WORK/out/modules/order"
  done
done
mv "$WORK/out" "$out"
echo "$out"
