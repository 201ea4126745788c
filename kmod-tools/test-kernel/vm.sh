#!/bin/bash
# Runs a command as root under another kernel, in an emulated machine (QEMU without KVM), and exits with its status.
#   vm.sh [OPTION]... COMMAND [ARG]...
#     --kernel ondemand     our build of Debian's 6.1 with fscache on demand (default)
#     --kernel stock-6.1    Debian's kernel of that series as it is; stock-6.12 and others where apt has them
#     -t SECONDS            then the machine is killed (600)
#     -m MIB, -c CPUS, -d GIB   memory (2048), processors (2), size of the disk (4)
#     --keep-log FILE       the kernel's console and log
# The command sees this machine's files, read-only below a tmpfs, as they were when the guest started, in the same working
# directory. $TMPDIR is on an ext4 disk of its own. Its output is the output here.
# Exit status 125: the guest crashed, was killed for its time, or its kernel complained (WARNING, BUG, hung task ...).
# Exit status 77: QEMU or the kernel is not to be had; the last line says what.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/../../scripts/lib/say.sh"
kernel=ondemand seconds=600 mib=2048 cpus=2 gib=4 log=

while [ $# -gt 0 ]; do
  case $1 in
    --kernel) kernel=$2; shift 2 ;;
    -t) seconds=$2; shift 2 ;;
    -m) mib=$2; shift 2 ;;
    -c) cpus=$2; shift 2 ;;
    -d) gib=$2; shift 2 ;;
    --keep-log) log=$(realpath "$2"); shift 2 ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    --) shift; break ;;
    -*) die "unknown option $1" ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || die "no command"

skip() { say "skipped: $*"; exit 77; }
for program in qemu-system-x86_64 busybox cpio mkfs.ext4; do
  command -v $program >/dev/null || skip "$program is not installed (scripts/setup.sh)"
done

WORK=$(mktemp -d) MACHINE=
trap '[ -z "$MACHINE" ] || kill "$MACHINE" 2>/dev/null; rm -rf "$WORK"' EXIT
trap 'exit 143' INT TERM HUP
SHARE=$WORK/share INITRD=$WORK/initrd
mkdir -p "$SHARE" "$INITRD"/{bin,proc,sys,dev,ro,rw,newroot,modules}
: >"$INITRD/modules/order"

# Sets IMAGE; puts modules into the initrd.
case $kernel in
  ondemand) IMAGE=$("$HERE/build.sh") || exit ;;
  stock-*)
    stock=$("$HERE/stock.sh" "${kernel#stock-}") || exit
    IMAGE=$stock/vmlinuz
    cp "$stock"/modules/* "$INITRD/modules/"
    ;;
  *) die "unknown kernel $kernel" ;;
esac

cp "$(command -v busybox)" "$INITRD/bin/busybox"
install -m 755 "$HERE/init" "$INITRD/init"
(cd "$INITRD" && find . | cpio --quiet -o -H newc | gzip -1) >"$WORK/initrd.gz"
printf 'cd %q && exec%s\n' "$PWD" "$(printf ' %q' "$@")" >"$SHARE/command"
truncate -s "${gib}G" "$WORK/disk"
mkfs.ext4 -q -F -b 4096 "$WORK/disk"

# Two serial ports: the kernel's console goes to a file, the command's output here.
status=0
p9=security_model=none,multidevs=remap
timeout -k 5 "$seconds" qemu-system-x86_64 -M q35 -accel tcg,thread=multi,tb-size=512 -cpu max -smp "$cpus" -m "$mib" \
  -display none -no-reboot -nodefaults -serial "file:$WORK/console" -serial stdio -kernel "$IMAGE" -initrd "$WORK/initrd.gz" \
  -append "console=ttyS0 panic=-1 quiet oops=panic mitigations=off tsc=reliable" \
  -fsdev "local,id=root,path=/,readonly=on,$p9" -device virtio-9p-pci,fsdev=root,mount_tag=root \
  -fsdev "local,id=share,path=$SHARE,$p9" -device virtio-9p-pci,fsdev=share,mount_tag=share \
  -drive "file=$WORK/disk,if=none,id=disk,format=raw,cache=unsafe,aio=threads" -device virtio-blk-pci,drive=disk \
  -device virtio-rng-pci </dev/null 2>"$WORK/qemu" &
MACHINE=$!
wait "$MACHINE" || status=$?
MACHINE=
[ -z "$log" ] || cat "$WORK/console" "$SHARE/dmesg" >"$log" 2>/dev/null || true

if [ ! -s "$SHARE/status" ]; then
  say "the guest did not end by itself (QEMU status $status); its console:"
  tail -n 60 "$WORK/console" "$WORK/qemu" >&2
  exit 125
fi
# Of file systems only the guest's own disk counts: tests take the power from others.
if grep -E 'WARNING:|BUG:|Oops|general protection|blocked for more than|stalls on CPUs|UBSAN|EXT4-fs error .device vda' "$SHARE/dmesg" >&2; then
  say "the guest's kernel complained; its log:"
  tail -n 100 "$SHARE/dmesg" >&2
  exit 125
fi
exit "$(<"$SHARE/status")"
