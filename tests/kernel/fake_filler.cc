#include "kernel/fake_filler.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "base/bytes.h"

namespace dedup::test {
namespace {

constexpr uint64_t kBlock = 4096;

}  // namespace

FakeFiller::FakeFiller(Ring& ring, const std::vector<LazyFile>& files) : x_ring(ring) {
  for (const auto& file : files) {
    State& state = x_segments[file.segment];
    state.file = &file;
    state.blocks.resize(round_up(file.bytes, kBlock) / kBlock);
  }
}

void FakeFiller::add(uint32_t segment, int fd) {
  State& state = x_segments.at(segment);
  state.fd = fd;
  if (!x_direct) return;
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  state.direct = UniqueFd(::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
  state.fd = state.direct.get();
}

bool FakeFiller::present(uint32_t segment, ByteRange range) {
  const auto found = x_segments.find(segment);
  if (found == x_segments.end()) return false;
  const auto& blocks = found->second.blocks;
  const uint64_t last = std::min<uint64_t>(blocks.size(), (range.end() + kBlock - 1) / kBlock);
  for (uint64_t block = range.offset / kBlock; block < last; ++block) {
    if (!blocks[block]) return false;
  }
  return true;
}

Task<Result<void>> FakeFiller::ensure(uint32_t segment, ByteRange range, Priority) {
  ++ensured;
  const auto found = x_segments.find(segment);
  if (found == x_segments.end()) co_return make_error(Errc::kNotFound, "no such segment");
  State& state = found->second;
  if (delay_us != 0 && (slow_segment == 0 || slow_segment == segment)) {
    most_at_once = std::max(most_at_once.load(), ++x_running);
    co_await x_ring.sleep(std::chrono::microseconds(delay_us.load()));
    --x_running;
  }
  if (fail) co_return make_error(Errc::kUnavailable, "the test said no");
  const uint64_t last =
      std::min<uint64_t>(state.blocks.size(), (range.end() + kBlock - 1) / kBlock);
  for (uint64_t block = range.offset / kBlock; block < last; ++block) {
    if (state.blocks[block]) continue;
    CO_TRY(fill_block(state, block));
    state.blocks[block] = true;
  }
  co_return Result<void>();
}

Result<void> FakeFiller::fill_block(State& state, uint64_t block) {
  alignas(kBlock) std::array<std::byte, kBlock> bytes{};
  const std::string& content = state.file->content;
  const uint64_t offset = block * kBlock;
  if (content.empty()) {
    fill_pattern(state.file->segment, offset, bytes);
  } else if (offset < content.size()) {
    std::memcpy(bytes.data(), content.data() + offset,
                std::min<uint64_t>(kBlock, content.size() - offset));
  }
  const auto done = pwrite(state.fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
  if (done == static_cast<ssize_t>(bytes.size())) return {};
  return errno_error(errno, "fill of a block");
}

}  // namespace dedup::test
