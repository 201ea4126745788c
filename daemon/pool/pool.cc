#include "pool/pool.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "base/clock.h"
#include "pool/check.h"
#include "pool/files.h"
#include "pool/readahead.h"
#include "pool/sweep.h"

namespace dedup {
namespace {

constexpr std::chrono::seconds kFlushInterval{1};
constexpr std::chrono::milliseconds kSpaceInterval{100};

class PoolImpl final : public Pool {
 public:
  PoolImpl(Ring& ring, Workers& workers, Log& log, BlobSource& source, PoolOptions options)
      : x_ring(ring),
        x_workers(workers),
        x_log(log),
        x_options(std::move(options)),
        x_fetcher(
            ring, workers, log, source, x_options.fetch,
            [this](SegmentId id, Piece piece) {
              return find_alternates(*x_catalog, x_options.directory, id, piece);
            },
            [this](const std::shared_ptr<Segment>& done) {
              x_tasks.spawn(announce_complete(done));
            }),
        x_readahead(x_options.readahead_bytes),
        x_state_writes(ring, 1) {}

  Result<void> load() {
    TRY(make_directories(segments_directory()));
    TRY(make_directories(x_options.directory + "/layers"));
    TRY(catalog, Catalog::open(x_options.directory + "/index.db"));
    x_catalog = std::move(catalog);
    TRY(make_zero_segment());
    TRY(ids, x_catalog->segments());
    for (const SegmentId id : ids) {
      auto opened = open_segment(id);
      if (!opened.ok()) TRY(lose_segment(id, std::move(opened).error()));
    }
    TRY(slots, x_catalog->dead_slots());
    TRY(empty, erase_dead(*x_catalog, slots, mark_dead(slots, x_segments), x_segments));
    for (const SegmentId id : empty) {
      x_segments.erase(id);
      x_lost.erase(id);
    }
    x_options.kept_fds.clear();  // numbers can come back, these files cannot
    TRY(sweep_files(*x_catalog, x_options.directory));
    x_ring.post([this] { x_tasks.spawn(flush_regularly()); });
    return {};
  }

  bool present(SegmentId id, ByteRange range) const override {
    if (id == kZeroSegment) return true;
    const auto found = x_segments.find(id);
    return found != x_segments.end() && found->second->present(range);
  }

  void touch(SegmentId id, ByteRange range) override {
    const auto found = x_segments.find(id);
    if (found == x_segments.end() || found->second->complete()) return;
    const Segment& segment = *found->second;
    const auto touched = segment.pieces_in(range);
    fetch_ahead(found->second, x_readahead.touch(segment, touched));
    for (size_t i = touched.last; i-- > touched.first && x_options.readaround_bytes != 0;) {
      if (segment.state(i) != PieceState::kMissing) continue;
      fetch_ahead(found->second, pieces_behind(segment, i, x_options.readaround_bytes));
      break;
    }
  }

  Task<Result<void>> ensure(SegmentId id, ByteRange range, Priority priority) override {
    if (id == kZeroSegment) co_return Result<void>();
    auto target = segment(id);
    if (target == nullptr)
      co_return make_error(Errc::kNotFound,
                           "segment " + std::to_string(id) + " is not in the pool");
    co_return co_await x_fetcher.ensure(std::move(target), range, priority);
  }

  Result<void> write_whole_blocks(bool unread) override {
    for (const auto& [id, one] : x_segments) TRY(one->write_whole_blocks(unread));
    x_whole_blocks = true;
    return {};
  }

  std::shared_ptr<Segment> segment(SegmentId id) const override {
    const auto found = x_segments.find(id);
    return found == x_segments.end() ? nullptr : found->second;
  }

  std::vector<std::shared_ptr<Segment>> segments() const override {
    std::vector<std::shared_ptr<Segment>> all;
    for (const auto& [id, one] : x_segments) all.push_back(one);
    return all;
  }

  std::optional<int> lost(SegmentId id) const override {
    const auto found = x_lost.find(id);
    return found == x_lost.end() ? std::nullopt : std::optional(found->second.get());
  }

  void on_complete(Fetcher::OnComplete action) override { x_on_complete = std::move(action); }
  void on_fetched(Fetcher::OnFetched action) override { x_fetcher.on_fetched(std::move(action)); }

