# Dumping and comparing the root file systems of images. Needs lab.sh, containerd.sh.

# tree_dump DIRECTORY: see tests/e2e/tree-dump.py.
tree_dump() { python3 "$REPO/tests/e2e/tree-dump.py" "$1"; }

# image_chain REF: the chainID of the image's top layer, from the manifest and config containerd keeps.
image_chain() {
  local manifest config
  manifest=$(ctr images list "name==$1" | awk 'NR == 2 {print $3}')
  config=$(ctr content get "$manifest" | jq -r .config.digest)
  ctr content get "$config" | python3 -c '
import hashlib, json, sys
chain = ""
for diff_id in json.load(sys.stdin)["rootfs"]["diff_ids"]:
    chain = "sha256:" + hashlib.sha256((chain + " " + diff_id).encode()).hexdigest() if chain else diff_id
print(chain)'
}

# tree_of_image SNAPSHOTTER REF FILE: dumps what a container of the image would see. (`ctr images mount` of 1.6 always takes the
# default snapshotter.)
tree_of_image() {
  local target key=tree-$RANDOM
  target=$(mktemp -d "$LAB/rootfs.XXXXXX")
  ctr snapshots --snapshotter "$1" view "$key" "$(image_chain "$2")" >/dev/null
  ctr snapshots --snapshotter "$1" label "$key" containerd.io/gc.root=now >/dev/null  # else the garbage collector takes it
  eval "$(ctr snapshots --snapshotter "$1" mounts "$target" "$key")"
  tree_dump "$target" >"$3"
  umount "$target"
  ctr snapshots --snapshotter "$1" rm "$key"
  rmdir "$target"
}

# tree_compare EXPECTED ACTUAL [OPTION...]: see tests/e2e/compare-trees.py.
tree_compare() { python3 "$REPO/tests/e2e/compare-trees.py" "${@:3}" "$1" "$2"; }
