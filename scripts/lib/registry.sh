# A private OCI registry on loopback whose log tells what was fetched. Needs lab.sh.

# registry_start: sets REGISTRY to 127.0.0.1:PORT; the kernel picks the port at the first start.
registry_start() {
  mkdir -p "$LAB/registry"
  cat >"$LAB/registry.yml" <<EOF
version: 0.1
log: {level: info, accesslog: {disabled: false}}
storage:
  filesystem: {rootdirectory: $LAB/registry}
  delete: {enabled: true}
  cache: {blobdescriptor: inmemory}
http: {addr: "${REGISTRY:-127.0.0.1:0}", relativeurls: true}
EOF
  : >"$LAB/log/registry.log"
  lab_spawn registry env -u REGISTRY OTEL_SDK_DISABLED=true docker-registry serve "$LAB/registry.yml"
  lab_ready registry 10 registry_address registry
  REGISTRY=$(registry_address registry)
}

# registry_address NAME: of one that runs. NAME, here and below: of its log.
registry_address() { sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$LAB/log/$1.log" | grep .; }

# registry_mark [NAME]: a place in the log; the counters below count from it.
registry_mark() { stat -c %s "$LAB/log/${1:-registry}.log"; }

# registry_warm HEX...: brings the registry's own files of these blobs into memory.
registry_warm() {
  local hex
  for hex in "$@"; do cat "$LAB/registry/docker/registry/v2/blobs/sha256/${hex:0:2}/$hex/data"; done >/dev/null
}

# registry_warm_image LAYOUT: of all blobs of an OCI layout that was pushed.
registry_warm_image() {
  local blobs
  mapfile -t blobs < <(find "$1/blobs/sha256" -type f -printf '%f\n')
  registry_warm "${blobs[@]}"
}

registry_blob_gets() { tail -c "+$(($1 + 1))" "$LAB/log/${2:-registry}.log" | grep -E '"GET /v2/[^ ]+/blobs/' || [ $? = 1 ]; }

# registry_requests MARK [NAME]: GETs of blobs since MARK (layers and configs).
registry_requests() { registry_blob_gets "$@" | wc -l; }

# registry_bytes MARK [NAME]: body bytes of those answers.
registry_bytes() { registry_blob_gets "$@" | awk '{ split($0, part, "\""); split(part[3], n, " "); sum += n[2] } END { printf "%d\n", sum }'; }

# odd_registry_start [--delay-ms N]: instead of the above, the one that misbehaves when asked to; it serves the OCI layouts in
# $LAB/images. Its log has other lines: see tests/e2e/odd-registry.py.
odd_registry_start() {
  lab_spawn registry python3 "$REPO/tests/e2e/odd-registry.py" "$@" "$LAB/images"
  lab_ready registry 30 grep -q listening "$LAB/log/registry.log"
  REGISTRY=$(sed -n 's/^listening on //p' "$LAB/log/registry.log")
}
