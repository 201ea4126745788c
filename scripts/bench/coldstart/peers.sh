# The modes of a cold start that are not ours. Each is run with the settings its documentation calls fastest, its background
# downloads off, and is restarted with nothing before every sample. Needs lib/peers.sh.
#   overlayfs-1.6  this Debian's containerd: the image is fetched, then unpacked
#   overlayfs-2.1  Debian unstable's, which unpacks while it fetches
#   erofs-2.1      the same, layers become EROFS images
#   soci           soci-snapshotter: lazy, unmodified image and an index beside it; it speaks HTTPS only, see tls_start
#   stargz         containerd-stargz-grpc, from PATH or --stargz: lazy, the same eStargz image as ours, not optimized for a start
#   nydus          always a gap: neither its daemon nor what makes its images is in any Debian
# soci's own client pulls: it tells the snapshotter the sizes of layers too small for an index. Without them the snapshotter asks for
# such a layer as a manifest first, and nine times, because Debian's registry answers 500: nine seconds for each.

# Of each link, for HTTPS.
declare -A TLS_ADDRESS=()

# peer_gap MODE: why it cannot be measured here; nothing when it can.
peer_gap() {
  case $1 in
    overlayfs-1.6) ;;
    overlayfs-2.1 | erofs-2.1) peers_fetch || echo "$PEERS_GAP" ;;
    soci)
      if ! peers_fetch; then
        echo "$PEERS_GAP"
      elif [ -e $SOCI_HOME ]; then
        echo "$SOCI_HOME is in use"
      elif ! tls_name >/dev/null; then
        echo "no name but localhost is this machine's loopback in /etc/hosts, and soci wants HTTPS and a name"
      fi
      ;;
    stargz)
      if ! command -v "$STARGZ" >/dev/null; then
        echo "containerd-stargz-grpc is not in PATH (--stargz)"
      else
        peers_fetch || echo "$PEERS_GAP"
      fi
      ;;
    nydus)
      if command -v nydusd >/dev/null; then echo "nothing here makes its images yet"; else echo "nydusd is not in PATH"; fi
      ;;
    *) echo "there is no such mode" ;;
  esac
}

# peer_use LINK: the variables of modes.sh.
peer_use() {
  SNAPSHOTTER=${MODE%-*} FORM=plain LAZY=''
  PULL=(containerd_pull "$SNAPSHOTTER")
  case $MODE in
    soci)
      LAZY=1 LOG=registry-tls ADDRESS=${TLS_ADDRESS[$1]}
      PULL=("$PEERS/usr/bin/soci" --address "$LAB/containerd.sock" --namespace lab image rpull --hosts-dir "$LAB/hosts" --snapshotter soci)
      ;;
    stargz) LAZY=1 FORM=lazy ;;
  esac
}

# peer_start: see mode_start.
peer_start() {
  containerd_wipe
  peer_stop
  case $MODE in
    overlayfs-1.6) containerd_start; return ;;
    soci) soci_start ;;
    stargz) stargz_start ;;
  esac
  sid_containerd_start
  [ -z "$LAZY" ] || wait_until 20 proxy_answers || die "containerd does not reach $MODE"
}

proxy_answers() { "$CTR" snapshots --snapshotter "$SNAPSHOTTER" prepare probe && "$CTR" snapshots --snapshotter "$SNAPSHOTTER" rm probe; }

peer_stop() {
  local name
  for name in soci stargz; do
    lab_stop $name
    lab_unmount_below "$LAB/$name"
    rm -rf --one-file-system "${LAB:?}/$name" "$LAB/$name.sock"
  done
}

# peer_is_lazy: FUSE mounts tell; both fall back to fetching everything without a word.
peer_is_lazy() { awk -v dir="$LAB/$MODE/" 'index($2, dir) == 1 && $3 ~ /^fuse/ { found = 1 } END { exit !found }' /proc/self/mounts; }

stargz_start() {
  mkdir "$LAB/stargz"
  printf 'metadata_store = "memory"\nno_background_fetch = true\n[[resolver.host."%s".mirrors]]\nhost = "%s"\ninsecure = true\n' \
    "$ADDRESS" "$ADDRESS" >"$LAB/stargz.toml"
  lab_spawn stargz "$STARGZ" --address "$LAB/stargz.sock" --config "$LAB/stargz.toml" --root "$LAB/stargz"
  lab_ready stargz 10 test -S "$LAB/stargz.sock"
}

# Where soci and its snapshotter keep indexes, whatever they are told; a link to the lab while this runs.
readonly SOCI_HOME=/var/lib/soci-snapshotter-grpc

soci_start() {
  mkdir "$LAB/soci"
  LAB_REMOVE=("$SOCI_HOME")
  ln -sfT "$LAB/soci" $SOCI_HOME
  printf '[background_fetch]\ndisable = true\n' >"$LAB/soci.toml"
  lab_spawn soci env SSL_CERT_FILE="$LAB/tls.crt" "$PEERS/usr/bin/soci-snapshotter-grpc" --address "$LAB/soci.sock" \
    --config "$LAB/soci.toml" --root "$LAB/soci"
  lab_ready soci 10 test -S "$LAB/soci.sock"
}

# soci_index IMAGE...: makes the index of each and gives it to the registry.
soci_index() {
  local image ref
  MODE=soci SNAPSHOTTER=soci LAZY=1
  for image in "$@"; do
    ref=$REGISTRY/$image:plain
    peer_start
    {
      "$CTR" image pull --plain-http "$ref"
      "$PEERS/usr/bin/soci" --address "$CONTAINERD_ADDRESS" --namespace lab create "$ref"
      "$PEERS/usr/bin/soci" --address "$CONTAINERD_ADDRESS" --namespace lab push --plain-http "$ref"
    } >>"$LAB/log/soci-index.log" 2>&1 || die "no soci index of $image: $(tail -n 3 "$LAB/log/soci-index.log")"
    find "$LAB/soci/content/blobs/sha256" -type f -printf 'sha256:%f\n' >>"$LAB/served/$image"
    mode_stop
  done
}

# tls_name: a name of this machine's loopback that is not localhost.
tls_name() {
  awk '$1 ~ /^127\./ { for (i = 2; i <= NF; ++i) if ($i !~ /^localhost/) { print $i; found = 1; exit } } END { exit !found }' /etc/hosts
}

# tls_start: a second registry on the same storage, and a link to it like each other one.
tls_start() {
  local name link address
  name=$(tls_name)
  openssl req -x509 -newkey rsa:2048 -nodes -days 7 -subj "/CN=$name" -addext "subjectAltName=DNS:$name" \
    -keyout "$LAB/tls.key" -out "$LAB/tls.crt" 2>/dev/null
  sed "s|^http: .*|http: {addr: '127.0.0.1:0', relativeurls: true, tls: {certificate: $LAB/tls.crt, key: $LAB/tls.key}}|" \
    "$LAB/registry.yml" >"$LAB/registry-tls.yml"
  lab_spawn registry-tls env -u REGISTRY OTEL_SDK_DISABLED=true docker-registry serve "$LAB/registry-tls.yml"
  lab_ready registry-tls 10 registry_address registry-tls
  for link in $LINKS; do
    link_start "tls-$link" "$(registry_address registry-tls)" "$link"
    address=$name:${LINK_STARTED#*:}
    TLS_ADDRESS[$link]=$address
    mkdir -p "$LAB/hosts/$address"
    printf 'server = "https://%s"\n[host."https://%s"]\n  ca = "%s"\n' "$address" "$address" "$LAB/tls.crt" \
      >"$LAB/hosts/$address/hosts.toml"
  done
}
