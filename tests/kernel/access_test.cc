// The recorder against the real kernel: real reads of a real EROFS mount by processes in real
// cgroups. Skipped, with the reason, where this kernel has no EROFS, no BTF or no cgroup hierarchy.
#include <bpf/bpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <set>

#include "base/unique_fd.h"
#include "kernel/access_rig.h"
#include "trace/image_files.h"
#include "trace/profile_file.h"

namespace dedup::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kMiB = 1 << 20;
constexpr CgroupHierarchy kHierarchies[] = {CgroupHierarchy::kV1Memory, CgroupHierarchy::kV2};

constexpr ByteRange page(uint64_t number) {
  return {number * kPageBytes, kPageBytes};
}

// How many of the kernel's BPF links lead to the recorder's programs.
size_t links_of(const Recorder& recorder) {
  std::set<uint32_t> programs;
  for (const int fd : recorder.program_fds()) {
    bpf_prog_info info{};
    uint32_t bytes = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &bytes) == 0) programs.insert(info.id);
  }
  size_t links = 0;
  for (uint32_t id = 0; bpf_link_get_next_id(id, &id) == 0;) {
    const UniqueFd fd(bpf_link_get_fd_by_id(id));
    bpf_link_info info{};
    uint32_t bytes = sizeof(info);
    if (fd.valid() && bpf_obj_get_info_by_fd(fd.get(), &info, &bytes) == 0)
      links += programs.count(info.prog_id);
  }
  return links;
}

class Access : public testing::TestWithParam<CgroupHierarchy> {
 protected:
  void SetUp() override {
    if (!x_image.missing().empty()) GTEST_SKIP() << x_image.missing();
    if (!x_first.valid() || !x_second.valid())
      GTEST_SKIP() << "no writable cgroup hierarchy of this kind";
    open(x_options);
  }

  void open(RecorderOptions options) {
    options.hierarchy = GetParam();
    auto recorder = Recorder::open(options);
    if (!recorder.ok()) GTEST_SKIP() << recorder.error().to_string();
    x_recorder = std::move(*recorder);
    if (!options.misses_only && x_recorder->sight() == Sight::kMisses)
      GTEST_SKIP() << "no tracepoint " << x_recorder->missing_tracepoints()[0];
  }
  void record(const RecordedImage& image, CgroupScope scope = CgroupScope::kNamed) {
    const auto device = x_recorder->record_mount(image.mountpoint(), scope);
    ASSERT_TRUE(device.ok()) << device.error().to_string();
  }
  CgroupId record(const TestCgroup& cgroup) {
    const auto id = x_recorder->record_cgroup(cgroup.path());
    EXPECT_TRUE(id.ok()) << id.error().to_string();
    return id.ok() ? *id : 0;
  }
  Recording recording(CgroupId id) {
    auto recording = x_recorder->recording(id);
    EXPECT_TRUE(recording.ok()) << recording.error().to_string();
    return recording.ok() ? std::move(*recording) : Recording{};
  }
  RecorderCounts counts() {
    const auto counts = x_recorder->counts();
    EXPECT_TRUE(counts.ok());
    return *counts;
  }

  RecorderOptions x_options;  // of the recorder that every test begins with
  RecordedImage x_image{{{"a", 8 * kMiB}, {"b", 8 * kMiB}, {"c", 8 * kMiB}, {"small", 5000}}};
  TestCgroup x_first{GetParam(), "first"};
  TestCgroup x_second{GetParam(), "second"};
  std::unique_ptr<Recorder> x_recorder;
};

