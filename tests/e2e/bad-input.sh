#!/bin/bash
# Images that lie and a registry that misbehaves: each is refused with one clear sentence, nothing is lost, and the repeated
# pull works as soon as the cause is gone.
#   bad-input.sh [BUILD]     BUILD: build folder (default: build/release)
set -euo pipefail
REPO=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=$(realpath "${1:-${BUILD:-$REPO/build/release}}")
for piece in say check lab containerd registry dedupd; do . "$REPO/scripts/lib/$piece.sh"; done
export PYTHONDONTWRITEBYTECODE=1
MIB=$((1 << 20)) MAX_S=20 SKIPPED=0

skipped() { SKIPPED=$((SKIPPED + 1)); say "SKIP  $*"; }

# make_image NAME [OPTION...]: repository NAME of the odd registry; sets LAYER.
make_image() {
  rm -rf "$LAB/images/${1:?}"
  python3 "$REPO/tests/e2e/estargz-blob.py" "${@:2}" "$LAB/images/$1" >"$LAB/facts.json"
  LAYER=$(jq -r .layer "$LAB/facts.json")
}

fault() { echo "$*" >"$LAB/images/fault"; }
healed() { : >"$LAB/images/fault"; }
pool_is_clean() { dedupctl check --json | tail -n 1 | jq -e '.clean and (.bad | length) == 0'; }

# refused WHAT REF PATTERN NAMED: the pull of REF ends soon with status 1 and one line that matches PATTERN (a regular
# expression) and names NAMED.
refused() {
  local status=0 t0=$SECONDS
  timeout $MAX_S "$BUILD/daemon/dedupctl" --socket "$LAB/dedupd.sock" pull "$2" >"$LAB/out" 2>"$LAB/err" || status=$?
  if [ "$status" = 1 ] && [ "$(wc -l <"$LAB/err")" = 1 ] && grep -qiE -- "$3" "$LAB/err" && grep -qF -- "$4" "$LAB/err"; then
    passed "$1 ($((SECONDS - t0)) s): $(sed -E "s/(sha256:.{8})[0-9a-f]*/\1/g; s|$LAB||g" "$LAB/err" | cut -c1-230)"
  else
    failed "$1: status $status, expected one line like /$3/ that names $4:"
    head -n 5 "$LAB/err" | cut -c1-600 >&2
  fi
}

# accepted WHAT REF
accepted() {
  if timeout $MAX_S "$BUILD/daemon/dedupctl" --socket "$LAB/dedupd.sock" pull "$2" >"$LAB/out" 2>"$LAB/err"; then passed "$1"; else
    failed "$1: $(head -n 1 "$LAB/err")"
  fi
}

