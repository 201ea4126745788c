#!/bin/sh
# make-seeds.sh DIR: first inputs for the fuzz targets, made with the tools of the system, in DIR/TARGET/.
set -eu
corpus=$(cd "$(dirname "$0")/../corpus" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tree=$work/tree
mkdir -p "$tree/d/e" "$tree/o" "$out/fuzz_tar" "$out/fuzz_layer_index_file"
echo content >"$tree/d/file"
ln "$tree/d/file" "$tree/link"
ln -s ../d/file "$tree/d/e/symlink"
mkfifo "$tree/fifo"
: >"$tree/o/.wh..wh..opq"
: >"$tree/.wh.gone"
: >"$tree/$(printf '%0150d' 0)"
truncate -s 200K "$tree/sparse"
for at in 8 40 80 120 160; do
  printf x | dd of="$tree/sparse" bs=1K seek=$at conv=notrunc status=none
done

# seed NAME FILE: the two bytes in front are the split and "put checksums right".
seed() {
  { printf '\111\001' && cat "$2"; } >"$out/fuzz_tar/$1"
}
for format in v7 ustar gnu oldgnu posix; do
  # The old formats cannot hold every name and type: tar says so, writes the others and fails.
  tar -C "$tree" --format=$format --exclude=sparse -cf "$work/a.tar" . 2>/dev/null || :
  seed "$format" "$work/a.tar"
done
tar -C "$tree" --format=gnu --sparse -cf "$work/a.tar" sparse
seed sparse-gnu "$work/a.tar"
for version in 0.0 0.1 1.0; do
  tar -C "$tree" --format=posix --sparse --sparse-version=$version -cf "$work/a.tar" sparse
  seed "sparse-$version" "$work/a.tar"
done
tar -C "$tree" --format=posix -cf "$work/a.tar" d link
gzip -c "$work/a.tar" >"$work/a.gz"
seed gzip "$work/a.gz"
gzip -9c "$work/a.tar" >>"$work/a.gz"
seed gzip-members "$work/a.gz"
if command -v zstd >/dev/null; then
  zstd -qc "$work/a.tar" >"$work/a.zst"
  seed zstd "$work/a.zst"
fi

printf 'p' >"$out/fuzz_layer_index_file/good"
printf 'p\020\000\002\100\000\377' >"$out/fuzz_layer_index_file/patched"
printf 'DLRINDX1\001\000\000\000\000\020\000\000' >"$out/fuzz_layer_index_file/header"

# fuzz_profile: the first byte chooses the reader.
mkdir -p "$out/fuzz_profile"
digest=sha256:$(printf '%064d' 0)
profile() {
  printf '{"dedup_profile":1,"source":"touches","runs":2,"layers":["%s"],"entries":1}\n' "$digest"
  printf '{"layer":0,"path":"/bin/sh","offset":0,"length":65536,"us":9,"runs":2}\n'
}
trace() {
  printf '{"dedup_profile":1,"source":"touches","runs":1,"layers":["%s"],"entries":1,"container":"web-1",' "$digest"
  printf '"started":1790000000,"prepared_us":250000,"fetches":3}\n'
  printf '{"layer":0,"path":"/bin/sh","offset":0,"length":65536,"us":9,"runs":1}\n'
  printf '{"layer":0,"path":"/bin/sh","offset":0,"length":131072,"us":250009,"by":"reader","wait_us":7}\n'
  printf '{"layer":0,"path":"/bin/ls","offset":0,"length":4096,"us":250010,"by":"prefetch"}\n'
  printf '{"path":"/bin/sh","offset":131072,"length":1,"us":300000,"by":"background"}\n'
}
{ printf '\001' && profile; } >"$out/fuzz_profile/good"
{ printf '\001' && trace; } >"$out/fuzz_profile/trace"
if command -v zstd >/dev/null; then
  { printf '\000' && profile | zstd -qc; } >"$out/fuzz_profile/good-zstd"
fi
for bad in "$corpus"/profile/*.jsonl; do
  { printf '\001' && cat "$bad"; } >"$out/fuzz_profile/$(basename "$bad" .jsonl)"
done
printf '\002# list\n/bin/sh\nusr/lib/x\n' >"$out/fuzz_profile/paths"
printf '\003{"path":"bin/sh","manifestDigest":"%s","layerIndex":0}\n' "$digest" >"$out/fuzz_profile/stargz"
printf '\004["/bin/sh", "/usr/lib/x"]' >"$out/fuzz_profile/soci"

# fuzz_referrers: the first byte chooses the reader.
mkdir -p "$out/fuzz_referrers"
subject=sha256:$(printf subject | sha256sum | cut -c-64)
entry() { printf '{"mediaType":"a/b","digest":"%s","size":8,"artifactType":"application/%s"}' "$digest" "$1"; }
printf '\000{"schemaVersion":2,"manifests":[%s,%s,7,{}],"annotations":{"a":"b"}}' "$(entry ours)" "$(entry foreign)" >"$out/fuzz_referrers/index"
printf '\001{"artifactType":"application/ours","config":%s,"layers":[{"mediaType":"text/plain","digest":"%s","size":8}],"subject":{"digest":"%s","size":7}}' \
  "$(entry ours)" "$digest" "$subject" >"$out/fuzz_referrers/manifest"
printf '\0022026-11-21T23:08:09.000042+01:30' >"$out/fuzz_referrers/time"
