// FakeSource: a BlobSource made of blobs in memory, for tests of the fetcher and the pool. Notes
// every read, answers late, wrongly or not at all as the test says. Loop thread once the loop runs;
// set up before or inside LoopThread::call.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/sync.h"
#include "source/source.h"

namespace dedup::test {

class FakeSource final : public BlobSource {
 public:
  struct Read {
    Digest blob;
    ByteRange range;
    Priority priority = Priority::kOnDemand;
  };
  // What to answer to a read instead of the truth; nullopt: the truth.
  using Intervene = std::function<std::optional<Result<Bytes>>(const Read& read, size_t nth)>;

  explicit FakeSource(Ring& ring) : x_ring(ring) {}

  std::map<Digest, std::string> blobs;
  std::vector<Read> reads;
  Intervene intervene;
  std::chrono::milliseconds latency{0};

  // From here on reads wait, also those that were already noted, until release().
  void hold() { x_gate = std::make_shared<OneShot<bool>>(x_ring); }
  void release() {
    if (auto gate = std::exchange(x_gate, nullptr)) gate->set(true);
  }

  Task<Result<Bytes>> read(Digest blob, uint64_t blob_bytes, ByteRange range,
                           Priority priority) override {
    const Read read{blob, range, priority};
    const size_t nth = reads.size();
    reads.push_back(read);
    if (auto gate = x_gate) co_await gate->wait();
    if (latency.count() > 0) co_await x_ring.sleep(latency);
    if (intervene) {
      auto answer = intervene(read, nth);
      if (answer) co_return std::move(*answer);
    }
    const auto found = blobs.find(blob);
    if (found == blobs.end()) co_return make_error(Errc::kNotFound, "no blob " + blob.to_string());
    if (found->second.size() != blob_bytes || range.end() > blob_bytes)
      co_return make_error(Errc::kInvalid, "wrong range");
    const auto bytes = as_bytes(found->second).subspan(range.offset, range.length);
    co_return Bytes(bytes.begin(), bytes.end());
  }

  Task<Result<std::unique_ptr<BlobStream>>> open_stream(Digest, uint64_t, Priority) override {
    co_return make_error(Errc::kUnsupported, "the fake source has no streams");
  }

 private:
  Ring& x_ring;
  std::shared_ptr<OneShot<bool>> x_gate;
};

}  // namespace dedup::test
