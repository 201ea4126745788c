# Starting from nothing. Needs containerd.sh, dedupd.sh.

# lab_cold SNAPSHOTTER: a containerd without images, content, snapshots; for `dedup` a daemon with an empty pool in front of it.
lab_cold() {
  containerd_wipe
  [ "$1" != dedup ] || {
    dedupd_wipe
    dedupd_start
    snapshotter_start
  }
  containerd_start
  [ "$1" != dedup ] || wait_until 20 snapshotter_answers || die "containerd does not reach the snapshotter"
}
