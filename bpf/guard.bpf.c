// The fail-closed guard of the fanotify door: when the last process that holds the groups dies, the
// kernel would let every read of missing bytes go on and see holes. This kills such readers
// instead. Everything is pinned, so it works while nothing of ours runs.
//
//   on_exit   strikes a dead holder out; after the last one the guard is `dead`. sched_process_exit
//             fires before the process's fds are closed, so before the groups release their readers.
//   others    every way to file data passes one of them before user space sees a byte. Dead guard
//             and guarded superblock: SIGKILL for the reader. A fault that waited is retried by the
//             kernel and passes them then.
//
// Only tp_btf programs, which need no more than BTF and CAP_BPF + CAP_PERFMON (5.13: for_each).
#include "vmlinux.h"
// after vmlinux.h
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "guard.h"

#define SIGKILL 9

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u32);  // tgid
  __type(value, __u8);
} holders SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 16384);
  __type(key, struct guard_mount);
  __type(value, __u8);
} guarded SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct guard_state);
} state SEC(".maps");

static __always_inline struct guard_state *the_state(void) {
  __u32 zero = 0;
  return bpf_map_lookup_elem(&state, &zero);
}

static long nothing(struct bpf_map *map, const void *key, void *value, void *context) {
  return 1;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task) {
  __u32 tgid = task->tgid;
  if (!bpf_map_lookup_elem(&holders, &tgid)) return 0;
  if (task->signal->live.counter > 0) return 0;  // other threads of it still hold the fds
  bpf_map_delete_elem(&holders, &tgid);
  struct guard_state *guard = the_state();
  if (guard && bpf_for_each_map_elem(&holders, nothing, 0, 0) == 0) guard->dead = 1;
  return 0;
}

static __always_inline int check(struct address_space *mapping) {
  struct guard_state *guard = the_state();
  if (!guard || !guard->dead || !mapping) return 0;
  struct inode *inode = mapping->host;
  if (!inode) return 0;
  struct super_block *super = inode->i_sb;
  struct guard_mount mount = {.device = super->s_dev};
  bpf_core_read(&mount.uuid, sizeof(mount.uuid), &super->s_uuid);
  if (!bpf_map_lookup_elem(&guarded, &mount)) return 0;
  __sync_fetch_and_add(&guard->killed, 1);
  bpf_send_signal(SIGKILL);
  return 0;
}

SEC("tp_btf/mm_filemap_get_pages")
int BPF_PROG(on_get_pages, struct address_space *mapping) {
  return check(mapping);
}

SEC("tp_btf/mm_filemap_map_pages")
int BPF_PROG(on_map_pages, struct address_space *mapping) {
  return check(mapping);
}

SEC("tp_btf/mm_filemap_fault")
int BPF_PROG(on_fault, struct address_space *mapping) {
  return check(mapping);
}

SEC("tp_btf/mm_filemap_add_to_page_cache")
int BPF_PROG(on_add, struct folio *folio) {
  return check(folio->mapping);
}
