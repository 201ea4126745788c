#!/usr/bin/env bats
# The systemd units: systemd itself reads them, and what the fanotify door's safety rests on is in them.

setup() {
  UNITS=$(cd "$BATS_TEST_DIRNAME/../../scripts/systemd" && pwd)
}

# The programs are not installed here; systemd-analyze wants them to be.
@test "systemd accepts the units" {
  command -v systemd-analyze >/dev/null || skip "systemd-analyze"
  for unit in dedupd dedup-snapshotter; do
    sed -E 's|^ExecStart=/usr/bin/[a-z-]+|ExecStart=/bin/true|' "$UNITS/$unit.service" >"$BATS_TEST_TMPDIR/$unit.service"
  done
  run systemd-analyze verify "$BATS_TEST_TMPDIR/dedupd.service" "$BATS_TEST_TMPDIR/dedup-snapshotter.service"
  [ "$status" -eq 0 ]
  [ -z "$output" ]
}

# With the default, control-group, systemd would kill witness and worker of a keeper that died.
@test "systemd stops and kills the keeper only" {
  grep -qx 'KillMode=process' "$UNITS/dedupd.service"
  grep -qx 'OOMPolicy=continue' "$UNITS/dedupd.service"
}

# 16 groups, the journal, and as many segments as the state has room for.
@test "the fd store has room for every kept fd" {
  segments=$(sed -nE 's/.*kMaxKeptSegments = ([0-9]+);/\1/p' "$BATS_TEST_DIRNAME/../../daemon/doors/kept_state.h")
  most=$(sed -n 's/^FileDescriptorStoreMax=//p' "$UNITS/dedupd.service")
  [ "$most" -ge $((segments + 17)) ]
}
