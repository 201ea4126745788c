#include "kernel/door_rig.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace dedup::test {
namespace {

template <typename T>
T need(Result<T> result) {
  if (result.ok()) return std::move(result).value();
  std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
  std::abort();
}
void need(Result<void> result) {
  if (result.ok()) return;
  std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
  std::abort();
}

}  // namespace

DoorRig::DoorRig(std::vector<LazyFile> files, RigDoor kind, size_t slots)
    : image(need(LazyImage::create(scratch.path(), std::move(files)))),
      log(2, LogLevel::kError),
      ring(need(Ring::open())),
      workers(std::make_unique<Workers>(*ring, 4)),
      link(std::make_unique<RigLink>(need(KeptLink::standalone()), slots)),
      filler(std::make_unique<FakeFiller>(*ring, image.files())),
      x_kind(kind),
      x_loop([this] { ring->run(); }) {}

DoorRig::~DoorRig() {
  mounted.reset();
  if (door) {
    block_on(*ring, door->stop());
    on_loop([this] { door.reset(); });
  }
  ring->stop();
  x_loop.join();
}

void DoorRig::open_door() {
  on_loop([this] {
    if (x_kind == RigDoor::kCachefiles) filler->write_whole_blocks();
    for (const auto& file : image.files()) {
      x_segments.push_back(need(image.open_segment(file.segment)));
      need(link->keep(file.segment, x_segments.back().get()));
      filler->add(file.segment, x_segments.back().get());
    }
    door = need(open_rig_door(x_kind, context()));
  });
}

void DoorRig::attach_all() {
  on_loop([this] {
    for (size_t i = 0; i < x_segments.size(); ++i) {
      const uint32_t segment = image.files()[i].segment;
      need(door->attach(segment, x_segments[i].get(), image.segment_path(segment)));
    }
  });
}

void DoorRig::start() {
  on_loop([this] { door->start(); });
}

void DoorRig::mount() {
  need(try_mount());
  mounted.emplace(ErofsMount::at(image.mount_point()));
}

Result<void> DoorRig::try_mount() {
  DoorMount request{"rig", image.image(), {}, image.mount_point()};
  for (const uint32_t segment : image.segments()) {
    request.segments.push_back({segment, image.segment_path(segment), complete.contains(segment)});
  }
  return door->mount(request);
}

void DoorRig::replace_door() {
  on_loop([this] {
    door.reset();
    door = need(open_rig_door(x_kind, context()));
  });
}

Result<void> DoorRig::probe(const std::string& name, uint64_t file_offset, uint32_t segment) {
  return block_on(*ring, door->probe(path(name), file_offset, segment, file_offset));
}

DoorCounters DoorRig::counters() {
  DoorCounters copy;
  on_loop([&] { copy = door->counters(); });
  return copy;
}

pid_t fork_reader(const std::string& path, uint32_t segment, uint64_t offset) {
  const pid_t child = fork();
  if (child == 0) _exit(read_pattern(path, segment, offset, 4096) == Read::kRight ? 0 : 1);
  return child;
}

Read read_pattern(const std::string& path, uint32_t segment, uint64_t offset, size_t bytes) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Read::kOther;
  std::vector<std::byte> buffer(bytes);
  size_t done = 0;
  while (done < bytes) {
    const ssize_t got =
        pread(fd.get(), buffer.data() + done, bytes - done, static_cast<off_t>(offset + done));
    if (got < 0) return errno == EIO ? Read::kEio : Read::kOther;
    if (got == 0) return Read::kOther;
    done += static_cast<size_t>(got);
  }
  return first_wrong(segment, offset, buffer) == bytes ? Read::kRight : Read::kWrong;
}

}  // namespace dedup::test
