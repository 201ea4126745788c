// What containers read of EROFS mounts, seen in the page cache: a bitmap of pages per cgroup and
// 256 KiB of a file, with the time of the first touch. No record per event, so nothing can be lost
// to a slow reader: the maps are the result.
//
//   touched  mm_filemap_get_pages   read(2), sendfile, execve, cached or not: the pages asked for
//            mm_filemap_fault       a page of a mapping that had to be waited for
//            mm_filemap_map_pages   cached pages mapped around a fault: up to 16, of which the
//                                   kernel does not say which one was wanted
//   added    mm_filemap_add_to_page_cache: read from below, wanted or as readahead
//
// Kernels before about 6.13 have the last one only; user space leaves the others out (recorder.cc).
// Not seen on any kernel: further accesses to pages that are mapped already, O_DIRECT, and the
// anonymous inodes of inode_share (7.0+).
//
// Filter: file system type, mount, cgroup, in this order, the cheap ones first. A mount may also be
// recorded for every cgroup: nobody knows a container's cgroup before its first read.
// Only tp_btf programs, which need no more than BTF and CAP_BPF + CAP_PERFMON.
#include "vmlinux.h"
// after vmlinux.h
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "access.h"

#define EROFS_MAGIC 0xE0F5E1E2
#define PAGE_BITS 12
// One event marks at most so many areas (8 MiB). A longer read is announced again, from its next
// page on, for every batch of at most 31 folios.
#define MAX_AREAS 32
// A process may sit in cgroups of its container's own making.
#define MAX_LEVELS 8

char LICENSE[] SEC("license") = "GPL";

// Set before loading. 1: cgroup v1, the hierarchy of the memory controller; 0: v2.
const volatile __u32 v1_hierarchy = 0;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, __u32);    // s_dev
  __type(value, __u32);  // enum access_scope
} mounts SEC(".maps");

// Of ended cgroups nobody tells: the oldest go when it is full. One that is recorded for every
// cgroup of its mount is recorded without being here, too.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, __u64);   // cgroup id
  __type(value, __u8);  // enum access_cgroup
} cgroups SEC(".maps");

// Who has been announced. The oldest are forgotten when it is full, and announced again.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct access_reader_key);
  __type(value, __u8);
} announced SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 64 * 1024);
} readers SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 131072);  // 12 MiB; the user may choose another size
  __type(key, struct access_key);
  __type(value, struct access_area);
} areas SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct access_counts);
} counts SEC(".maps");

// The scope of a recorded mount, 0 for others.
static __always_inline __u32 scope_of(struct super_block *super, __u32 *device) {
  if (super->s_magic != EROFS_MAGIC) return 0;
  *device = super->s_dev;
  const __u32 *scope = bpf_map_lookup_elem(&mounts, device);
  return scope ? *scope : 0;
}

// Typed loads all the way: each costs a few instructions, bpf_probe_read_kernel a call.
static __always_inline struct cgroup *cgroup_of(struct task_struct *task) {
  if (!v1_hierarchy) return task->cgroups->dfl_cgrp;
  return task->cgroups->subsys[bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)]->cgroup;
}

// Id of the recorded cgroup the current process is in, 0 for none.
static __always_inline __u64 recorded_cgroup(__u32 scope) {
  struct cgroup *group = cgroup_of(bpf_get_current_task_btf());
  const __u64 own = group->kn->id;
  // 6.1 refuses the loop as the compiler turns it: with an edge back that is no jump.
#pragma clang loop unroll(full)
  for (int level = 0; level < MAX_LEVELS; ++level) {
    const __u64 id = group->kn->id;
    const __u8 *what = bpf_map_lookup_elem(&cgroups, &id);
    if (what && *what == ACCESS_RECORD) return id;
    if (what && (*what == ACCESS_ENDED || level == 0)) return 0;
    struct cgroup_subsys_state *parent = group->self.parent;
    if (!parent) break;
    group = parent->cgroup;
  }
  return scope == ACCESS_EVERY_CGROUP ? own : 0;
}

static __always_inline void mark_touched(struct access_area *area, __u64 pages) {
  if ((area->touched & pages) == pages) return;
  if (!area->touched_ns) area->touched_ns = bpf_ktime_get_ns();
  __sync_fetch_and_or(&area->touched, pages);
}

static __always_inline void mark_added(struct access_area *area, __u64 pages) {
  if (!area->added_ns) area->added_ns = bpf_ktime_get_ns();
  __sync_fetch_and_or(&area->added, pages);
}

