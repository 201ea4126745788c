// Recordings: which containers are being recorded. Images are recorded by themselves until enough
// starts of them are known, and whatever an operator asks for; each start ends as a file of
// TraceFiles. Without a usable recorder (no BTF, no permission) it says so once and does nothing.
// Owned by main; loop thread, blocking work goes to workers. A recording does not survive its
// worker: one start less is known.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "format/image_tree.h"
#include "io/sync.h"
#include "pool/pool.h"
#include "trace/container.h"
#include "trace/fetch_log.h"
#include "trace/recorder.h"
#include "trace/trace_files.h"

namespace dedup {

struct RecordingOptions {
  unsigned automatic_starts = 3;                // of each image; 0: only what is asked for
  std::chrono::milliseconds max_time{30'000};   // of one start
  std::chrono::milliseconds quiet_time{5'000};  // it ends when nothing new was touched for so long
};

struct RecordingStatus {
  std::string container;
  std::string ref;  // of the image; empty: not known (yet)
  uint64_t age_ms = 0;
  uint64_t touched_bytes = 0;
};

class Recordings {
 public:
  Recordings(Ring& ring, Workers& workers, Log& log, Pool& pool, TraceFiles& files,
             RecordingOptions options);

  // Loads the recorder. Then the rest may be called; before, everything is empty.
  Task<void> open();
  // Ends without writing what is not finished.
  void stop();
  Task<void> close();

  // An image is on its way to this node: what is fetched from now on counts for its next start.
  void preparing(const TracedImage& image);
  // The mounts of this node as they come and go.
  void mounted(std::vector<Digest> layers, Whiteouts whiteouts, std::string mountpoint);
  void unmounted(const std::vector<Digest>& layers, Whiteouts whiteouts);
  void fetched(const FetchRecord& record) { x_fetch_log.add(record); }

  // Records every container of the image that starts until stop_image(), over the limit of
  // automatic starts.
  void start_image(const TracedImage& image);
  // Ends what is being recorded of it, too. Returns the files written since start_image().
  Task<Result<std::vector<std::string>>> stop_image(Digest key);
  // Records a running container from now on, until stop_container() or its end.
  //   errors  kNotFound, kInvalid: no such container; kUnsupported: no recorder
  Task<Result<std::string>> start_container(std::string id);
  //   errors  kNotFound: it is not being recorded
  Task<Result<std::vector<std::string>>> stop_container(std::string id);

  // After files of TraceFiles went: mounts may have to be recorded again.
  Task<void> reconsider();

  std::vector<RecordingStatus> active() const;
  // Images of that name of which something is being recorded, or wanted.
  std::vector<Digest> recorded(const std::string& ref) const;
  std::vector<TracedImage> wanted() const;
  // Why nothing is recorded; empty: it is.
  const std::string& unusable() const { return x_unusable; }
  std::vector<std::string> missing_tracepoints() const;
  RecorderCounts counts() const { return x_counts; }
  // Whether the kernel runs the recorder's programs now.
  bool recorder_attached() const { return x_recorder != nullptr && x_recorder->attached(); }

 private:
  struct Found;
  struct Mount {
    TracedImage image;
    Whiteouts whiteouts = Whiteouts::kApply;
    std::string mountpoint;
    uint32_t device = 0;  // 0: not recorded
    bool every = false;   // not only containers somebody named
    uint64_t since_ns = 0;
  };
  struct Wanted {
    TracedImage image;
    std::vector<std::string> files;  // of its starts that have ended
  };
  struct Run;
  using RunPtr = std::shared_ptr<Run>;
  using MountKey = std::pair<Digest, Whiteouts>;

  Task<void> consider(MountKey key);
  void forget(uint32_t device);
  Task<void> rest();
  Task<void> take_first_reads();
  void look_at(Found& found);
  void note_ended(CgroupId cgroup);
  void begin(RunPtr run);
  Task<void> learn_entrypoint(RunPtr run);
  Task<void> watch_runs();
  bool ended(Run& run, uint64_t touched_pages, bool alive) const;
  Task<void> finish(RunPtr run);
  Task<Result<Recording>> take_recording(RunPtr run);
  const Mount* mount_of(uint32_t device) const;
  Task<Result<std::string>> write(RunPtr run);
  Task<Result<std::vector<std::string>>> finish_those(std::vector<RunPtr> runs);
  size_t running(const Digest& key) const;

  Ring& x_ring;
  Workers& x_workers;
  Log& x_log;
  Pool& x_pool;
  TraceFiles& x_files;
  const RecordingOptions x_options;
  std::unique_ptr<Recorder> x_recorder;
  std::string x_unusable = "the recorder is not open yet";
  Semaphore x_gate;  // one user of the recorder at a time
  std::map<MountKey, Mount> x_mounts;
  std::map<Digest, Wanted> x_wanted;      // by an operator
  std::map<Digest, TracedImage> x_known;  // names of images that were prepared lately
  std::map<Digest, uint64_t> x_prepared_ns;
  std::vector<RunPtr> x_runs;
  std::set<CgroupId> x_ended;  // recorded, or running before anybody looked
  bool x_watching = false;
  FetchLog x_fetch_log;
  RecorderCounts x_counts;
  CancelSource x_stop;
  std::unique_ptr<Ring::Watch> x_watch;
  TaskScope x_tasks;
};

}  // namespace dedup
