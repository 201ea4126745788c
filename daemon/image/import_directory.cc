#include "image/import_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "pool/files.h"

namespace dedup {
namespace {

constexpr std::string_view kOverlayPrefix = "trusted.overlay.";
constexpr std::string_view kOpaqueXattr = "trusted.overlay.opaque";
// What an overlay that was mounted without redirect_dir and metacopy (containerd's) never writes,
// and a layer cannot hold.
constexpr std::string_view kRefusedXattrs[] = {"trusted.overlay.redirect",
                                               "trusted.overlay.metacopy"};

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

class Import {
 public:
  Import(std::string root, LayerWriter& writer, uint32_t chunk_bytes)
      : x_root(std::move(root)), x_writer(writer), x_chunk_bytes(chunk_bytes) {}

  Result<void> run() {
    TRY(add("."));
    return walk(".");
  }

 private:
  // Parents before children, names sorted, so that the same tree gives the same layer.
  Result<void> walk(const std::string& path) {
    TRY(names, list(path));
    for (const std::string& name : names) {
      const std::string child = path == "." ? name : path + "/" + name;
      TRY(add(child));
      struct stat status {};
      if (::lstat(on_disk(child).c_str(), &status) == 0 && S_ISDIR(status.st_mode))
        TRY(walk(child));
    }
    return {};
  }

  std::string on_disk(const std::string& path) const { return x_root + "/" + path; }

  Result<std::vector<std::string>> list(const std::string& path) {
    DIR* directory = ::opendir(on_disk(path).c_str());
    if (directory == nullptr) return errno_error(errno, "list " + on_disk(path));
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(directory)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    ::closedir(directory);
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<void> add(const std::string& path) {
    const std::string file = on_disk(path);
    struct stat status {};
    if (::lstat(file.c_str(), &status) != 0) return errno_error(errno, "stat " + file);
    if (S_ISSOCK(status.st_mode))
      return {};  // layers hold no sockets; containerd's diff leaves them out, too
    Entry entry;
    entry.path = path;
    entry.mode = status.st_mode & 07777;
    entry.uid = status.st_uid;
    entry.gid = status.st_gid;
    entry.mtime_seconds = status.st_mtim.tv_sec;
    entry.mtime_nanoseconds = static_cast<uint32_t>(status.st_mtim.tv_nsec);
    bool opaque = false;
    TRY(read_xattrs(file, entry, opaque));
    if (S_ISCHR(status.st_mode) && status.st_rdev == 0) return add_whiteout(path, ".wh.");
    TRY(data_file, describe(file, status, entry));
    TRY(x_writer.add(std::move(entry)));
    if (data_file) TRY(add_extents(file, static_cast<uint64_t>(status.st_size)));
    if (opaque) TRY(add_whiteout(path == "." ? "x" : path + "/x", ".wh..wh..opq"));
    return {};
  }

  // Layers name whiteouts as OCI does; the builder turns them back into overlay form.
  Result<void> add_whiteout(const std::string& path, std::string_view prefix) {
    const size_t slash = path.rfind('/');
    const std::string parent = slash == std::string::npos ? "" : path.substr(0, slash + 1);
    Entry entry;
    entry.path = parent + std::string(prefix);
    if (prefix == ".wh.") entry.path += slash == std::string::npos ? path : path.substr(slash + 1);
    return x_writer.add(std::move(entry));
  }

  // Fills in what depends on the type. Returns true when the file's data must follow.
  Result<bool> describe(const std::string& file, const struct stat& status, Entry& entry) {
    if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) {
      const auto [first, is_new] = x_links.try_emplace({status.st_dev, status.st_ino}, entry.path);
      if (!is_new) {
        entry.type = EntryType::kHardLink;
        entry.link_target = first->second;
        return false;
      }
    }
    switch (status.st_mode & S_IFMT) {
      case S_IFDIR:
        entry.type = EntryType::kDirectory;
        break;
      case S_IFIFO:
        entry.type = EntryType::kFifo;
        break;
      case S_IFCHR:
        entry.type = EntryType::kCharDevice;
        break;
      case S_IFBLK:
        entry.type = EntryType::kBlockDevice;
        break;
      case S_IFLNK: {
        entry.type = EntryType::kSymlink;
        std::string target(4096, '\0');
        const ssize_t length = ::readlink(file.c_str(), target.data(), target.size());
        if (length < 0) return errno_error(errno, "read link " + file);
        target.resize(static_cast<size_t>(length));
        entry.link_target = std::move(target);
        break;
      }
      default:
        entry.size = static_cast<uint64_t>(status.st_size);
        return true;
    }
    entry.rdev_major = major(status.st_rdev);
    entry.rdev_minor = minor(status.st_rdev);
    return false;
  }

  Result<void> read_xattrs(const std::string& file, Entry& entry, bool& opaque) {
    std::string names(64u << 10, '\0');
    const ssize_t names_bytes = ::llistxattr(file.c_str(), names.data(), names.size());
    if (names_bytes < 0 && errno == EOPNOTSUPP) return {};
    if (names_bytes < 0) return errno_error(errno, "list xattrs of " + file);
    for (const char* name = names.data(); name < names.data() + names_bytes;
         name += std::strlen(name) + 1) {
      std::string value(64u << 10, '\0');
      const ssize_t length = ::lgetxattr(file.c_str(), name, value.data(), value.size());
      if (length < 0) return errno_error(errno, "read xattr " + std::string(name) + " of " + file);
      value.resize(static_cast<size_t>(length));
      if (std::find(std::begin(kRefusedXattrs), std::end(kRefusedXattrs), name) !=
          std::end(kRefusedXattrs)) {
        return make_error(
            Errc::kUnsupported,
            file + " carries " + name + ": the overlay was mounted with redirect_dir or metacopy");
      }
      if (name == kOpaqueXattr) opaque = value == "y";
      if (std::string_view(name).starts_with(kOverlayPrefix)) continue;
      entry.xattrs.push_back({name, std::move(value)});
    }
    return {};
  }

  Result<void> add_extents(const std::string& file, uint64_t size_bytes) {
    TRY(fd, open_file(file, O_RDONLY | O_NOFOLLOW));
    for (uint64_t offset = 0; offset < size_bytes; offset += x_chunk_bytes) {
      const off_t data = ::lseek(fd.get(), static_cast<off_t>(offset), SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;  // only a hole is left
      if (data > 0) offset = round_down(static_cast<uint64_t>(data), x_chunk_bytes);
      x_buffer.resize(std::min<uint64_t>(x_chunk_bytes, size_bytes - offset));
      TRY(read_exactly(fd.get(), x_buffer, offset, file));
      if (!all_zero(x_buffer)) TRY(x_writer.add_extent(offset, x_buffer, sha256(x_buffer)));
    }
    return {};
  }

  std::string x_root;
  LayerWriter& x_writer;
  uint32_t x_chunk_bytes;
  Bytes x_buffer;
  std::map<std::pair<dev_t, ino_t>, std::string> x_links;
};

}  // namespace

Result<void> import_directory(const std::string& directory, LayerWriter& writer,
                              uint32_t chunk_bytes) {
  return Import(directory, writer, chunk_bytes).run();
}

}  // namespace dedup
