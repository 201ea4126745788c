# A private containerd with the proxy snapshotter `dedup`: own root, state and socket. Needs lab.sh.

# The client of the containerd that runs.
CTR=ctr

# containerd_start: exports the environment that points ctr and ctr-remote at it. The snapshotter need not run yet.
containerd_start() {
  mkdir -p "$LAB/containerd"
  cat >"$LAB/containerd.toml" <<EOF
version = 2
root = "$LAB/containerd/root"
state = "$LAB/containerd/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.opt",
]
[grpc]
  address = "$LAB/containerd.sock"
[ttrpc]
  address = "$LAB/containerd.sock.ttrpc"
[proxy_plugins.dedup]
  type = "snapshot"
  address = "$LAB/snapshotter.sock"
EOF
  export CONTAINERD_ADDRESS=$LAB/containerd.sock CONTAINERD_NAMESPACE=lab
  CTR=ctr
  lab_spawn containerd containerd --config "$LAB/containerd.toml"
  lab_ready containerd 15 ctr --connect-timeout 1s version
}

# containerd_wipe: stops it and forgets all images, content and snapshots; the next start is as cold as a new node.
containerd_wipe() {
  lab_stop_containers
  lab_stop containerd
  lab_stop_shims
  lab_unmount_below "$LAB/containerd"
  rm -rf --one-file-system "$LAB/containerd"
}

# snapshotter_answers: containerd reaches the proxy plugin; its redial backs off, and only Prepare shows that it is there.
snapshotter_answers() {
  ctr snapshots --snapshotter dedup prepare probe && ctr snapshots --snapshotter dedup rm probe
}

lab_stop_containers() {
  local id
  lab_running containerd || return 0
  for id in $(ctr task ls -q 2>/dev/null); do ctr task kill -s KILL "$id" && ctr task rm -f "$id"; done >/dev/null 2>&1 || true
}

# Shims outlive containerd by design; ours are those that name our socket.
lab_stop_shims() {
  local dir
  for dir in /proc/[0-9]*; do
    { tr '\0' ' ' <"$dir/cmdline"; } 2>/dev/null | grep -q "containerd-shim.* -address $LAB/" || continue
    kill -KILL "${dir#/proc/}" 2>/dev/null || true
  done
}
