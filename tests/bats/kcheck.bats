# dedup-kcheck against the running kernel. KCHECK: the program.

setup() {
  [ "$(id -u)" = 0 ] || skip "needs root"
}

@test "some door works, and the exit status says so" {
  run "$KCHECK" --root "$BATS_TEST_TMPDIR"
  works=$("$KCHECK" --root "$BATS_TEST_TMPDIR" --json | jq .usable)
  [ "$works $status" = "true 0" ] || [ "$works $status" = "false 1" ]
  [[ $output == *fanotify* && $output == *cachefiles* && $output == *fuse* ]]
}

@test "every door and feature is in the JSON, with a reason" {
  "$KCHECK" --root "$BATS_TEST_TMPDIR" --json >"$BATS_TEST_TMPDIR/json"
  jq -e '[.doors[].name] == ["cachefiles", "fanotify", "fuse"]' "$BATS_TEST_TMPDIR/json"
  jq -e 'all(.doors[]; .reason != "") and all(.features[]; .seen != "" and (.there | IN("yes", "no", "unknown")))' "$BATS_TEST_TMPDIR/json"
  jq -e '.features | has("file_backed_mounts") and has("directio") and has("inode_share") and has("fuse") and has("tp_btf") and has("access_recorder")
         and has("ksm") and has("cgroup_v2") and has("reflink")' "$BATS_TEST_TMPDIR/json"
}

@test "what is there agrees with the kernel" {
  features=$("$KCHECK" --root "$BATS_TEST_TMPDIR" --json | jq .features)
  [ "$(jq -r .ksm.there <<<"$features")" = "$([ -e /sys/kernel/mm/ksm/run ] && echo yes || echo no)" ]
  [ "$(jq -r .cgroup_v2.there <<<"$features")" = "$([ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] && echo yes || echo no)" ]
  : >"$BATS_TEST_TMPDIR/from"
  cp --reflink=always "$BATS_TEST_TMPDIR/from" "$BATS_TEST_TMPDIR/to" 2>/dev/null && reflink=yes || reflink=no
  [ "$(jq -r .reflink.there <<<"$features")" = "$reflink" ]
}

@test "nothing is left behind" {
  before=$(sort /proc/self/mountinfo | wc -l)
  "$KCHECK" --root "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/out" || true
  [ "$(find "$BATS_TEST_TMPDIR" -name 'dedup-kcheck*' | wc -l)" = 0 ]
  [ "$(sort /proc/self/mountinfo | wc -l)" = "$before" ]
}

@test "a kernel without fanotify has its reason in the table" {
  without=$BATS_TEST_DIRNAME/../e2e/without-syscall.py
  run "$without" 300 "$KCHECK" --root "$BATS_TEST_TMPDIR" --json
  jq -e '.doors[] | select(.name == "fanotify") | (.works | not) and (.reason | test("FANOTIFY"))' <<<"$output"
}

@test "wrong usage is status 2" {
  run "$KCHECK" --frobnicate
  [ "$status" = 2 ]
}