  Task<Result<std::optional<LayerRecord>>> find_layer(Digest layer) override {
    co_return co_await x_workers.run(Priority::kOnDemand,
                                     [this, layer] { return x_catalog->layer(layer); });
  }

  Task<Result<PlacedLayer>> load_layer(Digest layer) override {
    co_return co_await x_workers.run(Priority::kOnDemand, [this, layer] {
      return load_layer_index(x_options.directory, layer);
    });
  }

  SegmentId new_segment() override { return x_catalog->next_segment(); }

  Task<Result<LayerRecord>> add_layer(LayerPlan plan) override {
    const SegmentId planned = plan.segment;
    const auto space = enough_space();
    auto layer = co_await x_workers.run(Priority::kOnDemand, [&]() -> Result<CommittedLayer> {
      TRY(space);
      return commit_layer(*x_catalog, x_options.directory, std::move(plan));
    });
    if (!layer.ok() || layer->record.segment != planned) {
      CO_TRY(Segment::remove(segments_directory(),
                             planned));  // a streaming pass may have written data nobody needs
    }
    if (!layer.ok()) co_return std::move(layer).error();
    if (layer->record.segment == planned) CO_TRY(open_segment(planned));
    co_return std::move(layer->record);
  }

  Task<Result<uint64_t>> remove_layer(Digest layer) override {
    CO_TRY(co_await x_workers.run(Priority::kBackground,
                                  [this, layer] { return x_catalog->remove_layer(layer); }));
    auto slots = co_await x_workers.run(Priority::kBackground, [this, layer] {
      ::unlink(layer_index_path(x_options.directory, layer).c_str());
      return x_catalog->dead_slots();
    });
    if (!slots.ok()) co_return std::move(slots).error();
    const auto permit = co_await x_state_writes.acquire(1, Priority::kBackground);
    const auto dirty = mark_dead(*slots, x_segments);
    const auto segments = x_segments;  // keeps the files open
    CO_TRY(empty, co_await x_workers.run(Priority::kBackground, [&] {
      return erase_dead(*x_catalog, *slots, dirty, segments);
    }));
    for (const SegmentId id : empty) {
      x_segments.erase(id);
      x_lost.erase(id);
      x_readahead.forget(id);
      CO_TRY(co_await x_workers.run(
          Priority::kBackground, [this, id] { return Segment::remove(segments_directory(), id); }));
    }
    uint64_t freed_bytes = 0;
    for (const DeadSlot& slot : *slots) freed_bytes += slot.bytes;
    co_return freed_bytes;
  }

  bool can_fill(const PlacedLayer& layer) const override {
    return std::all_of(
        layer.slots->begin(), layer.slots->end(), [&, i = size_t{0}](const Slot& slot) mutable {
          const Extent& extent = layer.index->extents[i++];
          const auto owner = segment(slot.segment);
          if (owner == nullptr) return false;
          const auto span = owner->pieces_in({slot.offset, extent.bytes});
          for (size_t p = span.first; p < span.last; ++p) {
            if (owner->state(p) != PieceState::kPresent && !owner->piece(p).has_random_access())
              return false;
          }
          return true;
        });
  }

  uint64_t present_bytes(const PlacedLayer& layer) const override {
    uint64_t bytes = 0;
    for (size_t i = 0; i < layer.slots->size(); ++i) {
      const Slot& slot = (*layer.slots)[i];
      const uint64_t length = layer.index->extents[i].bytes;
      if (present(slot.segment, {slot.offset, length})) bytes += length;
    }
    return bytes;
  }

  std::shared_ptr<const MissingMap> missing() const override {
    auto map = std::make_shared<MissingMap>();
    for (const auto& [id, one] : x_segments) {
      if (!one->complete()) map->emplace(id, IncompleteSegment{one, one->states()});
    }
    return map;
  }

  void mark_present(SegmentId id, size_t piece) override {
    const auto target = segment(id);
    if (target == nullptr || target->state(piece) != PieceState::kMissing) return;
    target->set_present(piece);
    if (target->complete()) x_tasks.spawn(announce_complete(target));
  }