TEST_P(Access, FirstTouchesComeInTheirOrder) {
  record(x_image);
  const CgroupId id = record(x_first);
  ASSERT_TRUE(x_first.run([&] {
    return read_range(x_image.path("b"), page(1000)) && read_range(x_image.path("a"), page(7)) &&
           read_range(x_image.path("small"), {0, 5000}) &&
           read_range(x_image.path("a"), page(500)) && read_range(x_image.path("b"), page(0)) &&
           read_range(x_image.path("a"), page(7)) && read_range(x_image.path("b"), page(1001));
  }));
  const auto touched = recording(id).touched;
  std::vector<std::pair<uint64_t, ByteRange>> order;
  for (const PageRun& run : touched) order.emplace_back(run.inode, run.range);
  const uint64_t a = x_image.inode("a");
  const uint64_t b = x_image.inode("b");
  EXPECT_THAT(order, ElementsAre(std::pair(b, ByteRange{1000 * kPageBytes, 2 * kPageBytes}),
                                 std::pair(a, page(7)),
                                 std::pair(x_image.inode("small"), ByteRange{0, 2 * kPageBytes}),
                                 std::pair(a, page(500)), std::pair(b, page(0))));
  EXPECT_TRUE(std::ranges::is_sorted(touched, {}, &PageRun::first_ns));
  EXPECT_EQ(counts().dropped, 0u);
}

TEST_P(Access, ReadaheadIsNoTouch) {
  record(x_image);
  const CgroupId id = record(x_first);
  x_image.drop_cache();
  ASSERT_TRUE(x_first.run([&] {
    return read_range(x_image.path("a"), {0, 4 * kPageBytes}, Readahead::kNormal) &&
           touch_mapped(x_image.path("b"), {100}, Readahead::kNormal);
  }));
  const Recording seen = recording(id);
  EXPECT_THAT(pages_of(seen.touched, x_image.inode("a")), ElementsAre(0, 1, 2, 3));
  // The kernel maps the cached neighbours along, 16 pages in all: what is used of them it does not
  // say.
  const auto mapped = pages_of(seen.touched, x_image.inode("b"));
  EXPECT_THAT(mapped, testing::Contains(100));
  EXPECT_THAT(mapped, testing::Each(testing::AllOf(testing::Ge(96), testing::Lt(112))));
  EXPECT_THAT(pages_of(seen.untouched, x_image.inode("a")), Not(IsEmpty()));
  EXPECT_THAT(pages_of(seen.untouched, x_image.inode("b")), Not(IsEmpty()));
  EXPECT_EQ(seen.missed_bytes, (4 + mapped.size()) * kPageBytes);
}

// Every way to the data: read, one large read, a mapping, sendfile.
bool play(const RecordedImage& image) {
  std::vector<uint64_t> pages;
  for (uint64_t at = 3; at < 2048; at += 61) pages.push_back(at);
  for (const uint64_t at : pages) {
    if (!read_range(image.path("a"), page(at))) return false;
  }
  return touch_mapped(image.path("b"), pages, Readahead::kNone) &&
         send_range(image.path("c"), {4096 * 17, 4096 * 9}) &&
         read_range(image.path("c"), {kMiB, 5 * kMiB}, Readahead::kNormal) &&
         read_range(image.path("small"), {0, 5000});
}

// Windows of 16 pages, as faults map them.
std::set<std::pair<uint64_t, uint64_t>> windows_of(const std::vector<PageRun>& runs) {
  std::set<std::pair<uint64_t, uint64_t>> windows;
  for (const PageRun& run : runs) {
    for (uint64_t at = run.range.offset; at < run.range.end(); at += kPageBytes)
      windows.emplace(run.inode, at / kPageBytes / 16);
  }
  return windows;
}

TEST_P(Access, ReaderServedByThePageCacheGivesTheSameSet) {
  record(x_image);
  const CgroupId cold = record(x_first);
  const CgroupId warm = record(x_second);
  x_image.drop_cache();
  ASSERT_TRUE(x_first.run([&] { return play(x_image); }));
  ASSERT_TRUE(x_second.run([&] { return play(x_image); }));
  const Recording first = recording(cold);
  const Recording second = recording(warm);
  EXPECT_GT(first.missed_bytes, 4 * kMiB);
  EXPECT_EQ(second.missed_bytes, 0u);
  EXPECT_THAT(second.untouched, IsEmpty());
  EXPECT_THAT(first.touched, SizeIs(testing::Gt(60u)));
  EXPECT_EQ(windows_of(first.touched), windows_of(second.touched));
  for (const char* file : {"a", "c", "small"}) {  // read(2) and sendfile: to the page
    EXPECT_EQ(pages_of(first.touched, x_image.inode(file)),
              pages_of(second.touched, x_image.inode(file)))
        << file;
  }
  EXPECT_EQ(counts().dropped, 0u);
}