# reads_as FILE NUMBER SIZE [SEED]: content as estargz-blob.py makes it.
reads_as() {
  python3 - "$1" "$2" "$3" "${4:-1}" <<'PY'
import array, sys
path, number, size, seed = sys.argv[1], *map(int, sys.argv[2:])
base = seed << 48 | number << 32
with open(path, "rb") as file:
    sys.exit(file.read() != array.array("Q", range(base, base + size // 8 + 1)).tobytes()[:size])
PY
}

# read_error FILE: the errno's name of reading it, "none" when that works.
read_error() { python3 -c 'import errno, sys
try: open(sys.argv[1], "rb").read(); print("none")
except OSError as e: print(errno.errorcode[e.errno])' "$1"; }

mounted() { mkdir -p "$LAB/mnt" && dedupctl mount "$1" "$LAB/mnt" >>"$LAB/log/mount.log"; }
unmounted() { dedupctl umount "$LAB/mnt" >>"$LAB/log/mount.log"; }

# Defects of the image itself. The registry is honest. LIE|FORM|PATTERN, FORM estargz or gzip.
image_lies() {
  local lie form pattern before
  before=$(dedupctl pool stat --json | jq .bytes)
  while IFS='|' read -r lie form pattern; do
    make_image "$lie-$form" --form "$form" --lie "$lie" --bomb $((64 * MIB))
    refused "$lie in $form" "$REGISTRY/$lie-$form:latest" "$pattern" "$LAYER"
  done <<'EOT'
layer-digest|gzip|bytes with digest
diff-id|gzip|diffID
truncated|gzip|truncated|ends|incomplete
corrupt|gzip|corrupt|invalid|crc|check|broken
trailing-garbage|gzip|garbage|gzip|header
traversal|gzip|\.\.
traversal-inside|gzip|\.\.
hardlink-nothing|gzip|link
hardlink-traversal|gzip|link|\.\.
through-symlink|gzip|symlink|symbolic|directory
file-as-directory|gzip|directory
long-path|gzip|long|4096|4095
long-name|gzip|long|255
bomb|gzip|limit|max_uncompressed
bomb-padding|gzip|limit|max_uncompressed
toc-digest|estargz|digest
toc-json|estargz|JSON|TOC
toc-type|estargz|wormhole
footer|estargz|outside
offset-outside|estargz|offset
offset-shared|estargz|same bytes
size-larger|estargz|cover
size-huge|estargz|limit
chunk-gap|estargz|first chunk
no-digest|estargz|digest
traversal|estargz|\.\.
hardlink-nothing|estargz|link
through-symlink|estargz|symlink|symbolic|directory
long-path|estargz|long|4096|4095
EOT
  check_equal "images known after the refusals" 0 "$(dedupctl images --json | jq '.images | length')"
  check_equal "bytes in the pool" "$before" "$(dedupctl pool stat --json | jq .bytes)"
  check "the pool is clean" pool_is_clean
}

# An image that was refused is pulled under the same name as soon as it is honest. LIE|FORM
healed_images() {
  local lie form
  while IFS='|' read -r lie form; do
    make_image "healed-$form" --form "$form" --lie "$lie" --bytes 300000 --seed 6
    refused "$lie in $form, once more" "$REGISTRY/healed-$form:latest" . "$LAYER"
    make_image "healed-$form" --form "$form" --bytes 300000 --seed 6
    mounted "$REGISTRY/healed-$form:latest"
    check "the honest image under the same name" reads_as "$LAB/mnt/d000/f00003" 3 300000 6
    unmounted
    dedupctl rm "$REGISTRY/healed-$form:latest" >/dev/null
  done <<'EOT'
diff-id|gzip
truncated|gzip
corrupt|gzip
toc-digest|estargz
size-larger|estargz
EOT
  # A bad chunk is found when it is read: the honest image brings another layer, and its chunks are its own.
  make_image healed-chunk --lie chunk-digest --seed 5
  mounted "$REGISTRY/healed-chunk:latest"
  check_equal "chunk-digest: read of the bad chunk" EIO "$(read_error "$LAB/mnt/d000/f00004")"
  unmounted
  make_image healed-chunk --seed 5
  accepted "the honest image under the same name" "$REGISTRY/healed-chunk:latest"
  mounted "$REGISTRY/healed-chunk:latest"
  check "its chunk that was bad" reads_as "$LAB/mnt/d000/f00004" 4 100000 5
  unmounted
  check "the pool is clean" pool_is_clean
}

# Odd, but legal.
legal_images() {
  local form
  for form in gzip estargz; do
    make_image "absolute-$form" --form "$form" --lie absolute
    mounted "$REGISTRY/absolute-$form:latest" && check_equal "absolute path in $form" absolute "$(cat "$LAB/mnt/absolute")" && unmounted
    make_image "duplicate-$form" --form "$form" --lie duplicate
    mounted "$REGISTRY/duplicate-$form:latest" && check_equal "duplicate path in $form, the last counts" second "$(cat "$LAB/mnt/twice")" && unmounted
  done
}

# REF is refused while the fault lasts and pulled when it is over. FAULT|PATTERN
registry_faults() {
  local form spec pattern where
  for form in gzip estargz; do
    make_image "faulty-$form" --form "$form" --bytes 300000 --seed 9
    while IFS='|' read -r spec pattern; do
      fault "$spec"
      where=faulty-$form
      # The config is a blob, too, and the first to be asked for: name the layer.
      [[ $spec != blobs* ]] || { fault "${spec/blobs/$LAYER}" && where=$LAYER; }
      refused "$form: $spec" "$REGISTRY/faulty-$form:latest" "$pattern" "$where"
      healed
    done <<'EOT'
manifests status 401|401|denied|credential|auth
manifests status 403|403|denied
manifests status 404|404|not found
manifests status 429:60|429
manifests status 500|500
manifests hang|stall|timeout|timed out|no byte
manifests cut|end|cut|short|closed|transfer
manifests loop|redirect
blobs status 401|401|denied|credential|auth
blobs status 403|403|denied
blobs status 404|404|not found
blobs status 416|416|range
blobs status 429:60|429
blobs status 500|500
blobs hang|stall|timeout|timed out|no byte
blobs hang-body|stall|timeout|timed out|no byte
blobs cut|end|cut|short|closed|transfer
blobs flip|digest|corrupt|footer|gzip|crc
blobs loop|redirect
EOT
    check "$form: the pool is clean" pool_is_clean
    fault "$LAYER status 429:1 1"
    accepted "$form: waits out a 429 with Retry-After" "$REGISTRY/faulty-$form:latest"
    healed
    mounted "$REGISTRY/faulty-$form:latest"
    check "$form: content after all faults" reads_as "$LAB/mnt/d000/f00003" 3 300000 9
    unmounted
    dedupctl rm "$REGISTRY/faulty-$form:latest" >/dev/null
  done
}

# A lazy read that cannot be served gets EIO; the next one after the cause is gone succeeds.
lazy_reads() {
  local number=0 spec
  make_image lazy --bytes 300000 --files 16 --seed 7
  mounted "$REGISTRY/lazy:latest"
  for spec in "status 403" "status 404" "status 416" "status 429:60" "status 500" hang hang-body cut flip wrong-range loop; do
    fault "$LAYER $spec"
    check_equal "read while the registry answers: $spec" EIO "$(read_error "$LAB/mnt/d000/f$(printf %05d $number)")"
    healed
    check "read after that" reads_as "$LAB/mnt/d000/f$(printf %05d $number)" $number 300000 7
    number=$((number + 1))
  done
  fault "$LAYER no-range"
  check "read from a registry that ignores Range" reads_as "$LAB/mnt/d000/f$(printf %05d $number)" $number 300000 7
  healed
  unmounted
  for spec in chunk-digest offset-shifted; do
    make_image "lazy-$spec" --lie "$spec" --seed 8${#spec}  # content of its own: no other image has its chunks
    mounted "$REGISTRY/lazy-$spec:latest"
    check_equal "$spec: read of the bad chunk" EIO "$(read_error "$LAB/mnt/d000/f00004")"
    check_equal "$spec: once more" EIO "$(read_error "$LAB/mnt/d000/f00004")"
    check "$spec: its neighbour" reads_as "$LAB/mnt/d000/f00005" 5 100000 8${#spec}
    unmounted
  done
  check "the pool is clean" pool_is_clean
}

# layer_of NAME: digest of the layer of repository NAME.
layer_of() { jq -r '.layers[0].digest' "$LAB/images/$1/blobs/sha256/$(jq -r '.manifests[0].digest[7:]' "$LAB/images/$1/index.json")"; }

# The pool on a small file system.
disk_full() {
  local ballast=$LAB/small/ballast
  truncate -s 96M "$LAB/small.ext4"
  mkfs.ext4 -q "$LAB/small.ext4"
  mkdir "$LAB/small"
  mount -o loop "$LAB/small.ext4" "$LAB/small" || { skipped "disk full: no loop mounts here"; return; }
  make_image big --form gzip --files 10 --bytes $((4 * MIB)) --seed 3
  make_image big-lazy --files 10 --bytes $((4 * MIB)) --seed 4
  dedupd_start ".root = \"$LAB/small/dedupd\" | .limits.min_free_bytes = 0 | .fetch.retries = 0"
  fallocate -l $(($(stat -f -c '%a * %S' "$LAB/small") - 12 * MIB)) "$ballast"
  refused "disk full in a pull" "$REGISTRY/big:latest" "space" "$(layer_of big)"
  mounted "$REGISTRY/big-lazy:latest"
  cat "$LAB"/mnt/d000/* >/dev/null 2>"$LAB/err" || true
  check "disk full in lazy reads: some fail with an I/O error" grep -q 'Input/output error\|No space' "$LAB/err"
  rm "$ballast"
  check "the last file after space was freed" reads_as "$LAB/mnt/d000/f00009" 9 $((4 * MIB)) 4
  unmounted
  accepted "the pull after space was freed" "$REGISTRY/big:latest"
  mounted "$REGISTRY/big:latest"
  check "its content" reads_as "$LAB/mnt/d000/f00009" 9 $((4 * MIB)) 3
  unmounted
  check "the pool is clean" pool_is_clean
  lab_stop dedupd
  lab_unmount_below "$LAB/small"
  umount "$LAB/small"
}

# dedupd_refuses WHAT STATUS PATTERN [WRAPPER...]: with $LAB/bad.json as it is.
dedupd_refuses() {
  local status=0
  timeout 10 "${@:4}" "$BUILD/daemon/dedupd" --config "$LAB/bad.json" >"$LAB/out" 2>"$LAB/err" || status=$?
  if [ "$status" = "$2" ] && grep -qE -- "$3" "$LAB/err"; then passed "$1: status $status, $(tail -n 1 "$LAB/err" | sed "s|$LAB||g" | cut -c1-200)"; else
    failed "$1: status $status, expected $2 and /$3/: $(tail -n 2 "$LAB/err")"
  fi
}

start_refusals() {
  cp "$LAB/config.json" "$LAB/bad.json"
  dedupd_refuses "second dedupd on the same root" 73 "$LAB/dedupd"
  printf '{\n  "root": "/x",\n  "rout": "/y"\n}\n' >"$LAB/bad.json"
  dedupd_refuses "unknown key" 78 'bad\.json:3.*rout'
  printf '{\n  "chunk_bytes": 5000\n}\n' >"$LAB/bad.json"
  dedupd_refuses "bad value" 78 'bad\.json:2.*chunk_bytes'
  printf '{\n  "root": "/x"\n' >"$LAB/bad.json"
  dedupd_refuses "broken JSON" 78 'bad\.json:[0-9]'
  rm "$LAB/bad.json"
  dedupd_refuses "no config" 78 'bad\.json'
  mkdir "$LAB/bad.json"
  dedupd_refuses "a folder as config" 78 'bad\.json'
  rmdir "$LAB/bad.json"
}

# The kernel lacks what a door needs; the numbers are those of fanotify_init and fsopen.
kernels_without_a_door() {
  local without=("$REPO/tests/e2e/without-syscall.py") door
  for door in fanotify auto; do
    jq --arg root "$LAB/no-door" --arg door "$door" '.root = $root | .socket = "\($root).sock" | .door = $door' "$LAB/config.json" >"$LAB/bad.json"
    dedupd_refuses "$door door, kernel without EROFS" 69 'missing here: .*(erofs|EROFS)' "${without[@]}" 430
    [ "$door" = auto ] || dedupd_refuses "$door door, kernel without fanotify" 69 'missing here: .*FANOTIFY' "${without[@]}" 300
  done
  timeout 2 "${without[@]}" 300 "$BUILD/daemon/dedupd" --config "$LAB/bad.json" 2>"$LAB/err" || true
  check "auto door, kernel without fanotify: another one is taken" grep -q 'msg="door taken" door=[^f]*fuse' "$LAB/err"
}

require_root
require_programs python3 jq mkfs.ext4
lab_open
mkdir "$LAB/images"
odd_registry_start
dedupd_start ".fetch.readaround_bytes = 0 | .limits.max_uncompressed_bytes = $((32 * MIB)) | .fetch.stall_timeout_ms = 500 | .fetch.retries = 1 | .fetch.max_retry_after_ms = 3000"
say "door: $(dedupd_number .door)"
image_lies
legal_images
registry_faults
healed_images
lazy_reads
start_refusals
kernels_without_a_door
lab_stop dedupd
lab_unmount_below "$LAB/dedupd"
disk_full
say "$CHECKS_PASSED passed, $CHECKS_FAILED failed, $SKIPPED skipped"
[ "$CHECKS_FAILED" = 0 ]
