#!/usr/bin/env bats
# The monitor sees what a command of known appetite takes, and does not change how it ends.

setup() {
  MONITOR=$BATS_TEST_DIRNAME/../../scripts/bench/monitor.sh
  OUT=$BATS_TEST_TMPDIR/out
  CGROUPS=()
}

teardown() {
  local cgroup
  for cgroup in "${CGROUPS[@]}"; do rmdir "$cgroup"; done
}

# One second of CPU, in a grandchild, with 64 MiB of memory.
BURN='python3 -c "
import time
memory = b\"x\" * (64 << 20)
while time.process_time() < 1: pass"; true'

# most WHO COLUMN: the highest value.
most() { jq --arg who "$1" --arg column "$2" '[.rows[] | select(.who == $who)[$column] // empty] | max' "$OUT/monitor.json"; }

# between LOW VALUE HIGH
between() { awk -v low="$1" -v value="$2" -v high="$3" 'BEGIN { exit !(low <= value && value <= high) }' || { echo "$2 is not in $1 .. $3"; return 1; }; }

@test "CPU and memory of a command are those it took" {
  run "$MONITOR" --interval 0.2 --out "$OUT" -- bash -c "$BURN"
  [ "$status" -eq 0 ]
  between 1 "$(most command cpu_s)" 1.5
  between 0.9 "$(most machine cpu_s)" 1000
  between $((64 << 20)) "$(most command anon_bytes)" $((100 << 20))
  [ "$(head -n 1 "$OUT/monitor.csv")" = seconds,who,cpu_percent,cpu_s,rss_bytes,pss_bytes,anon_bytes,cached_bytes,read_bytes,written_bytes,received_bytes,sent_bytes ]
  grep -q '>CPU</text>' "$OUT/monitor-1.svg"
}

@test "bytes written by a process that came and went are counted" {
  local folder
  folder=$(mktemp -d -p "${TMPDIR:-/var/tmp}" monitor-bats.XXXXXX) # on a disk: direct writes
  run "$MONITOR" --interval 5 --out "$OUT" -- bash -c "dd if=/dev/zero of=$folder/file bs=1M count=32 oflag=direct"
  rm -r "$folder"
  [ "$status" -eq 0 ]
  between $((32 << 20)) "$(most command written_bytes)" $((34 << 20))
}

@test "who is never seen is named" {
  run "$MONITOR" --interval 0.1 --out "$OUT" --container no-such-container --pid 999999999 -- true
  [ "$status" -eq 0 ]
  [[ "$output" == *"no-such-container was never seen"* ]]
  [[ "$output" == *"process 999999999 was never seen"* ]]
}

@test "a folder that cannot be made ends it before the command runs" {
  run "$MONITOR" --out /dev/null/folder -- touch "$BATS_TEST_TMPDIR/ran"
  [ "$status" -eq 1 ]
  [[ "$output" == "monitor.sh: "*/dev/null/folder* ]]
  [ ! -e "$BATS_TEST_TMPDIR/ran" ]
}

@test "the exit status is the command's" {
  run "$MONITOR" --out "$OUT" -- bash -c 'exit 7'
  [ "$status" -eq 7 ]
  run "$MONITOR" --out "$OUT" -- bash -c 'kill -KILL $$'
  [ "$status" -eq 137 ]
  run "$MONITOR" --out "$OUT" -- /no/such/program
  [ "$status" -eq 1 ]
  [[ "$output" == "monitor.sh: "*"/no/such/program"* ]]
  run "$MONITOR" --out "$OUT"
  [ "$status" -eq 2 ]
}

@test "dedupd is found by its executable, also when it starts later" {
  cp "$(command -v sleep)" "$BATS_TEST_TMPDIR/dedupd"
  run "$MONITOR" --interval 0.2 --out "$OUT" -- bash -c "sleep 0.5; $BATS_TEST_TMPDIR/dedupd 1"
  [ "$status" -eq 0 ]
  # Others of that name may be running.
  jq -e '[.rows[] | select(.who | test("^dedupd [0-9]+$"))] | group_by(.who)
    | any(length >= 2 and .[0].seconds > 0.4 and .[0].rss_bytes > 0)' "$OUT/monitor.json"
}

@test "a container is measured by its cgroup" {
  local root=/sys/fs/cgroup name=monitor-bats-$$ enter='' controller folder
  for controller in memory cpuacct blkio ""; do
    folder=$root${controller:+/$controller}
    { [ -e "$folder/cgroup.procs" ] && mkdir "$folder/$name"; } 2>/dev/null || continue
    CGROUPS+=("$folder/$name")
    enter+="echo \$\$ >$folder/$name/cgroup.procs;"
  done
  [ -e "$root/memory/$name/memory.stat" ] || [ -e "$root/$name/memory.stat" ] || skip "no cgroup with memory accounting"
  for by in "--cgroup /$name" "--container $name"; do
    # shellcheck disable=SC2086
    run "$MONITOR" --interval 0.2 $by --out "$OUT" -- bash -c "$enter $BURN"
    [ "$status" -eq 0 ]
    between 0.7 "$(most container cpu_s)" 1.5
    between $((64 << 20)) "$(most container anon_bytes)" $((100 << 20))
  done
}

# The other version's files, as the kernel writes them.
@test "cgroup v2 and systemd's names are understood" {
  local root=$BATS_TEST_TMPDIR/cgroup
  mkdir -p "$root/kubepods.slice/cri-containerd-abc123.scope"
  touch "$root/cgroup.controllers"
  cd "$root/kubepods.slice/cri-containerd-abc123.scope"
  echo $'anon 1048576\nfile 2097152\nkernel 5' >memory.stat
  echo $'usage_usec 5000000\nuser_usec 1' >cpu.stat
  echo '8:0 rbytes=4096 wbytes=0 rios=1 wios=0' >io.stat
  run "$MONITOR" --interval 0.2 --container abc123 --cgroup-root "$root" --out "$OUT" -- \
    bash -c "sleep 0.5; sed -i s/5000000/7500000/ cpu.stat; sed -i s/rbytes=4096/rbytes=8192/ io.stat; sleep 0.5"
  [ "$status" -eq 0 ]
  [ "$(most container cpu_s) $(most container read_bytes)" = "2.5 4096" ]
  [ "$(most container anon_bytes) $(most container cached_bytes)" = "1048576 2097152" ]
}
