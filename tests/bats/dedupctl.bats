#!/usr/bin/env bats
# dedupctl against the real API server with canned answers. DEDUPCTL and FAKE_DEDUPD name the programs (ctest sets them).

bats_require_minimum_version 1.5.0

# Waits until fake_dedupd has printed $1.
wait_for() {
  for _ in $(seq 200); do
    grep -q "$1" "$BATS_TEST_TMPDIR/said" && return 0
    sleep 0.05
  done
  echo "fake_dedupd did not say $1" >&2
  return 1
}

start_fake() {
  "$FAKE_DEDUPD" "$DEDUP_SOCKET" "$@" >"$BATS_TEST_TMPDIR/said" 3>&- &
  fake_pid=$!
  wait_for ready
}

setup() {
  # The folder of a test is too long for a socket address under some TMPDIR.
  socket_folder=$(mktemp -d)
  export DEDUP_SOCKET="$socket_folder/s"
  fake_pid=
}

teardown() {
  if [ -n "$fake_pid" ]; then
    kill "$fake_pid" && wait "$fake_pid" || true
  fi
  rm -rf "$socket_folder"
}

# $output is one JSON object and nothing else.
one_object() {
  echo "$output" | python3 -c 'import json,sys; v=json.loads(sys.stdin.read()); assert isinstance(v, dict), v'
  [ "${#lines[@]}" -eq 1 ]
}

field() {
  echo "$output" | python3 -c 'import json,sys; print(eval("v"+sys.argv[1], {"v": json.load(sys.stdin)}))' "$1"
}

@test "help of every command reads like a manual page" {
  for command in "" pull mount umount images rm status pool "pool stat" check profile "profile show" "profile import" "profile build"; do
    run --separate-stderr "$DEDUPCTL" $command --help
    [ "$status" -eq 0 ]
    [ -z "$stderr" ]
    [[ "$output" == "NAME"$'\n'"  dedupctl"* ]]
    [[ "$output" == *$'\n'"SYNOPSIS"$'\n'*$'\n'"DESCRIPTION"$'\n'*$'\n'"OPTIONS"$'\n'* ]]
    # No line is wider than 100 columns.
    [ -z "$(echo "$output" | awk 'length > 100')" ]
  done
  run "$DEDUPCTL" --help
  for section in EXAMPLES "EXIT STATUS" ENVIRONMENT FILES; do [[ "$output" == *"$section"* ]]; done
}

@test "wrong usage is exit 2 and one sentence" {
  for arguments in "" "nonsense" "pull" "pull a b" "mount a" "pool" "images --bogus" "check extra"; do
    run --separate-stderr "$DEDUPCTL" $arguments
    [ "$status" -eq 2 ]
    [ -z "$output" ]
    [ "${#stderr_lines[@]}" -eq 1 ]
    [[ "$stderr" == "dedupctl: "* ]]
  done
  run --separate-stderr "$DEDUPCTL" pull --json
  [ "$status" -eq 2 ]
  one_object
  [ "$(field '["error"]["code"]')" = invalid ]
}

@test "no daemon is exit 3 and says what to do" {
  run --separate-stderr "$DEDUPCTL" status
  [ "$status" -eq 3 ]
  [ -z "$output" ]
  [[ "$stderr" == "dedupctl: no dedupd answers on $DEDUP_SOCKET: start it with "*"--socket" ]]
  run --separate-stderr "$DEDUPCTL" --json --socket "$DEDUP_SOCKET.other" pull a
  [ "$status" -eq 3 ]
  [[ "$stderr" == *"$DEDUP_SOCKET.other"* ]]
  one_object
  [ "$(field '["error"]["code"]')" = unavailable ]
}

@test "a socket this user may not open is exit 3 and says so" {
  [ "$(id -u)" -eq 0 ] || skip "needs root to become another user"
  start_fake
  chmod 755 "$socket_folder"
  cp "$DEDUPCTL" "$socket_folder/dedupctl"
  run --separate-stderr setpriv --reuid 65534 --clear-groups "$socket_folder/dedupctl" status
  [ "$status" -eq 3 ]
  [[ "$stderr" == *"no permission to open $DEDUP_SOCKET: run this command as root"* ]]
}

@test "pull prints one line and is quiet about progress in a pipe" {
  start_fake
  run --separate-stderr "$DEDUPCTL" pull registry.example/app:1.2
  [ "$status" -eq 0 ]
  [ "$output" = "pulled registry.example/app:1.2: 2 layers (estargz, tar), 30.0 MiB compressed, 25.0 MiB of 100 MiB present" ]
  [ -z "$stderr" ]
}

@test "pull draws one bar per layer on a terminal and takes them away" {
  start_fake
  run env TERM=xterm script -qec "stty cols 100; '$DEDUPCTL' pull registry.example/app:1.2" /dev/null
  [ "$status" -eq 0 ]
  [[ "$output" == *"aaaaaaaaaaaa [###"* ]]
  [[ "$output" == *"bbbbbbbbbbbb [###"* ]]
  [[ "$output" == *$'\033[2A\r\033[J'"pulled registry.example/app:1.2"* ]]
  run env TERM=dumb script -qec "'$DEDUPCTL' pull registry.example/app:1.2" /dev/null
  [ "$status" -eq 0 ]
  [[ "$output" == "pulled"* ]]
}

