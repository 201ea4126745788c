// What a slow link is made of. Link: the bandwidth of one direction, shared by all connections.
// SlowPipe: the bytes of one connection in one direction, each delivered after the link has carried
// it and half a round trip has passed. One thread; all times are nanoseconds of CLOCK_MONOTONIC.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <vector>

namespace dedup {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

class Link {
 public:
  explicit Link(uint64_t bits_per_s) : x_bits_per_s(bits_per_s) {}  // 0: no limit

  // From when on it accepts bytes. A little before it is idle, so that a late wake-up leaves no
  // gap.
  int64_t open_at() const { return x_free - kAhead; }
  // Carries `bytes`, which are there since `now`; returns when the last of them has passed.
  int64_t carry(uint64_t bytes, int64_t now);
  uint64_t bytes() const { return x_bytes; }

 private:
  static constexpr int64_t kAhead = 2'000'000;
  uint64_t x_bits_per_s;
  int64_t x_free = 0;
  uint64_t x_bytes = 0;
};

class SlowPipe {
 public:
  // from, to    non-blocking sockets, which outlive it
  // not_before  no byte sets out earlier: the connection is not there yet
  SlowPipe(int from, int to, Link& link, int64_t delay, int64_t not_before);

  // When it may read next; kNever: not before something was delivered, or never again.
  int64_t reads_at() const;
  // Reads one packet into the link; false: there is none.
  bool take(int64_t now);
  // Writes what has arrived; returns the number of bytes.
  uint64_t deliver(int64_t now);
  // When the next byte arrives; kNever: none is under way, or the receiver is full.
  int64_t arrives_at() const;
  bool receiver_full() const { return x_receiver_full; }
  bool ended() const { return x_ended; }    // the end of the stream was delivered
  bool broken() const { return x_broken; }  // the receiver is gone

 private:
  struct Packet {
    int64_t arrives;
    std::vector<char> bytes;  // none: the end of the stream
  };

  int x_from, x_to;
  Link& x_link;
  int64_t x_delay, x_not_before;
  std::deque<Packet> x_packets;
  uint64_t x_queued = 0;   // bytes of x_packets
  uint64_t x_written = 0;  // of the first packet
  bool x_end_read = false, x_ended = false, x_broken = false, x_receiver_full = false;
};

}  // namespace dedup
