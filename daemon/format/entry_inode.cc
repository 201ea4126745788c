#include "format/entry_inode.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

#include "format/layer_path.h"

namespace dedup {

namespace {

constexpr uint32_t kMaxDeviceMajor = 0xfff;  // what dev_t of Linux and rdev of EROFS hold
constexpr uint32_t kMaxDeviceMinor = 0xfffff;

mode_t type_bits(EntryType type) {
  switch (type) {
    case EntryType::kRegular:
    case EntryType::kHardLink:
      return S_IFREG;
    case EntryType::kSymlink:
      return S_IFLNK;
    case EntryType::kCharDevice:
      return S_IFCHR;
    case EntryType::kBlockDevice:
      return S_IFBLK;
    case EntryType::kDirectory:
      return S_IFDIR;
    case EntryType::kFifo:
      return S_IFIFO;
  }
  return 0;
}

bool is_device(EntryType type) {
  return type == EntryType::kCharDevice || type == EntryType::kBlockDevice;
}

Error invalid(std::string what) {
  return make_error(Errc::kInvalid, std::move(what));
}

std::string over(std::string_view what, uint64_t limit) {
  return std::string(what) + " over " + std::to_string(limit);
}

Result<void> check_numbers(const Entry& entry, const LayerLimits& limits) {
  constexpr uint64_t kMaxId = UINT32_MAX - 1;  // 2^32 - 1 means "no change" to chown(2)
  if (entry.uid > kMaxId) return invalid(over("uid", kMaxId));
  if (entry.gid > kMaxId) return invalid(over("gid", kMaxId));
  if (entry.mtime_nanoseconds >= 1'000'000'000) return invalid("nanoseconds of a second or more");
  if (entry.mode > 07777) return invalid("mode with more than permission bits");
  if (entry.type == EntryType::kRegular && entry.size > limits.max_file_bytes) {
    return invalid(over("file size", limits.max_file_bytes));
  }
  if (is_device(entry.type) &&
      (entry.rdev_major > kMaxDeviceMajor || entry.rdev_minor > kMaxDeviceMinor)) {
    return invalid("device number that Linux cannot hold");
  }
  return {};
}

Result<void> check_symlink(const Entry& entry, const LayerLimits& limits) {
  if (entry.link_target.empty()) return invalid("symlink without a target");
  if (entry.link_target.size() > limits.max_path_bytes) {
    return invalid(over("symlink target bytes", limits.max_path_bytes));
  }
  if (entry.link_target.find('\0') != std::string::npos) return invalid("symlink target with NUL");
  return {};
}

// The attributes an unpacker could set on a file of this type. containerd skips the others in
// silence: trusted.* (they steer overlayfs, a layer must not), namespaces Linux does not know,
// user.* on anything but files and directories.
bool is_kept_xattr(std::string_view name, mode_t type) {
  if (name.starts_with("user.")) return S_ISREG(type) || S_ISDIR(type);
  if (name == "system.posix_acl_access") return !S_ISLNK(type);
  if (name == "system.posix_acl_default") return S_ISDIR(type);
  return name.starts_with("security.");
}

Result<void> check_xattr(const Xattr& xattr, const LayerLimits& limits) {
  if (xattr.name.size() > limits.max_name_bytes) {
    return invalid(over("xattr name bytes", limits.max_name_bytes));
  }
  if (xattr.name.ends_with('.') || xattr.name.find('\0') != std::string::npos) {
    return invalid("xattr " + printable_path(xattr.name) + " has no valid name");
  }
  if (xattr.value.size() > limits.max_xattr_bytes) {
    return invalid("value of xattr " + printable_path(xattr.name) +
                   over(", bytes", limits.max_xattr_bytes));
  }
  return {};
}

void take_owner_and_time(Inode& inode, const Entry& entry) {
  inode.uid = static_cast<uint32_t>(entry.uid);
  inode.gid = static_cast<uint32_t>(entry.gid);
  inode.mtime_seconds = entry.mtime_seconds;
  inode.mtime_nanoseconds = entry.mtime_nanoseconds;
}

Result<std::vector<Xattr>> keep_xattrs(std::vector<Xattr> xattrs, mode_t type,
                                       const LayerLimits& limits) {
  std::erase_if(xattrs, [type](const Xattr& xattr) { return !is_kept_xattr(xattr.name, type); });
  for (const Xattr& xattr : xattrs) TRY(check_xattr(xattr, limits));
  return xattrs;
}

}  // namespace

void merge_xattrs(std::vector<Xattr>& xattrs, std::vector<Xattr> more) {
  xattrs.insert(xattrs.end(), std::make_move_iterator(more.begin()),
                std::make_move_iterator(more.end()));
  std::stable_sort(xattrs.begin(), xattrs.end(),
                   [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  // Of equal names the last survives: unique() from the back keeps the first it meets.
  const auto kept = std::unique(xattrs.rbegin(), xattrs.rend(),
                                [](const Xattr& a, const Xattr& b) { return a.name == b.name; });
  xattrs.erase(xattrs.begin(), kept.base());
}

Result<Inode> make_inode(Entry& entry, const LayerLimits& limits) {
  TRY(check_numbers(entry, limits));
  Inode inode;
  const mode_t type = type_bits(entry.type);
  inode.mode = type | (S_ISLNK(type) ? 0777 : entry.mode);
  take_owner_and_time(inode, entry);
  if (is_device(entry.type)) {
    inode.rdev_major = static_cast<uint32_t>(entry.rdev_major);
    inode.rdev_minor = static_cast<uint32_t>(entry.rdev_minor);
  }
  if (S_ISREG(type)) inode.size = entry.size;
  if (S_ISLNK(type)) {
    TRY(check_symlink(entry, limits));
    inode.symlink_target = std::move(entry.link_target);
    inode.size = inode.symlink_target.size();
  }
  TRY(xattrs, keep_xattrs(std::move(entry.xattrs), type, limits));
  merge_xattrs(inode.xattrs, std::move(xattrs));
  return inode;
}

Result<void> apply_link_attributes(Inode& inode, Entry& entry, const LayerLimits& limits) {
  TRY(check_numbers(entry, limits));
  const mode_t type = inode.mode & S_IFMT;
  TRY(xattrs, keep_xattrs(std::move(entry.xattrs), type, limits));
  merge_xattrs(inode.xattrs, std::move(xattrs));
  if (!S_ISLNK(type)) inode.mode = type | entry.mode;
  take_owner_and_time(inode, entry);
  return {};
}

}  // namespace dedup
