#include "slow_pipe.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace dedup {
namespace {

constexpr size_t kPacketBytes = 16 << 10;   // the turns in which connections share the link
constexpr uint64_t kWindowBytes = 8 << 20;  // under way in one connection

}  // namespace

int64_t Link::carry(uint64_t bytes, int64_t now) {
  x_bytes += bytes;
  x_free = std::max(x_free, now);
  if (x_bits_per_s > 0) {
    const double seconds = double(bytes) * 8 / double(x_bits_per_s);
    x_free += static_cast<int64_t>(seconds * 1e9);
  }
  return x_free;
}

SlowPipe::SlowPipe(int from, int to, Link& link, int64_t delay, int64_t not_before)
    : x_from(from), x_to(to), x_link(link), x_delay(delay), x_not_before(not_before) {}

int64_t SlowPipe::reads_at() const {
  if (x_end_read || x_broken || x_queued >= kWindowBytes) return kNever;
  return std::max(x_link.open_at(), x_not_before);
}

bool SlowPipe::take(int64_t now) {
  std::vector<char> bytes(kPacketBytes);
  const ssize_t got = ::recv(x_from, bytes.data(), bytes.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
  x_end_read = bytes.empty();
  x_queued += bytes.size();
  const int64_t arrives = x_link.carry(bytes.size(), now) + x_delay;
  x_packets.push_back({arrives, std::move(bytes)});
  return true;
}

uint64_t SlowPipe::deliver(int64_t now) {
  uint64_t delivered = 0;
  x_receiver_full = false;
  while (!x_packets.empty() && x_packets.front().arrives <= now) {
    const std::vector<char>& bytes = x_packets.front().bytes;
    if (bytes.empty()) {
      x_ended = true;
      ::shutdown(x_to, SHUT_WR);
    } else {
      const ssize_t sent =
          ::send(x_to, bytes.data() + x_written, bytes.size() - x_written, MSG_NOSIGNAL);
      x_receiver_full = sent < 0 && errno == EAGAIN;
      x_broken = sent < 0 && !x_receiver_full;
      if (sent < 0) break;
      delivered += static_cast<uint64_t>(sent);
      x_written += static_cast<uint64_t>(sent);
      if (x_written < bytes.size()) continue;
      x_written = 0;
      x_queued -= bytes.size();
    }
    x_packets.pop_front();
  }
  return delivered;
}

int64_t SlowPipe::arrives_at() const {
  return x_packets.empty() || x_receiver_full ? kNever : x_packets.front().arrives;
}

}  // namespace dedup
