# Programs that ours are compared with, newer than this Debian: containerd 2.1 or later with its EROFS snapshotter, and
# soci-snapshotter, from Debian unstable. Unpacked into a cache folder, never installed. Needs lab.sh, containerd.sh.
#   peers_fetch             sets PEERS, the folder; or is false, and PEERS_GAP says why there is none
#   sid_containerd_start    instead of containerd_start: same folder, socket and name in the lab, so containerd_wipe ends both
#   containerd_pull NAME REF   pulls and unpacks for the snapshotter NAME (overlayfs, erofs) over plain HTTP, by whichever runs
# $CTR is the client of the containerd that runs.

PEERS='' PEERS_GAP=''

# peers_fetch: the cache is kept until its folder is removed; then the newest packages are fetched.
peers_fetch() {
  local cache=${DEDUP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dedup-snapshotter}/peers work
  [ -z "$PEERS$PEERS_GAP" ] || { [ -n "$PEERS" ]; return; }
  if [ ! -e "$cache/sid/versions" ]; then
    say "fetching containerd, erofs-utils and soci-snapshotter of Debian unstable (kept for the next run)"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/new.XXXXXX")
    # Two runs may fetch at once: the first one's stay.
    if peers_unpack "$work" >"$work/log" 2>&1; then mv -T "$work/sid" "$cache/sid" 2>/dev/null || true; else tail -n 5 "$work/log" >&2; fi
    rm -rf "$work"
  fi
  if [ -e "$cache/sid/versions" ]; then PEERS=$cache/sid; else PEERS_GAP='packages of Debian unstable could not be fetched'; fi
  [ -n "$PEERS" ]
}

# peers_unpack WORK: writes WORK/sid, with a file `versions`, by an apt that shares nothing but the mirror's address with the
# machine's own.
peers_unpack() {
  local work=$1 mirror deb loader
  mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Identifier: Packages' |
    awk -v codename="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$2 == codename { print $1; exit }')
  [ -n "$mirror" ] || { echo "no mirror among apt's sources"; return 1; }
  mkdir -p "$work/lists/partial" "$work/debs/partial" "$work/sid/bin"
  : >"$work/status"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror sid main" >"$work/sources.list"
  # An empty status file: erofs-utils comes with all libraries it needs, those that this machine has included.
  cat >"$work/apt.conf" <<END
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work";
Dir::Cache::archives "$work/debs";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
APT::Update::Error-Mode "any";
APT::Sandbox::User "root";
END
  (
    export APT_CONFIG=$work/apt.conf
    cd "$work/debs"
    apt-get -q update && apt-get -q -y --download-only --no-install-recommends install erofs-utils &&
      apt-get -q download containerd soci-snapshotter
  ) || return 1
  for deb in "$work"/debs/*.deb; do
    dpkg-deb -x "$deb" "$work/sid" && dpkg-deb -W --showformat='${Package} ${Version}\n' "$deb" >>"$work/versions" || return 1
  done
  # It needs a newer C library than this machine's.
  loader=$(cd "$work/sid" && find usr/lib -name 'ld-linux*')
  cat >"$work/sid/bin/mkfs.erofs" <<END
#!/bin/sh
sid=\${0%/*}/..
exec "\$sid/$loader" --library-path "\$sid/${loader%/*}" \\
  --argv0 mkfs.erofs "\$sid/usr/bin/mkfs.erofs" "\$@"
END
  chmod +x "$work/sid/bin/mkfs.erofs"
  "$work/sid/bin/mkfs.erofs" --version && "$work/sid/usr/bin/containerd" --version && mv "$work/versions" "$work/sid/versions"
}

# peers_version PACKAGE: of what was unpacked.
peers_version() { awk -v name="$1" '$1 == name { print $2 }' "$PEERS/versions"; }

# sid_containerd_start: snapshotters overlayfs and erofs, and as proxies soci and stargz, whose sockets are $LAB/NAME.sock. The
# options of mkfs.erofs are those its documentation recommends; shims and mkfs.erofs are found in PATH.
sid_containerd_start() {
  mkdir -p "$LAB/containerd"
  {
    cat <<END
version = 3
root = "$LAB/containerd/root"
state = "$LAB/containerd/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.nri.v1.nri",
  "io.containerd.internal.v1.opt",
]
[grpc]
  address = "$LAB/containerd.sock"
[ttrpc]
  address = "$LAB/containerd.sock.ttrpc"
[plugins."io.containerd.service.v1.diff-service"]
  default = ["erofs", "walking"]
[plugins."io.containerd.differ.v1.erofs"]
  mkfs_options = ["-T0", "--mkfs-time", "--sort=none"]
END
    local name platform
    platform=linux/$(dpkg --print-architecture)
    for name in overlayfs erofs soci stargz; do
      printf '[[plugins."io.containerd.transfer.v1.local".unpack_config]]\n  platform = "%s"\n  snapshotter = "%s"\n  differ = "%s"\n' \
        "$platform" $name "$([ $name = erofs ] && echo erofs || echo walking)"
    done
    for name in soci stargz; do
      printf '[proxy_plugins.%s]\n  type = "snapshot"\n  address = "%s"\n' $name "$LAB/$name.sock"
      printf '  [proxy_plugins.%s.exports]\n    enable_remote_snapshot_annotations = "true"\n' $name
    done
  } >"$LAB/containerd.toml"
  export CONTAINERD_ADDRESS=$LAB/containerd.sock CONTAINERD_NAMESPACE=lab
  CTR=$PEERS/usr/bin/ctr
  lab_spawn containerd env PATH="$PEERS/bin:$PEERS/usr/bin:$PATH" "$PEERS/usr/bin/containerd" --config "$LAB/containerd.toml"
  lab_ready containerd 15 "$CTR" --connect-timeout 1s version
}

containerd_pull() { "$CTR" image pull --plain-http --snapshotter "$1" "$2"; }
