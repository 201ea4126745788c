#include "trace/recorder.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "access.skel.h"

namespace dedup {
namespace {

constexpr long kErofsMagic = 0xE0F5E1E2;
constexpr uint32_t kOnlyEntry = 0;
constexpr std::string_view kSection = "tp_btf/";
constexpr std::string_view kMissTracepoint = "mm_filemap_add_to_page_cache";

Error recorder_error(int number, std::string_view what) {
  Error error = errno_error(number, what);
  if (number == EPERM || number == EACCES) {
    error.code = Errc::kDenied;
    error.context += " (needs root with CAP_BPF and CAP_PERFMON, and no lockdown of BPF)";
  } else if (number == ESRCH || number == EINVAL || number == ENOENT || number == ENOTSUP) {
    error.code = Errc::kUnsupported;
  }
  return error;
}

std::string tracepoint_of(const bpf_program& program) {
  return std::string(std::string_view(bpf_program__section_name(&program)).substr(kSection.size()));
}

using KernelTypes = std::unique_ptr<btf, void (*)(btf*)>;

Result<KernelTypes> kernel_types() {
  KernelTypes types(btf__load_vmlinux_btf(), btf__free);
  if (types != nullptr) return types;
  return make_error(Errc::kUnsupported, "no BTF of the kernel (CONFIG_DEBUG_INFO_BTF)");
}

bool has_tracepoint(const KernelTypes& types, const std::string& name) {
  const std::string type = "btf_trace_" + name;
  return btf__find_by_name_kind(types.get(), type.c_str(), BTF_KIND_TYPEDEF) > 0;
}

}  // namespace

Result<std::unique_ptr<Recorder>> Recorder::open(const RecorderOptions& options) {
  std::unique_ptr<Recorder> recorder(new Recorder());
  TRY(recorder->load(options));
  return recorder;
}

Recorder::~Recorder() {
  ring_buffer__free(x_readers);
  access__destroy(x_skeleton);
}

Result<void> Recorder::load(const RecorderOptions& options) {
  libbpf_set_print(nullptr);
  TRY(types, kernel_types());
  x_skeleton = access__open();
  if (x_skeleton == nullptr) return recorder_error(errno, "open the access tracer");
  x_hierarchy = options.hierarchy;
  x_skeleton->rodata->v1_hierarchy = options.hierarchy == CgroupHierarchy::kV1Memory ? 1 : 0;
  if (const int status = bpf_map__set_max_entries(x_skeleton->maps.areas, options.max_areas);
      status != 0)
    return recorder_error(-status, "size the access tracer");
  bool misses_seen = true;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, x_skeleton->obj) {
    const std::string name = tracepoint_of(*program);
    const bool of_misses = name == kMissTracepoint;
    if (has_tracepoint(types, name) && (of_misses || !options.misses_only)) continue;
    bpf_program__set_autoload(program, false);
    x_missing.push_back(name);
    if (of_misses) {
      misses_seen = false;
    } else {
      x_sight = Sight::kMisses;  // half of the touches would look like an order and be none
    }
  }
  if (x_sight == Sight::kMisses && !misses_seen)
    return make_error(Errc::kUnsupported, "no tracepoint " + std::string(kMissTracepoint));
  if (const int status = access__load(x_skeleton); status != 0)
    return recorder_error(-status, "load the access tracer");
  TRY(attach());  // to see that it can be
  rest();
  const auto note = [](void* first_reads, void* data, size_t size) {
    access_reader reader{};
    if (size < sizeof(reader)) return 0;
    std::memcpy(&reader, data, sizeof(reader));
    static_cast<std::vector<FirstRead>*>(first_reads)
        ->push_back(
            {reader.cgroup, reader.device, static_cast<pid_t>(reader.pid), reader.first_ns});
    return 0;
  };
  x_readers =
      ring_buffer__new(bpf_map__fd(x_skeleton->maps.readers), note, &x_first_reads, nullptr);
  if (x_readers == nullptr) return recorder_error(errno, "listen to the access tracer");
  return {};
}

Result<void> Recorder::attach() {
  if (x_attached) return {};
  if (const int status = access__attach(x_skeleton); status != 0)
    return recorder_error(-status, "attach the access tracer");
  x_attached = true;
  return {};
}

void Recorder::rest(bool forget_all) {
  {
    const std::lock_guard lock(x_mutex);
    if (!x_devices.empty() || !x_attached) return;
  }
  access__detach(x_skeleton);
  x_attached = false;
  if (!forget_all) return;
  const auto removed = remove_areas(std::nullopt);  // what is left is counted as dropped one day
  static_cast<void>(removed);
}

std::vector<FirstRead> Recorder::take_first_reads() {
  ring_buffer__consume(x_readers);
  return std::exchange(x_first_reads, {});
}

int Recorder::first_reads_fd() const {
  return ring_buffer__epoll_fd(x_readers);
}