TEST_P(Access, CgroupsAndMountsDoNotMix) {
  const RecordedImage other({{"a", kMiB}, {"b", kMiB}});
  const RecordedImage unrecorded({{"a", kMiB}});
  record(x_image);
  record(other);
  const CgroupId first = record(x_first);
  const CgroupId second = record(x_second);
  ASSERT_TRUE(x_first.run([&] {
    return read_range(x_image.path("a"), page(1)) && read_range(unrecorded.path("a"), page(2));
  }));
  ASSERT_TRUE(x_second.run([&] {
    return read_range(other.path("a"), page(3)) && read_range(unrecorded.path("a"), page(4));
  }));
  ASSERT_TRUE(read_range(x_image.path("a"), page(5)));  // the test itself is in neither
  const auto of_first = recording(first).touched;
  const auto of_second = recording(second).touched;
  ASSERT_THAT(of_first, SizeIs(1));
  ASSERT_THAT(of_second, SizeIs(1));
  EXPECT_EQ(of_first[0].range, page(1));
  EXPECT_EQ(of_second[0].range, page(3));
  EXPECT_NE(of_first[0].device, of_second[0].device);

  x_recorder->forget_mount(of_first[0].device);
  ASSERT_TRUE(x_recorder->end_cgroup(second).ok());
  ASSERT_TRUE(x_first.run([&] { return read_range(x_image.path("a"), page(6)); }));
  ASSERT_TRUE(x_second.run([&] { return read_range(other.path("a"), page(7)); }));
  EXPECT_EQ(recording(first).touched, of_first);
  EXPECT_THAT(recording(second).touched, IsEmpty());
  EXPECT_THAT(*x_recorder->seen(), ElementsAre(first));
}

// A container's processes may be in cgroups it made itself. When its recording has ended they are
// no containers of their own.
TEST_P(Access, CgroupsBelowBelongToTheRecordedOne) {
  const std::string below = x_first.path() + "/below";
  ASSERT_EQ(mkdir(below.c_str(), 0755), 0);
  record(x_image);
  const CgroupId id = record(x_first);
  const auto read_below = [&](uint64_t number) {
    return x_first.run([&] {
      if (std::FILE* procs = std::fopen((below + "/cgroup.procs").c_str(), "w")) {
        std::fprintf(procs, "%d", getpid());
        if (std::fclose(procs) == 0) return read_range(x_image.path("a"), page(number));
      }
      return false;
    });
  };
  EXPECT_TRUE(read_below(9));
  const auto touched = recording(id).touched;
  EXPECT_TRUE(x_recorder->end_cgroup(id).ok());
  record(x_image, CgroupScope::kEvery);
  EXPECT_TRUE(read_below(10));
  EXPECT_TRUE(x_first.run([&] { return read_range(x_image.path("a"), page(10)); }));
  EXPECT_THAT(*x_recorder->seen(), IsEmpty());
  rmdir(below.c_str());
  ASSERT_THAT(touched, SizeIs(1));
  EXPECT_EQ(touched[0].range, page(9));
}

TEST_P(Access, FirstReadersAreAnnouncedOnce) {
  record(x_image, CgroupScope::kEvery);
  const auto read_a = [&] { return read_range(x_image.path("a"), page(3)); };
  ASSERT_TRUE(x_first.run(read_a));
  ASSERT_TRUE(x_first.run([&] { return read_range(x_image.path("b"), page(3)); }));
  ASSERT_TRUE(x_second.run(read_a));
  const auto announced = x_recorder->take_first_reads();
  ASSERT_EQ(announced.size(), 2u);
  EXPECT_LT(announced[0].first_ns, announced[1].first_ns);
  EXPECT_GT(announced[0].pid, 0);
  EXPECT_TRUE(x_recorder->take_first_reads().empty());
  ASSERT_TRUE(x_recorder->end_cgroup(announced[0].cgroup).ok());
  ASSERT_TRUE(x_first.run(read_a));
  EXPECT_TRUE(x_recorder->take_first_reads().empty());
  record(x_first);
  ASSERT_TRUE(x_first.run(read_a));
  const auto again = x_recorder->take_first_reads();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].cgroup, announced[0].cgroup);
}

