# Building images from Debian packages into OCI layout directories. Needs say.sh.
# An image is a folder of scripts/images: Containerfile, its files, and optionally base-packages (one name per line).

readonly IMAGE_RECIPES=$REPO/scripts/images

# image_cache_dir: where built images are kept between runs.
image_cache_dir() { echo "${DEDUP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dedup-snapshotter}/images"; }

# image_key NAME: changes with the recipe and with the way it is built, with nothing else.
image_key() {
  { cd "$IMAGE_RECIPES" && cat install "$1"/* "$REPO/scripts/lib/image-build.sh"; } |
    sha256sum | cut -c1-16
}

# image_base_tar FILE [PACKAGE...]: a minimal Debian root file system.
image_base_tar() {
  local tar=$1 include=ca-certificates
  shift
  [ $# -eq 0 ] || include+=,$(IFS=,; echo "$*")
  mmdebstrap --quiet --variant=minbase --include="$include" \
    --customize-hook='rm -rf "$1"/var/cache/apt/*.bin "$1"/var/log/apt "$1"/var/log/*.log "$1"/var/cache/ldconfig/aux-cache' \
    bookworm "$tar"
}

# image_build NAME WORK LAYOUT: builds the recipe in WORK, writes the OCI layout directory LAYOUT (tag: latest, gzip layers).
image_build() {
  local name=$1 work=$2 layout=$3 packages=() policy=$2/policy.json
  local store=(--root "$work/storage" --runroot "$work/run" --storage-driver overlay)
  mkdir -p "$work/context"
  cp "$IMAGE_RECIPES/$name"/* "$IMAGE_RECIPES/install" "$work/context/"
  [ ! -e "$IMAGE_RECIPES/$name/base-packages" ] || mapfile -t packages <"$IMAGE_RECIPES/$name/base-packages"
  echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$policy"

  image_base_tar "$work/context/base.tar" "${packages[@]}"
  buildah "${store[@]}" bud --signature-policy "$policy" --isolation chroot --layers --network host --format oci \
    -t "localhost/$name" "$work/context"
  buildah "${store[@]}" push --signature-policy "$policy" --format oci "localhost/$name" "oci:$layout:latest"
}
