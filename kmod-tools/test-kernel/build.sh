#!/bin/bash
# Builds the kernel of the tests that need fscache on demand, which no Debian kernel has switched on: Debian's linux-source-6.1
# with ondemand.config. Prints the path of the bzImage; 6 minutes on two cores, nothing when it is in the cache.
#   build.sh [--cached]     --cached: only look; exit status 1 when it would have to be built
# Exit status 77: a package is missing (the last line says which).
# The cache is $DEDUP_CACHE/kernels (~/.cache/dedup-snapshotter/kernels); a file there is named by all that it depends on.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/../../scripts/lib/say.sh"
CACHE=${DEDUP_CACHE:-$HOME/.cache/dedup-snapshotter}/kernels
PACKAGE=linux-source-6.1
JOBS=$(nproc)
CONFIG=$HERE/ondemand.config

# run WHAT COMMAND...: its output goes to the log. On a terminal a line that counts compiled files; otherwise nothing.
run() {
  local what=$1 pid status=0 t0=$EPOCHREALTIME
  shift
  "$@" >>"$LOG" 2>&1 </dev/null &
  pid=$!
  while [ -t 2 ] && kill -0 $pid 2>/dev/null; do
    printf '\r%s: %.0f s, %s files' "$what" "$(seconds_since "$t0")" "$(grep -c '^  CC ' "$LOG" || true)" >&2
    sleep 1
  done
  wait $pid || status=$?
  [ ! -t 2 ] || printf '\r\033[K' >&2
  [ $status = 0 ] || { tail -n 20 "$LOG" >&2; die "$what failed, status $status"; }
}

# olddefconfig drops a line silently when something it depends on is missing.
check_config() {
  local line missing=()
  while read -r line; do
    grep -qxF "$line" "$1" || missing+=("$line")
  done < <(grep -E '^CONFIG_' "$CONFIG")
  [ ${#missing[@]} = 0 ] || die "the kernel's configuration lost: ${missing[*]}"
}

unpack() { mkdir "$WORK/source" && tar -xJf "/usr/src/$PACKAGE.tar.xz" -C "$WORK/source" --strip-components=1; }
kernel_make() { nice make -C "$WORK/source" ARCH=x86_64 O="$WORK/build" CC="$COMPILER" KCONFIG_NOTIMESTAMP=1 "$@"; }

configure() {
  kernel_make allnoconfig
  (cd "$WORK/source" && scripts/kconfig/merge_config.sh -m -O "$WORK/build" "$WORK/build/.config" "$CONFIG")
  kernel_make olddefconfig
}

version=$(dpkg-query --show --showformat='${Version}' "$PACKAGE" 2>/dev/null) || version=
if [ -z "$version" ] || [ ! -e "/usr/src/$PACKAGE.tar.xz" ]; then
  say "skipped: $PACKAGE is not installed (scripts/setup.sh)"
  exit 77
fi
key=$( (cat "$CONFIG" && echo "$version" && gcc -dumpfullversion) | sha256sum | cut -c1-16)
image=$CACHE/ondemand-$key
[ ! -s "$image" ] || { echo "$image"; exit; }
[ "${1:-}" != --cached ] || exit 1

COMPILER=gcc
! command -v ccache >/dev/null || COMPILER="ccache gcc"
mkdir -p "$CACHE"
# One build at a time, always in the same folder: ccache then knows the files again after a change of the fragment.
exec 9>"$CACHE/lock"
flock 9
[ ! -s "$image" ] || { echo "$image"; exit; }
WORK=$CACHE/build LOG=$CACHE/build.log
rm -rf "$WORK"
mkdir "$WORK"
trap 'rm -rf "$WORK"' EXIT
: >"$LOG"
t0=$EPOCHREALTIME
[ ! -t 2 ] || say "building the test kernel from $PACKAGE $version, log $LOG"
run "unpacking $PACKAGE" unpack
mkdir "$WORK/build"
run "configuring" configure
check_config "$WORK/build/.config"
run "compiling" kernel_make -j"$JOBS" bzImage
cp "$WORK/build/arch/x86/boot/bzImage" "$image.new"
mv "$image.new" "$image"
[ ! -t 2 ] || say "built in $(seconds_since "$t0") s"
echo "$image"
