// Kernel mounts of metadata images: file-backed EROFS (6.12+) with pool segments as devices, bind
// mounts of it, and the question whether anyone still uses it. Blocking system calls; workers call
// them.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/result.h"

namespace dedup {

// Mounts `image` read-only at the existing directory `mountpoint`.
//   devices  paths of the segment files in device-slot order
//   directio EROFS reads segments with O_DIRECT: half the page cache, slower random reads
//   errors   kUnsupported: this kernel cannot mount EROFS from files; kIo with the kernel's own
//   message
Result<void> mount_erofs(const std::string& image, const std::vector<std::string>& devices,
                         const std::string& mountpoint, bool directio);
Result<void> bind_read_only(const std::string& source, const std::string& target);
// Both in a process of their own (own_process.h).
// errors  kExists: busy; kNotFound: not a mount point.
Result<void> unmount(const std::string& mountpoint);
// MNT_DETACH: gone from the tree at once, really when its last user is.
Result<void> unmount_lazily(const std::string& mountpoint);

// Mount points of this mount namespace (/proc/self/mountinfo).
Result<std::set<std::string>> mount_points();

// True while a superblock, of this or another mount namespace, overlay lowerdirs included, still
// reads `image`: overlayfs keeps a superblock alive after its mount point is gone. Found out with a
// write lease, which the kernel grants only when nobody else has the file open (fcntl(2),
// F_SETLEASE), so it also sees what cachefiles has open. Speaks of all copies of the image. A file
// that does not exist is not in use.
bool metadata_image_in_use(const std::string& image);
bool metadata_file_in_use(const std::string& file);  // of this one copy

// Where fscache mounts the image while its file is in use: copy 0 is the image itself.
std::string copy_of_image(const std::string& image, int copy);
inline constexpr int kMaxImageCopies = 32;
// Removes the image and its copies.
void remove_metadata_image(const std::string& image);

}  // namespace dedup
