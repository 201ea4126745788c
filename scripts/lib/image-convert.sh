# OCI layout directories: eStargz conversion, facts, pushing. Needs say.sh, and lab.sh for the conversion.

# image_to_estargz LAYOUT DIR: writes DIR, the OCI layout of LAYOUT:latest as eStargz. Debian's ctr-remote converts, on the
# lab's containerd.
image_to_estargz() {
  local layout=$1 out=$2 tar=$LAB/convert.tar
  skopeo copy --quiet --insecure-policy "oci:$layout:latest" "oci-archive:$tar:plain"
  ctr image import --no-unpack --index-name localhost/plain --base-name localhost/plain "$tar"
  # Level 9, its default, takes nearly twice the time for 0.3 % fewer bytes.
  ctr-remote images convert --estargz --estargz-compression-level 6 --oci localhost/plain:plain localhost/estargz:latest
  ctr image export "$tar" localhost/estargz:latest
  mkdir -p "$out"
  tar -C "$out" -xf "$tar" oci-layout index.json blobs
  rm "$tar"
  # skopeo's oci: transport finds an image by this annotation alone.
  jq '.manifests |= [.[0] | .annotations = {"org.opencontainers.image.ref.name": "latest"}]' "$out/index.json" >"$out/index.new"
  mv "$out/index.new" "$out/index.json"
}

# image_zstd DIR: makes DIR/zstd, the OCI layout of DIR/plain with zstd layers, unless it is there.
image_zstd() {
  [ ! -e "$1/zstd" ] || return 0
  rm -rf "$1/zstd.$$"
  skopeo copy --quiet --insecure-policy --dest-compress-format zstd "oci:$1/plain:latest" "oci:$1/zstd.$$:latest"
  mv -T "$1/zstd.$$" "$1/zstd" 2>/dev/null || rm -rf "$1/zstd.$$"
}

# image_manifest LAYOUT: the manifest's JSON.
image_manifest() {
  local digest
  digest=$(jq -r '.manifests[0].digest' "$1/index.json")
  cat "$1/blobs/${digest/://}"
}

# image_facts LAYOUT: {"layers", "compressed_bytes", "files"} (files = tar entries of all layers).
image_facts() {
  local files=0 digest
  for digest in $(image_manifest "$1" | jq -r '.layers[].digest'); do
    files=$((files + $(gzip -dc "$1/blobs/${digest/://}" | tar -t | wc -l)))
  done
  image_manifest "$1" | jq --argjson files "$files" \
    '{layers: (.layers | length), compressed_bytes: ([.layers[].size] | add), files: $files}'
}

# image_push LAYOUT REF: uploads byte for byte, so digests stay what they are.
image_push() {
  skopeo copy --quiet --insecure-policy --preserve-digests --dest-tls-verify=false "oci:$1:latest" "docker://$2"
}

# image_keep WORK DIR: adds facts.json to WORK (plain/, estargz/) and moves it to DIR, which appears complete or not at all.
image_keep() {
  jq -n --argjson plain "$(image_facts "$1/plain")" --argjson estargz "$(image_facts "$1/estargz")" \
    '{plain: $plain, estargz: $estargz}' >"$1/facts.json"
  # Copied, then renamed: the cache may be on another file system, and two runs may make the same image.
  cp -r "$1" "$2.$$"
  mv -T "$2.$$" "$2" 2>/dev/null || rm -rf "$2.$$"
  rm -rf "$1"
}
