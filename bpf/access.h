// Wire structs of access.bpf.c, shared with daemon/trace/recorder.cc. Plain C; the including file
// brings the integer types.
#ifndef DEDUP_BPF_ACCESS_H
#define DEDUP_BPF_ACCESS_H

#define ACCESS_AREA_PAGES 64

enum access_scope {
  ACCESS_NAMED_CGROUPS = 1,  // those in the map, and what is below them
  ACCESS_EVERY_CGROUP = 2,   // each by itself
};

// One area: 64 neighbouring pages (256 KiB) of one file, as one cgroup saw it.
struct access_key {
  __u64 cgroup;  // id of the recorded cgroup: st_ino of its directory
  __u64 inode;   // st_ino of the file: the nid
  __u32 device;  // super_block.s_dev: major << 20 | minor
  __u32 area;    // page index / 64
};

struct access_area {
  __u64 touched;     // bit i: page i of the area was read or mapped
  __u64 added;       // bit i: page i came into the page cache, wanted or as readahead
  __u64 touched_ns;  // first touch, CLOCK_MONOTONIC; 0: none
  __u64 added_ns;
};

// A cgroup has read a recorded mount for the first time.
struct access_reader {
  __u64 cgroup;
  __u64 first_ns;  // CLOCK_MONOTONIC
  __u32 device;
  __u32 pid;  // of the process that read, in the first pid namespace
};

struct access_reader_key {
  __u64 cgroup;
  __u32 device;
  __u32 zero;
};

// What the map of cgroups says of one.
enum access_cgroup {
  ACCESS_RECORD = 1,  // it and what is below it counts as it
  ACCESS_IGNORE = 2,  // it alone: not a container
  ACCESS_ENDED = 3,   // it and what is below it: was recorded
};

struct access_counts {
  __u64 events;   // that passed the filter; each is one read or fault of any number of pages
  __u64 areas;    // entered in the map
  __u64 dropped;  // areas that did not fit into the map, each time they were touched
};

#endif