  Task<Result<CheckReport>> check(bool repair,
                                  std::function<void(uint64_t, uint64_t)> progress) override {
    auto report = co_await check_segments(x_workers, segments(), repair, std::move(progress));
    if (!report.ok()) co_return report;
    std::vector<SegmentId> lost;  // a removal may change x_lost meanwhile
    for (const auto& [id, fd] : x_lost) lost.push_back(id);
    for (const SegmentId id : lost) {
      auto chunks = co_await x_workers.run(Priority::kBackground,
                                           [this, id] { return x_catalog->chunks_in(id); });
      if (!chunks.ok()) co_return std::move(chunks).error();
      for (const Catalog::PlacedChunk& chunk : *chunks) {
        report->bad.push_back({chunk.digest, id, chunk.offset, chunk.bytes});
      }
    }
    if (!repair || !x_whole_blocks) co_return report;
    for (const CheckReport::Bad& bad : report->bad) {
      if (x_lost.contains(bad.segment)) continue;
      const auto fetched =
          co_await ensure(bad.segment, {bad.offset, bad.bytes}, Priority::kBackground);
      if (!fetched.ok()) co_return fetched.error();
    }
    co_return report;
  }

  Task<Result<PoolTotals>> totals() override {
    PoolTotals totals;
    CO_TRY(catalog,
           co_await x_workers.run(Priority::kOnDemand, [this] { return x_catalog->totals(); }));
    totals.catalog = catalog;
    for (const auto& [id, one] : x_segments) {
      struct stat status {};
      if (::fstat(one->data_fd(), &status) == 0)
        totals.disk_bytes += static_cast<uint64_t>(status.st_blocks) * 512;
      totals.present_bytes += one->present_bytes();
      totals.complete_segments += one->complete() ? 1 : 0;
    }
    totals.free_bytes = free_bytes();
    co_return totals;
  }

  // Asked at every miss; one answer serves for a while, as summing up all segments takes time.
  bool has_space() override {
    const uint64_t now_ns = monotonic_ns();
    if (std::chrono::nanoseconds(now_ns - x_space_asked_ns) > kSpaceInterval) {
      x_has_space = enough_space().ok();
      x_space_asked_ns = now_ns;
    }
    return x_has_space;
  }

  const FetchCounters& fetch_counters() const override { return x_fetcher.counters(); }
  Catalog& catalog() override { return *x_catalog; }
  const PoolOptions& options() const override { return x_options; }

  Task<Result<void>> restore_sizes() override {
    const auto all = segments();
    std::vector<Segment::Dirty> dirty;
    for (const auto& one : all) dirty.push_back(one->take_dirty());
    co_return co_await x_workers.run(Priority::kOnDemand, [&]() -> Result<void> {
      for (size_t i = 0; i < all.size(); ++i)
        TRY(Segment::restore_size(dirty[i], all[i]->header().data_bytes));
      return {};
    });
  }

  Task<Result<void>> flush() override {
    const auto permit = co_await x_state_writes.acquire(1, Priority::kPrefetch);
    for (const auto& one : segments()) {
      if (!one->dirty()) continue;
      const Segment::Dirty dirty = one->take_dirty();
      auto outcome =
          co_await x_workers.run(Priority::kPrefetch, [&] { return Segment::write_states(dirty); });
      if (!outcome.ok()) {
        // Presence is only lost across a reboot: the bytes are fetched again then.
        x_log.error("presence cannot be written",
                    {{"segment", one->id()}, {"error", outcome.error()}});
        co_return outcome;
      }
    }
    co_return Result<void>();
  }

  Task<void> close() override {
    x_stop.cancel();
    co_await x_fetcher.close();
    co_await x_tasks.join();
    auto outcome = co_await flush();
    static_cast<void>(outcome);  // logged by flush
  }

 private:
  std::string segments_directory() const { return x_options.directory + "/segments"; }

  Result<void> make_zero_segment() {
    const std::string path = Segment::data_path(segments_directory(), kZeroSegment);
    TRY(fd, open_file(path, O_RDWR | O_CREAT));
    if (::ftruncate(fd.get(), static_cast<off_t>(kZeroSegmentBytes)) != 0)
      return errno_error(errno, "resize " + path);
    return {};
  }

  Result<void> open_segment(SegmentId id) {
    const auto kept = x_options.kept_fds.find(id);
    TRY(opened, Segment::open(segments_directory(), id,
                              kept == x_options.kept_fds.end() ? -1 : kept->second));
    if (x_whole_blocks) TRY(opened->write_whole_blocks(true));
    x_segments[id] = std::move(opened);
    return {};
  }

