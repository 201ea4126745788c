# Dumping and comparing the root file systems of images. Needs lab.sh, containerd.sh.

# tree_dump DIRECTORY: see tests/e2e/tree-dump.py.
tree_dump() { python3 "$REPO/tests/e2e/tree-dump.py" "$1"; }

# tree_of_image SNAPSHOTTER REF FILE: dumps what a container of the image would see.
tree_of_image() {
  local target
  target=$(mktemp -d "$LAB/rootfs.XXXXXX")
  ctr images mount --snapshotter "$1" "$2" "$target" >/dev/null
  tree_dump "$target" >"$3"
  ctr images unmount --rm "$target" >/dev/null
  rmdir "$target"
}

# tree_compare EXPECTED ACTUAL [OPTION...]: see tests/e2e/compare-trees.py.
tree_compare() { python3 "$REPO/tests/e2e/compare-trees.py" "${@:3}" "$1" "$2"; }