@test "--json prints exactly one object for every command, before or behind it" {
  start_fake
  for command in "pull a" "mount a /mnt" "umount /mnt" images "rm a" status "pool stat" check "check --repair"; do
    run --separate-stderr "$DEDUPCTL" --json $command
    [ "$status" -eq 0 ]
    [ -z "$stderr" ]
    one_object
    run --separate-stderr "$DEDUPCTL" $command --json
    [ "$status" -eq 0 ]
    one_object
  done
  run "$DEDUPCTL" --json check --repair
  [ "$(field '["repaired"]')" = True ]
}

@test "a failure is exit 1, a sentence on stderr and with --json an object on stdout" {
  start_fake
  for command in "pull absent" "pull corrupt" "mount absent /mnt" "rm absent" "umount /busy"; do
    run --separate-stderr "$DEDUPCTL" $command
    [ "$status" -eq 1 ]
    [ -z "$output" ]
    [ "${#stderr_lines[@]}" -eq 1 ]
    [[ "$stderr" == "dedupctl: "* ]]
  done
  run --separate-stderr "$DEDUPCTL" --json pull corrupt
  [ "$status" -eq 1 ]
  one_object
  [ "$(field '["error"]["code"]')" = corruption ]
  [[ "$stderr" == *"has another digest"* ]]
}

@test "check is exit 4 when chunks are bad and names them" {
  start_fake --bad-chunks
  run --separate-stderr "$DEDUPCTL" check
  [ "$status" -eq 4 ]
  [[ "$output" == *"1 bad chunk found"*"--repair"* ]]
  [[ "$output" == *"sha256:aaaaaaaa"*"3"*"8192"*"4096"* ]]
  run "$DEDUPCTL" --json check --repair
  [ "$status" -eq 4 ]
  [ "$(field '["bad"][0]["offset"]')" = 8192 ]
}

@test "images is an aligned table and control characters do not reach the terminal" {
  start_fake
  run "$DEDUPCTL" images
  [ "$status" -eq 0 ]
  [ "${#lines[@]}" -eq 3 ]
  expected="REFERENCE                 DIGEST        LAYERS  COMPRESSED     SIZE  PRESENT  FORMATS       MOUNTED ON"
  [ "${lines[0]}" = "$expected" ]
  expected="registry.example/app:1.2  aaaaaaaaaaaa       2    30.0 MiB  100 MiB      25%  estargz, tar  /mnt/a"
  [ "${lines[1]}" = "$expected" ]
  [[ "${lines[2]}" == "oci:/srv/?[31mx "* ]]
}

@test "status and pool stat say it in words" {
  start_fake
  run "$DEDUPCTL" status
  [ "$status" -eq 0 ]
  for text in "0.1.0, up 1d 1h, pid 12, keeper 11, 1 worker restart" "fanotify (probe passed)" \
    "5 total, 3 complete, 2 served by the door" "12,345 answered, 1 denied, 2 recovered" \
    "1.00 GiB in 17 requests, 1 error, 4 retried" "30.0 MiB, at most 50.0 MiB" "snapshot:1, mount:/mnt/a"; do
    [[ "$output" == *"$text"* ]]
  done
  run "$DEDUPCTL" pool stat
  [[ "$output" == *"250 MiB (25%)"*"saved 150 MiB"*"1.00 TiB free"* ]]
}

@test "relative names become absolute" {
  start_fake
  mkdir "$BATS_TEST_TMPDIR/layout" "$BATS_TEST_TMPDIR/m" && cd "$BATS_TEST_TMPDIR"
  ln -s m link
  here=$(pwd -P)
  for name in oci:layout:v1 oci:./layout:v1 oci:layout/:v1 oci:x/../layout:v1; do
    run "$DEDUPCTL" --json mount "$name" link/
    [ "$(field '["image"]["ref"]')" = "oci:$here/layout:v1" ]
    [ "$(field '["target"]')" = "$here/m" ]
  done
  run "$DEDUPCTL" --json pull registry.example/a/../b
  [ "$(field '["image"]["ref"]')" = registry.example/a/../b ]
}

@test "an output that cannot be written is an error" {
  start_fake
  run --separate-stderr bash -c "'$DEDUPCTL' images >/dev/full"
  [ "$status" -eq 1 ]
  [[ "$stderr" == "dedupctl: cannot write the output" ]]
}

@test "a daemon that is killed in the middle of a pull is exit 3" {
  start_fake
  (wait_for pulling; kill -9 "$fake_pid") 3>&- &
  run --separate-stderr "$DEDUPCTL" pull slow
  [ "$status" -eq 3 ]
  [[ "$stderr" == *"went away before it answered"* ]]
  fake_pid=
}
