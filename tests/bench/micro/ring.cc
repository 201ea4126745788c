// What the event loop adds to every operation: one io_uring round trip, and one through a worker
// thread and back.
#include "io/ring.h"

#include <benchmark/benchmark.h>

#include <thread>

#include "bench/micro/sample_layer.h"
#include "io/workers.h"

namespace dedup::bench {
namespace {

// The loop in a thread of its own, as in the daemon.
class Loop {
 public:
  Loop() : x_thread([this] { x_ring->run(); }) {}
  ~Loop() {
    x_ring->stop();
    x_thread.join();
  }
  Ring& ring() { return *x_ring; }

 private:
  std::unique_ptr<Ring> x_ring = must(Ring::open());
  std::thread x_thread;
};

class Nop final : public Completion {
 public:
  explicit Nop(Ring& ring) : x_ring(ring) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    x_waiter = waiter;
    x_ring.submit(this, [](io_uring_sqe* sqe) { io_uring_prep_nop(sqe); });
  }
  void await_resume() noexcept {}
  void complete(int, uint32_t) noexcept override { x_waiter.resume(); }

 private:
  Ring& x_ring;
  std::coroutine_handle<> x_waiter;
};

Task<void> nops(Ring& ring, benchmark::State& state) {
  for (auto _ : state) {
    Nop nop(ring);
    co_await nop;
  }
}

void ring_nop(benchmark::State& state) {
  Loop loop;
  block_on(loop.ring(), nops(loop.ring(), state));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(ring_nop)->UseRealTime()->MeasureProcessCPUTime();

Task<void> jobs(Workers& workers, benchmark::State& state) {
  int64_t done = 0;
  const auto job = [&done] { ++done; };
  for (auto _ : state) co_await workers.run(Priority::kOnDemand, job);
  if (done != state.iterations()) state.SkipWithError("a job did not run");
}

void worker_job(benchmark::State& state) {
  Loop loop;
  Workers workers(loop.ring(), 4);
  block_on(loop.ring(), jobs(workers, state));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(worker_job)->UseRealTime()->MeasureProcessCPUTime();

}  // namespace
}  // namespace dedup::bench