// Once per cgroup and mount, so that user space looks at the process while it lives.
static __always_inline void announce(const struct access_key *key) {
  const struct access_reader_key reader = {.cgroup = key->cgroup, .device = key->device};
  const __u8 seen = 1;
  if (bpf_map_update_elem(&announced, &reader, &seen, BPF_NOEXIST) != 0) return;
  struct access_reader record = {.cgroup = key->cgroup,
                                 .first_ns = bpf_ktime_get_ns(),
                                 .device = key->device,
                                 .pid = bpf_get_current_pid_tgid() >> 32};
  if (bpf_ringbuf_output(&readers, &record, sizeof(record), 0) != 0)
    bpf_map_delete_elem(&announced, &reader);
}

static __always_inline struct access_area *enter(const struct access_key *key,
                                                 struct access_counts *count) {
  const struct access_area nothing = {};
  if (bpf_map_update_elem(&areas, key, &nothing, BPF_NOEXIST) == 0)
    __sync_fetch_and_add(&count->areas, 1);
  announce(key);
  struct access_area *area = bpf_map_lookup_elem(&areas, key);  // ours, or who was faster's
  if (!area) __sync_fetch_and_add(&count->dropped, 1);
  return area;
}

// Pages [first, last] of the inode.
static __always_inline int mark(struct inode *inode, __u64 first, __u64 last, bool touched) {
  struct access_key key = {};
  const __u32 scope = scope_of(inode->i_sb, &key.device);
  if (!scope) return 0;
  key.cgroup = recorded_cgroup(scope);
  if (!key.cgroup) return 0;
  __u32 zero = 0;
  struct access_counts *count = bpf_map_lookup_elem(&counts, &zero);
  const __u64 bytes = inode->i_size;
  if (!count || bytes == 0) return 0;
  count->events++;
  const __u64 end = (bytes - 1) >> PAGE_BITS;
  if (last > end) last = end;
  if (first > last) return 0;
  key.inode = inode->i_ino;
  for (int i = 0; i < MAX_AREAS; ++i) {
    const __u64 number = first / ACCESS_AREA_PAGES;
    const __u64 area_last = number * ACCESS_AREA_PAGES + ACCESS_AREA_PAGES - 1;
    const __u64 stop = last < area_last ? last : area_last;
    const __u64 pages = (~0ULL >> (63 - ((stop - first) & 63))) << (first & 63);
    key.area = number;
    struct access_area *area = bpf_map_lookup_elem(&areas, &key);
    if (!area) area = enter(&key, count);
    if (area && touched) mark_touched(area, pages);
    if (area && !touched) mark_added(area, pages);
    if (stop == last) break;
    first = stop + 1;
  }
  return 0;
}

SEC("tp_btf/mm_filemap_get_pages")
int BPF_PROG(on_get_pages, struct address_space *mapping, __u64 first, __u64 last) {
  return mark(mapping->host, first, last, true);
}

SEC("tp_btf/mm_filemap_map_pages")
int BPF_PROG(on_map_pages, struct address_space *mapping, __u64 first, __u64 last) {
  return mark(mapping->host, first, last, true);
}

SEC("tp_btf/mm_filemap_fault")
int BPF_PROG(on_fault, struct address_space *mapping, __u64 page) {
  return mark(mapping->host, page, page, true);
}

// Where the order of a large folio was kept, 6.2 - 6.5.
struct folio___6_2 {
  unsigned char _folio_order;
} __attribute__((preserve_access_index));

// The flags are a number, and since 6.18 a struct that holds it. The vmlinux.h at hand knows one of
// the two, whatever kernel this is going to run on.
struct folio___number {
  unsigned long flags;
} __attribute__((preserve_access_index));
struct folio___6_18 {
  struct {
    unsigned long f;
  } flags;
} __attribute__((preserve_access_index));

static __always_inline unsigned long flags_of(struct folio *folio) {
  struct folio___number *number = (void *)folio;
  struct folio___6_18 *now = (void *)folio;
  unsigned long flags = 0;
  if (bpf_core_field_exists(number->flags))
    bpf_core_read(&flags, sizeof(flags), &number->flags);
  else
    bpf_core_read(&flags, sizeof(flags), &now->flags);
  return flags;
}

static __always_inline __u64 pages_of(struct folio *folio) {
  if (!(flags_of(folio) & (1UL << bpf_core_enum_value(enum pageflags, PG_head)))) return 1;
  struct folio___6_2 *old = (void *)folio;
  if (bpf_core_field_exists(old->_folio_order))
    return 1ULL << (BPF_CORE_READ(old, _folio_order) & 31);
  if (bpf_core_field_exists(folio->_flags_1)) {
    const unsigned long order = BPF_CORE_READ(folio, _flags_1);  // low byte
    return 1ULL << (order & 31);
  }
  return 1;
}

SEC("tp_btf/mm_filemap_add_to_page_cache")
int BPF_PROG(on_add, struct folio *folio) {
  struct address_space *mapping = folio->mapping;
  if (!mapping || !mapping->host) return 0;
  const __u64 first = folio->index;
  return mark(mapping->host, first, first + pages_of(folio) - 1, false);
}
