#!/bin/bash
# Shows on this machine what the snapshotter does: pulls one image three ways, cold, and runs it.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/.." && pwd)
BUILD=${BUILD:-$REPO/build/release}

usage() {
  cat <<EOF
usage: quickstart.sh [--json FILE] [--keep] [IMAGE [COMMAND...]]     (as root, on Debian 12)

Installs the packages it needs, builds this project, starts a private registry, containerd, dedupd and dedup-snapshotter in a
temporary directory, and pulls and runs an image three times, each time with nothing on the node:
  overlayfs      containerd's own snapshotter
  plain          ours, the same image
  estargz-lazy   ours, the image as eStargz: it starts before its data is downloaded
Everything started is stopped again, and the directory removed.

  --json FILE   also write {"modes": [...]} there
  --keep        keep the directory: logs, configuration, pool
  IMAGE         an image reference that skopeo can read (registry, or oci:DIR:TAG); it is copied to the private registry and
                converted to eStargz first. Without it a python3 + numpy image is built from Debian packages. Images are kept in
                ~/.cache/dedup-snapshotter (or \$DEDUP_CACHE).
  COMMAND       what is run in the image until its first line of output (default: numpy for the demo, else sh -c 'echo started')
EOF
}

json=
while [ $# -gt 0 ]; do
  case $1 in
    --json) json=$(realpath -m "${2:?--json needs a file}"); shift 2 ;;
    --keep) LAB_KEEP=1; shift ;;
    -h | --help) usage; exit ;;
    -*) usage >&2; exit 2 ;;
    *) break ;;
  esac
done
image=${1:-}
[ -z "$image" ] || shift
command=("$@")
for piece in say lab containerd registry image-build image-convert tree dedupd cold quickstart; do . "$REPO/scripts/lib/$piece.sh"; done

require_root
export PYTHONDONTWRITEBYTECODE=1
"$REPO/scripts/setup.sh" >&2
quickstart_build
lab_open
if [ -z "$image" ]; then
  # Not in a subshell of ours: its own lab is opened and closed there.
  layouts=$("$REPO/scripts/demo-image.sh" demo)
  [ ${#command[@]} -gt 0 ] || command=(python3 -c 'import numpy; print("numpy", numpy.__version__, numpy.eye(500).trace())')
else
  layouts=$(image_from_reference "$image")
  [ ${#command[@]} -gt 0 ] || command=(sh -c 'echo started')
fi

registry_start
image_push "$layouts/plain" "$REGISTRY/image:plain"
image_push "$layouts/estargz" "$REGISTRY/image:estargz"

quickstart_mode overlayfs overlayfs plain
quickstart_mode plain dedup plain
quickstart_mode estargz-lazy dedup estargz

quickstart_table
[ -z "$json" ] || jq -s '{modes: .}' "$LAB/modes" >"$json"
jq -es 'all(.verified)' "$LAB/modes" >/dev/null || die "contents differ: see above"
