#include "snapshotter/mounts.h"

#include <algorithm>

namespace dedup {
namespace {

constexpr size_t kMountOptionBytes = 4096;  // mount(2) copies one page, its last byte is NUL
// containerd shortens lowerdirs only when the options come this near to a page.
constexpr size_t kCompactFrom = kMountOptionBytes - 512;

// Bytes containerd saves per lowerdir by changing to their common folder before it mounts.
size_t common_folder_bytes(std::span<const Lower> lowers) {
  std::string_view common = lowers.front().path;
  for (const Lower& lower : lowers) {
    const auto end =
        std::mismatch(common.begin(), common.end(), lower.path.begin(), lower.path.end());
    common = common.substr(0, static_cast<size_t>(end.first - common.begin()));
  }
  const size_t slash = common.rfind('/');
  return slash == std::string_view::npos || slash == 0 ? 0 : slash + 1;
}

Result<void> check_option_bytes(const std::vector<std::string>& options,
                                std::span<const Lower> lowers) {
  size_t bytes = 0;
  for (const std::string& option : options) bytes += option.size() + 1;
  if (bytes >= kCompactFrom && lowers.size() > 1) {
    bytes -= lowers.size() * common_folder_bytes(lowers);
  }
  if (bytes <= kMountOptionBytes) return {};
  return make_error(Errc::kInvalid, "the mount options of " + std::to_string(lowers.size()) +
                                        " lower directories take " + std::to_string(bytes) +
                                        " bytes and mount(2) takes " +
                                        std::to_string(kMountOptionBytes) +
                                        "; a shorter --root makes room");
}

std::string lowerdir_option(std::span<const Lower> lowers) {
  std::string option = "lowerdir=";
  for (const Lower& lower : lowers) {
    if (option.back() != '=') option += ':';
    option += lower.path;
  }
  return option;
}

Mount bind_mount(std::string source, const char* access) {
  return {"bind", std::move(source), {access, "rbind"}};
}

}  // namespace

std::vector<Lower> plan_lowers(std::span<const ChainLink> chain) {
  std::vector<Lower> bottom_first;
  for (const ChainLink& link : chain) {
    if (link.layer.empty()) {
      bottom_first.push_back({.directory_of = link.id, .layers = {}, .path = {}});
      continue;
    }
    if (bottom_first.empty() || bottom_first.back().directory_of != 0) {
      bottom_first.push_back({.layers = {}, .keep_whiteouts = !bottom_first.empty(), .path = {}});
    }
    bottom_first.back().layers.push_back(link.layer);
  }
  std::reverse(bottom_first.begin(), bottom_first.end());
  return bottom_first;
}

Result<std::vector<Mount>> make_mounts(SnapshotKind kind, const SnapshotPaths& paths,
                                       std::span<const Lower> lowers, bool index_off) {
  const bool writable = kind == SnapshotKind::kActive;
  if (lowers.empty()) return std::vector{bind_mount(paths.upper, writable ? "rw" : "ro")};
  // overlayfs refuses a single lowerdir without an upperdir.
  if (!writable && lowers.size() == 1) return std::vector{bind_mount(lowers[0].path, "ro")};

  std::vector<std::string> options;
  if (index_off) options.emplace_back("index=off");
  if (writable) {
    options.push_back("workdir=" + paths.work);
    options.push_back("upperdir=" + paths.upper);
  } else {
    options.emplace_back("ro");
  }
  options.push_back(lowerdir_option(lowers));
  TRY(check_option_bytes(options, lowers));
  return std::vector{Mount{"overlay", "overlay", std::move(options)}};
}

}  // namespace dedup