TEST_P(Access, IgnoredCgroupsLeaveNothing) {
  record(x_image, CgroupScope::kEvery);
  const auto id = cgroup_id(x_first.path(), GetParam());
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(x_recorder->ignore_cgroup(*id).ok());
  ASSERT_TRUE(x_first.run([&] { return read_range(x_image.path("a"), page(3)); }));
  const TestCgroup below(GetParam(), "first/below");
  ASSERT_TRUE(below.valid());
  ASSERT_TRUE(below.run([&] { return read_range(x_image.path("a"), page(3)); }));
  const auto seen = x_recorder->seen();
  ASSERT_TRUE(seen.ok());
  const auto below_id = cgroup_id(below.path(), GetParam());
  ASSERT_TRUE(below_id.ok());
  EXPECT_THAT(*seen, ElementsAre(*below_id));
  const auto directory = cgroup_directory(*below_id, GetParam());
  EXPECT_TRUE(directory.ok() && *directory == below.path()) << below.path();
}

// A container that reads a whole large file at once, and one that asks for more than there is.
TEST_P(Access, LongReadsAreSeenToTheirEnd) {
  const RecordedImage large({{"large", 100 * kMiB + 5000}});
  record(large);
  const CgroupId id = record(x_first);
  ASSERT_TRUE(x_first.run([&] {
    return read_range(large.path("large"), {0, 100 * kMiB + 5000}, Readahead::kNormal);
  }));
  const auto touched = pages_of(recording(id).touched, large.inode("large"));
  EXPECT_THAT(touched, SizeIs(100 * 256 + 2));
  EXPECT_EQ(std::set<uint64_t>(touched.begin(), touched.end()).size(), touched.size());
  EXPECT_EQ(counts().dropped, 0u);
}

TEST_P(Access, WhatDoesNotFitIsCounted) {
  x_recorder.reset();
  open({.max_areas = 16});
  // In the page cache already: each page is one event.
  ASSERT_TRUE(read_range(x_image.path("a"), {0, 8 * kMiB}));
  record(x_image);
  const CgroupId id = record(x_first);
  ASSERT_TRUE(x_first.run([&] {
    for (uint64_t area = 0; area < 32; ++area) {
      if (!read_range(x_image.path("a"), page(area * 64))) return false;
    }
    return true;
  }));
  const size_t seen = recording(id).touched.size();
  EXPECT_EQ(seen + counts().dropped, 32u);
  EXPECT_GT(counts().dropped, 0u);
  EXPECT_EQ(counts().areas, seen);
}

