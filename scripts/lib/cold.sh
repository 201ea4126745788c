# Starting from nothing. Needs containerd.sh, dedupd.sh.

# lab_cold SNAPSHOTTER [JQ-EDIT]: a containerd without images, content, snapshots; for `dedup` a daemon with an empty pool in front
# of it, with a configuration changed by the jq program.
lab_cold() {
  containerd_wipe
  [ "$1" != dedup ] || {
    dedupd_wipe
    dedupd_start "${@:2}"
    snapshotter_start
  }
  containerd_start
  [ "$1" != dedup ] || wait_until 20 snapshotter_answers || die "containerd does not reach the snapshotter"
}