Result<uint32_t> Recorder::record_mount(const std::string& mountpoint, CgroupScope scope) {
  struct stat status {};
  struct statfs system {};
  if (stat(mountpoint.c_str(), &status) != 0 || statfs(mountpoint.c_str(), &system) != 0)
    return errno_error(errno, mountpoint);
  if (system.f_type != kErofsMagic)
    return make_error(Errc::kInvalid, mountpoint + " is not an EROFS mount");
  const uint32_t device = (major(status.st_dev) << 20) | minor(status.st_dev);
  const uint32_t value = scope == CgroupScope::kEvery ? ACCESS_EVERY_CGROUP : ACCESS_NAMED_CGROUPS;
  {
    const std::lock_guard lock(x_mutex);
    if (bpf_map_update_elem(bpf_map__fd(x_skeleton->maps.mounts), &device, &value, BPF_ANY) != 0)
      return recorder_error(errno, "record " + mountpoint);
    x_devices.insert(device);
  }
  TRY(attach());
  return device;
}

void Recorder::forget_mount(uint32_t device) {
  const std::lock_guard lock(x_mutex);
  x_devices.erase(device);
  bpf_map_delete_elem(bpf_map__fd(x_skeleton->maps.mounts), &device);
}

Result<CgroupId> Recorder::record_cgroup(const std::string& directory) {
  TRY(id, cgroup_id(directory, x_hierarchy));
  TRY(set_cgroup(id, ACCESS_RECORD));
  return id;
}

Result<void> Recorder::ignore_cgroup(CgroupId cgroup) {
  TRY(set_cgroup(cgroup, ACCESS_IGNORE));
  return remove_areas(cgroup);
}

Result<void> Recorder::set_cgroup(CgroupId cgroup, uint8_t what) {
  if (bpf_map_update_elem(bpf_map__fd(x_skeleton->maps.cgroups), &cgroup, &what, BPF_ANY) != 0)
    return recorder_error(errno, "record cgroup " + std::to_string(cgroup));
  return {};
}

Result<std::vector<SeenArea>> Recorder::read_areas() const {
  const int map = bpf_map__fd(x_skeleton->maps.areas);
  // A batch must hold the fullest bucket of the hash; it cannot be fuller than the map.
  uint32_t batch = std::min(4096u, bpf_map__max_entries(x_skeleton->maps.areas));
  std::vector<access_key> keys(batch);
  std::vector<access_area> values(batch);
  std::vector<SeenArea> areas;
  uint32_t position = 0;
  bool started = false;
  for (;;) {
    uint32_t count = batch;
    const int status = bpf_map_lookup_batch(map, started ? &position : nullptr, &position,
                                            keys.data(), values.data(), &count, nullptr);
    if (status != 0 && status != -ENOENT) return recorder_error(-status, "read the access tracer");
    for (uint32_t i = 0; i < count; ++i) areas.push_back({keys[i], values[i]});
    if (status == -ENOENT) return areas;  // that was the last batch
    started = true;
  }
}

Result<std::vector<CgroupId>> Recorder::seen() const {
  TRY(areas, read_areas());
  std::set<CgroupId> ids;
  for (const SeenArea& area : areas) ids.insert(area.key.cgroup);
  return std::vector<CgroupId>(ids.begin(), ids.end());
}

Result<std::map<CgroupId, uint64_t>> Recorder::touched_pages() const {
  TRY(areas, read_areas());
  std::map<CgroupId, uint64_t> pages;
  for (const SeenArea& seen : areas) {
    const uint64_t touched = x_sight == Sight::kMisses ? seen.area.added : seen.area.touched;
    pages[seen.key.cgroup] += static_cast<uint64_t>(std::popcount(touched));
  }
  return pages;
}

Result<Recording> Recorder::recording(CgroupId cgroup) const {
  TRY(areas, read_areas());
  std::erase_if(areas, [&](const SeenArea& area) { return area.key.cgroup != cgroup; });
  return page_runs(areas, x_sight);
}

Result<void> Recorder::end_cgroup(CgroupId cgroup) {
  TRY(set_cgroup(cgroup, ACCESS_ENDED));
  return remove_areas(cgroup);
}

Result<void> Recorder::remove_areas(std::optional<CgroupId> cgroup) {
  TRY(areas, read_areas());
  for (const SeenArea& area : areas) {
    if (cgroup && area.key.cgroup != *cgroup) continue;
    bpf_map_delete_elem(bpf_map__fd(x_skeleton->maps.areas), &area.key);
    const access_reader_key reader{area.key.cgroup, area.key.device, 0};
    bpf_map_delete_elem(bpf_map__fd(x_skeleton->maps.announced), &reader);
  }
  return {};
}

Result<RecorderCounts> Recorder::counts() const {
  std::vector<access_counts> per_cpu(static_cast<size_t>(libbpf_num_possible_cpus()));
  if (bpf_map_lookup_elem(bpf_map__fd(x_skeleton->maps.counts), &kOnlyEntry, per_cpu.data()) != 0)
    return recorder_error(errno, "count accesses");
  RecorderCounts sum;
  for (const access_counts& cpu : per_cpu) {
    sum.events += cpu.events;
    sum.areas += cpu.areas;
    sum.dropped += cpu.dropped;
  }
  for (const int fd : program_fds()) {
    bpf_prog_info info{};
    uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &length) != 0)
      return recorder_error(errno, "count accesses");
    sum.dropped += info.recursion_misses;
  }
  return sum;
}

std::vector<int> Recorder::program_fds() const {
  std::vector<int> fds;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, x_skeleton->obj) {
    if (bpf_program__autoload(program)) fds.push_back(bpf_program__fd(program));
  }
  return fds;
}

}  // namespace dedup
