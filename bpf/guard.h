// Wire structs of guard.bpf.c, shared with daemon/doors/guard.cc. Plain C; the including file
// brings the integer types.
#ifndef DEDUP_BPF_GUARD_H
#define DEDUP_BPF_GUARD_H

// One superblock of a metadata image. The kernel gives a device number to another file system when
// its superblock is gone; the image's UUID tells the two apart.
struct guard_mount {
  __u32 device;  // super_block.s_dev: major << 20 | minor
  __u8 uuid[16];
};

struct guard_state {
  __u32 dead;  // 1: nobody holds the groups any more
  __u32 reserved;
  __u64 killed;  // signals sent; one reader may get several
};

#endif
