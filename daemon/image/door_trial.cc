#include "image/door_trial.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <map>

#include "doors/erofs_mount.h"
#include "image/metadata_image.h"
#include "pool/files.h"

namespace dedup {
namespace {

using Page = std::array<std::byte, kPoolBlockBytes>;

// No byte of it is zero: a hole is never taken for it.
Page trial_page() {
  Page page;
  for (size_t i = 0; i < page.size(); ++i) page[i] = static_cast<std::byte>(1 + i % 251);
  return page;
}

// A layer with one file, "page", whose content is slot 0 of the trial's segment.
PlacedLayer trial_layer() {
  auto index = std::make_shared<LayerIndex>();
  index->inodes.resize(2);
  Inode& root = index->inodes[kRootInode];
  root.mode = S_IFDIR | 0755;
  root.link_count = 2;
  root.children.push_back({"page", 1});
  Inode& file = index->inodes[1];
  file.mode = S_IFREG | 0444;
  file.size = kPoolBlockBytes;
  file.extent_count = 1;
  Extent extent;
  extent.bytes = kPoolBlockBytes;
  index->extents.push_back(extent);
  auto slots = std::make_shared<std::vector<Slot>>();
  slots->push_back({DoorTrial::kSegment, 0});
  return {std::move(index), std::move(slots)};
}

Result<void> read_back(const std::string& path) {
  TRY(fd, open_file(path, O_RDONLY));
  Page page;
  const ssize_t got = ::pread(fd.get(), page.data(), page.size(), 0);
  if (got < 0) return errno_error(errno, "reading a page through the mount");
  if (got != static_cast<ssize_t>(page.size()) || page != trial_page()) {
    return make_error(Errc::kUnsupported, "a page read through the mount was not what was written");
  }
  return {};
}

}  // namespace

DoorTrial::DoorTrial(Workers& workers, std::string directory)
    : x_workers(workers), x_directory(std::move(directory) + "/trial") {}

Result<void> DoorTrial::fill() {
  if (x_filled) return {};
  TRY(write_exactly(x_segment.get(), trial_page(), 0, x_directory + "/segment"));
  x_filled = true;
  return {};
}

Result<void> DoorTrial::create() {
  // A daemon that died in its trial has left the mount.
  (void)unmount_lazily(x_directory + "/mnt");
  std::error_code ignored;
  std::filesystem::remove_all(x_directory, ignored);
  TRY(make_directories(x_directory + "/mnt"));
  TRY(segment, open_file(x_directory + "/segment", O_RDWR | O_CREAT | O_EXCL));
  if (::ftruncate(segment.get(), kPoolBlockBytes) != 0)
    return errno_error(errno, "size of " + x_directory + "/segment");
  x_segment = std::move(segment);
  const auto image =
      build_metadata_image({trial_layer()}, Whiteouts::kApply, Digest{},
                           {{kSegment, kPoolBlockBytes}}, x_directory + "/image.erofs");
  return image.ok() ? Result<void>() : image.error();
}

Task<Result<void>> DoorTrial::run(Door& door) {
  x_filled = false;
  CO_TRY(co_await x_workers.run(Priority::kOnDemand, [this] { return create(); }));
  CO_TRY(door.attach(kSegment, x_segment.get(), x_directory + "/segment"));
  auto outcome = co_await mount_and_read(door);
  auto detached = door.detach(kSegment);
  if (outcome.ok()) outcome = std::move(detached);
  co_await x_workers.run(Priority::kOnDemand, [this] {
    std::error_code ignored;
    std::filesystem::remove_all(x_directory, ignored);
  });
  x_segment.reset();
  co_return outcome;
}

Task<Result<void>> DoorTrial::mount_and_read(Door& door) {
  DoorMount mount{"trial-" + std::to_string(::getpid()),
                  x_directory + "/image.erofs",
                  {{kSegment, x_directory + "/segment", false}},
                  x_directory + "/mnt"};
  CO_TRY(co_await x_workers.run(Priority::kOnDemand, [&] { return door.mount(mount); }));
  const std::string path = mount.mountpoint + "/page";
  auto outcome = co_await door.probe(path, 0, kSegment, 0);
  if (outcome.ok()) {
    outcome = co_await x_workers.run(Priority::kOnDemand, [&] { return read_back(path); });
  }
  if (outcome.ok() && !x_filled) {
    outcome = make_error(Errc::kUnsupported, "a read of missing bytes did not reach the daemon");
  }
  auto unmounted =
      co_await x_workers.run(Priority::kOnDemand, [&] { return unmount(mount.mountpoint); });
  co_return outcome.ok() ? unmounted : outcome;
}

}  // namespace dedup