  // The node goes on without it. Other errors, such as too many open files, are not the segment's
  // and end the start: the keeper tries again.
  Result<void> lose_segment(SegmentId id, Error error) {
    const bool of_segment =
        error.code == Errc::kCorruption || error.code == Errc::kNotFound || error.sys_errno == EIO;
    if (!of_segment) return error;
    x_log.error("a segment is lost; remove the images that use it and pull them again",
                {{"segment", id}, {"error", error}});
    const auto kept = x_options.kept_fds.find(id);
    const std::string path = Segment::data_path(segments_directory(), id);
    x_lost[id] =
        UniqueFd(kept == x_options.kept_fds.end() ? ::open(path.c_str(), O_RDWR | O_CLOEXEC)
                                                  : ::fcntl(kept->second, F_DUPFD_CLOEXEC, 0));
    return {};
  }

  uint64_t free_bytes() const {
    struct statvfs status {};
    if (::statvfs(x_options.directory.c_str(), &status) != 0) return 0;
    return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
  }

  Result<void> enough_space() const {
    uint64_t present_bytes = 0;
    for (const auto& [id, one] : x_segments) present_bytes += one->present_bytes();
    if (x_options.max_bytes != 0 && present_bytes >= x_options.max_bytes) {
      return make_error(Errc::kNoSpace,
                        "the pool holds " + std::to_string(present_bytes) +
                            " bytes, limits.max_pool_bytes is reached: remove images or raise it");
    }
    if (free_bytes() >= x_options.min_free_bytes) return {};
    return make_error(Errc::kNoSpace,
                      "the file system of " + x_options.directory + " has less than " +
                          std::to_string(x_options.min_free_bytes) +
                          " bytes free (limits.min_free_bytes): remove images or add space");
  }

  Task<void> announce_complete(std::shared_ptr<Segment> done) {
    auto outcome = co_await flush();
    if (!outcome.ok() || !done->complete())
      co_return;  // logged by flush; the mark stays, which is always right
    x_log.info("segment complete", {{"segment", done->id()}, {"bytes", done->present_bytes()}});
    x_readahead.forget(done->id());
    if (x_on_complete) x_on_complete(done);
  }

  // Nobody waits for it: who touches a piece that could not be had asks again, and gets the error.
  void fetch_ahead(const std::shared_ptr<Segment>& segment, Segment::PieceSpan guess) {
    if (guess.first >= guess.last || !has_space()) return;
    const uint64_t begin = segment->piece(guess.first).offset;
    const uint64_t end = segment->piece(guess.last - 1).range().end();
    x_tasks.spawn(fetch_quietly(segment, {begin, end - begin}));
  }

  Task<void> fetch_quietly(std::shared_ptr<Segment> segment, ByteRange range) {
    const auto outcome = co_await x_fetcher.ensure(std::move(segment), range, Priority::kPrefetch,
                                                   FetchReason::kReadahead);
    static_cast<void>(outcome);
  }

  Task<void> flush_regularly() {
    while (!x_stop.cancelled()) {
      co_await x_ring.sleep(kFlushInterval, x_stop.token());
      auto outcome = co_await flush();
      static_cast<void>(outcome);  // logged by flush
    }
  }

  Ring& x_ring;
  Workers& x_workers;
  Log& x_log;
  PoolOptions x_options;
  std::unique_ptr<Catalog> x_catalog;
  std::map<SegmentId, std::shared_ptr<Segment>> x_segments;
  std::map<SegmentId, UniqueFd> x_lost;  // data files
  Fetcher x_fetcher;
  Readahead x_readahead;
  Fetcher::OnComplete x_on_complete;
  // States are written in the order they came about: a piece that died while an earlier "present"
  // of it was on its way stays dead on disk. And a flush with nothing to write waits for the one
  // that writes it.
  Semaphore x_state_writes;
  bool x_whole_blocks = false;
  bool x_has_space = true;
  uint64_t x_space_asked_ns = 0;
  CancelSource x_stop;
  TaskScope x_tasks;
};

}  // namespace

Result<std::unique_ptr<Pool>> Pool::open(Ring& ring, Workers& workers, Log& log, BlobSource& source,
                                         PoolOptions options) {
  auto pool = std::make_unique<PoolImpl>(ring, workers, log, source, std::move(options));
  TRY(pool->load());
  return std::unique_ptr<Pool>(std::move(pool));
}

}  // namespace dedup
