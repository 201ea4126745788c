#!/bin/bash
# Installs the Debian 12 packages that building, testing and the demo need. Run as root; silent when all are there.
set -euo pipefail
REPO=$(cd "$(dirname "$0")/.." && pwd)
. "$REPO/scripts/lib/say.sh"

packages=(
  # build
  build-essential ccache cmake git ninja-build pkg-config
  libbpf-dev libcli11-dev libcpp-httplib-dev libcurl4-openssl-dev libgrpc++-dev libisal-dev libprotobuf-dev libsqlite3-dev
  libssl-dev liburing-dev libzstd-dev nlohmann-json3-dev protobuf-compiler protobuf-compiler-grpc zlib1g-dev
  bpftool clang-14
  # tests
  clang-format-14 libclang-rt-14-dev libbenchmark-dev libfuse3-dev libgmock-dev libgtest-dev libarchive-dev
  acl attr bats bc btrfs-progs chromium curl erofs-utils fio hyperfine iproute2 jq libcap2-bin openssl procps python3 python3-matplotlib shellcheck sqlite3 time util-linux xfsprogs xxd
  # tests under other kernels: an emulated machine, and what building a kernel needs
  bison busybox-static cpio dwarves e2fsprogs flex kmod libelf-dev linux-source-6.1 qemu-system-x86 rsync xz-utils
  golang-go golang-github-containerd-containerd-dev
  # containers: run them, build images, convert images (stargz-snapshotter is ctr-remote)
  buildah ca-certificates containerd docker-registry mmdebstrap pigz runc skopeo stargz-snapshotter zstd
)

installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do [[ $'\n'$installed$'\n' == *$'\n'"installed $package"$'\n'* ]] || missing+=("$package"); done
[ ${#missing[@]} -gt 0 ] || exit 0

require_root
say "installing: ${missing[*]}"

# Some of these packages start a service when installed, and one of them a registry that listens on every address. Everything
# here is run by the scripts themselves in directories of their own, so nothing is started (policy-rc.d, removed again at the
# end; one that is already there is kept), and the registry is not left enabled for the next boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi

export DEBIAN_FRONTEND=noninteractive
apt-get -q update
apt-get -q install -y --no-install-recommends "${missing[@]}"
if [[ " ${missing[*]} " == *" docker-registry "* ]] && command -v systemctl >/dev/null; then
  systemctl disable --quiet docker-registry.service || true
fi