// From reads to what another host can use.
TEST_P(Access, RecordingBecomesAProfile) {
  const auto device = x_recorder->record_mount(x_image.mountpoint(), CgroupScope::kNamed);
  ASSERT_TRUE(device.ok());
  const CgroupId id = record(x_first);
  timespec start{};
  clock_gettime(CLOCK_MONOTONIC, &start);
  ASSERT_TRUE(x_first.run([&] {
    return read_range(x_image.path("c"), page(20)) && read_range(x_image.path("small"), {0, 10}) &&
           touch_mapped(x_image.path("b"), {2047}, Readahead::kNone);
  }));
  const auto plan = plan_erofs(x_image.tree(), x_image.options());
  ASSERT_TRUE(plan.ok());
  const std::vector<Digest> layers = {sha256(as_bytes("lower")), sha256(as_bytes("upper"))};
  const auto files = ImageFiles::build(x_image.tree(), plan->node_nid, layers);
  ASSERT_TRUE(files.ok());
  const auto start_ns =
      static_cast<uint64_t>(start.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(start.tv_nsec);
  const Profile profile = profile_of(recording(id), x_recorder->sight(), *device, *files, start_ns);
  const auto again = read_profile(*write_profile(profile));
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  // Files a, b, c, small lie in the layers in turns.
  std::vector<std::tuple<std::string, uint32_t, ByteRange>> order;
  for (const ProfileEntry& entry : again->entries) {
    order.emplace_back(entry.path, *entry.layer, entry.range);
    EXPECT_LT(entry.first_us, 60'000'000u);
  }
  EXPECT_THAT(order, ElementsAre(std::tuple("/c", 0u, ByteRange{64 << 10, 64 << 10}),
                                 std::tuple("/small", 1u, ByteRange{0, 5000}),
                                 std::tuple("/b", 1u, ByteRange{8 * kMiB - (64 << 10), 64 << 10})));
  EXPECT_EQ(again->layers, layers);
}

// What is left on kernels without the tracepoints of touches.
class AccessOfOldKernels : public Access {
 protected:
  AccessOfOldKernels() { x_options.misses_only = true; }
};

TEST_P(AccessOfOldKernels, SeesMissesAndSaysSo) {
  EXPECT_EQ(x_recorder->sight(), Sight::kMisses);
  EXPECT_THAT(x_recorder->missing_tracepoints(), SizeIs(3));
  record(x_image);
  const CgroupId cold = record(x_first);
  const CgroupId warm = record(x_second);
  x_image.drop_cache();
  const auto reader = [&] {
    return read_range(x_image.path("b"), page(300)) && read_range(x_image.path("a"), page(2));
  };
  ASSERT_TRUE(x_first.run(reader) && x_second.run(reader));
  const auto touched = recording(cold).touched;
  ASSERT_THAT(touched, SizeIs(2));
  EXPECT_EQ(touched[0].inode, x_image.inode("b"));
  EXPECT_TRUE(touched[0].range.contains(page(300)));
  EXPECT_THAT(recording(warm).touched, IsEmpty());
}

TEST_P(Access, IsAttachedOnlyWhileAMountIsRecorded) {
  EXPECT_EQ(links_of(*x_recorder), 0u);
  const auto first = x_recorder->record_mount(x_image.mountpoint(), CgroupScope::kNamed);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(links_of(*x_recorder), x_recorder->program_fds().size());
  x_recorder->rest();
  EXPECT_EQ(links_of(*x_recorder), x_recorder->program_fds().size());
  x_recorder->forget_mount(*first);
  x_recorder->rest();
  EXPECT_EQ(links_of(*x_recorder), 0u);

  record(x_image);
  const CgroupId again = record(x_first);
  ASSERT_TRUE(x_first.run([&] { return read_range(x_image.path("a"), page(2)); }));
  EXPECT_THAT(recording(again).touched, SizeIs(1));
}

TEST_P(Access, RefusesWhatIsNoImageAndNoCgroup) {
  EXPECT_EQ(x_recorder->record_mount("/proc", CgroupScope::kNamed).error().code, Errc::kInvalid);
  EXPECT_EQ(x_recorder->record_mount("/absent", CgroupScope::kNamed).error().code, Errc::kNotFound);
  EXPECT_EQ(x_recorder->record_cgroup("/proc").error().code, Errc::kInvalid);
  EXPECT_EQ(x_recorder->record_cgroup("/absent").error().code, Errc::kNotFound);
}

std::string hierarchy_name(const testing::TestParamInfo<CgroupHierarchy>& info) {
  return info.param == CgroupHierarchy::kV2 ? "V2" : "V1Memory";
}
INSTANTIATE_TEST_SUITE_P(Hierarchies, Access, testing::ValuesIn(kHierarchies), hierarchy_name);
INSTANTIATE_TEST_SUITE_P(Hierarchies, AccessOfOldKernels, testing::ValuesIn(kHierarchies),
                         hierarchy_name);

}  // namespace
}  // namespace dedup::test
