# One temporary directory with real programs running in it: the ground every end-to-end script stands on. Needs say.sh.
#   lab_open            creates $LAB; a trap stops all that was started, unmounts and removes whatever is below it
#   lab_spawn NAME ...  runs a program in the background: log in $LAB/log/NAME.log, ended by lab_stop NAME
#   LAB_KEEP=1          keeps the directory (logs, metadata) after everything has stopped
# Only processes started here are ever signalled.

declare -A LAB_PIDS=()
# Files outside $LAB that lab_close removes, too.
LAB_REMOVE=()
LAB_KEEP=${LAB_KEEP:-}

lab_open() {
  # Not /tmp: that may be memory, and unpacked images are large.
  LAB=$(mktemp -d "${TMPDIR:-/var/tmp}/dedup-lab.XXXXXX")
  mkdir "$LAB/log"
  trap lab_close EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

lab_close() {
  local status=$? name
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  lab_stop_containers
  # The daemon goes last: what is still mounted may need it to answer.
  for name in containerd dedup-snapshotter; do lab_stop "$name"; done
  lab_stop_shims
  lab_unmount_below "$LAB"
  for name in "${!LAB_PIDS[@]}"; do lab_stop "$name"; done
  lab_unmount_below "$LAB"
  lab_remove_guard
  [ ${#LAB_REMOVE[@]} -eq 0 ] || rm -f "${LAB_REMOVE[@]}"
  if [ -n "$LAB_KEEP" ]; then
    say "kept: $LAB"
  else
    rm -rf --one-file-system "$LAB"
  fi
  exit "$status"
}

lab_spawn() {
  local name=$1
  shift
  setsid "$@" >>"$LAB/log/$name.log" 2>&1 </dev/null &
  LAB_PIDS[$name]=$!
}

lab_running() { [ -n "${LAB_PIDS[$1]:-}" ] && kill -0 "${LAB_PIDS[$1]}" 2>/dev/null; }

# lab_ready NAME SECONDS COMMAND...: waits until COMMAND succeeds; shows the log when the program ends or the time is over.
lab_ready() {
  local name=$1 seconds=$2
  shift 2
  lab_ready_or_dead() { ! lab_running "$name" || "$@"; }
  wait_until "$seconds" lab_ready_or_dead "$@" && lab_running "$name" && return
  say "--- $name is not ready; end of its log:"
  tail -n 20 "$LAB/log/$name.log" >&2
  return 1
}

# lab_stop NAME: SIGTERM, 10 s, SIGKILL. Unknown names and ended programs are fine.
lab_stop() {
  local pid=${LAB_PIDS[$1]:-}
  [ -n "$pid" ] || return 0
  unset "LAB_PIDS[$1]"
  kill "$pid" 2>/dev/null || true
  wait_until 10 lab_gone "$pid" || { say "$1 ignores SIGTERM: killed" && kill -KILL "$pid" 2>/dev/null; } || true
  wait "$pid" 2>/dev/null || true
}

# lab_kill NAME [PID...]: SIGKILL for it and for children of it that are named, and waits until all are gone.
lab_kill() {
  local pid=${LAB_PIDS[$1]} child
  unset "LAB_PIDS[$1]"
  # Stopped first: a parent that lives a moment longer could start a child again.
  {
    kill -STOP "$pid" || true
    kill -KILL "${@:2}" "$pid" || true
    wait "$pid" || true
  } 2>/dev/null
  # One that is in the middle of a flush takes its time to die.
  for child in "${@:2}"; do wait_until 30 lab_gone "$child"; done
}

# All its threads: the first one may be a zombie while another still holds its files.
lab_gone() { [ ! -e "/proc/$1" ] || { grep -qs '^State:.Z' "/proc/$1/status" && [ "$(find "/proc/$1/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" -le 1 ]; }; }

# lab_unmount_below DIR: innermost first; what is busy is detached.
lab_unmount_below() {
  local target
  awk -v dir="$1/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | tac | while read -r target; do
    target=$(printf '%b' "$target")
    umount "$target" 2>/dev/null || umount -l "$target" || true
  done
}

# lab_remove_guard: what a dedupd that was killed leaves pinned, see daemon/doors/guard.h.
lab_remove_guard() { rm -rf "/sys/fs/bpf/dedup-snapshotter/$(printf %s "$LAB/dedupd" | sha256sum | cut -c1-16)"; }
