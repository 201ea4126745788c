// From bitmaps to a profile, without a kernel; and the parts of the recorder that read text.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trace/cgroups.h"
#include "trace/image_files.h"
#include "trace/page_runs.h"
#include "trace/profile_order.h"
#include "unit/format/erofs_image.h"
#include "unit/trace/profiles.h"

namespace dedup {
namespace {

using test::digest_of;
using test::touched;
using test::TreeMaker;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kPages = ACCESS_AREA_PAGES;

SeenArea area(uint64_t inode, uint32_t number, uint64_t touched_pages, uint64_t touched_ns,
              uint64_t added = 0, uint64_t added_ns = 0) {
  return {{1, inode, 7, number}, {touched_pages, added, touched_ns, added_ns}};
}
PageRun run(uint64_t inode, uint64_t first_page, uint64_t pages, uint64_t ns) {
  return {7, inode, {first_page * kPageBytes, pages * kPageBytes}, ns};
}

TEST(PageRuns, ComeByTimeAndPlace) {
  const SeenArea areas[] = {area(5, 1, 0b1011, 300), area(9, 0, ~uint64_t{0}, 100),
                            area(5, 0, uint64_t{1} << 63 | 1, 200)};
  EXPECT_THAT(page_runs(areas, Sight::kTouches).touched,
              ElementsAre(run(9, 0, kPages, 100), run(5, 0, 1, 200), run(5, 63, 1, 200),
                          run(5, kPages, 2, 300), run(5, kPages + 3, 1, 300)));
}

TEST(PageRuns, ReadaheadIsKeptApart) {
  const SeenArea areas[] = {area(5, 0, 0b0001, 20, 0b0111, 10), area(5, 1, 0b1, 30),
                            area(6, 0, 0, 0, 0b1, 15)};
  const Recording seen = page_runs(areas, Sight::kTouches);
  EXPECT_THAT(seen.touched, ElementsAre(run(5, 0, 1, 20), run(5, kPages, 1, 30)));
  EXPECT_THAT(seen.untouched, ElementsAre(run(5, 1, 2, 10), run(6, 0, 1, 15)));
  EXPECT_EQ(seen.missed_bytes, kPageBytes);
}

TEST(PageRuns, OldKernelsTakeMissesForTouches) {
  const SeenArea areas[] = {area(5, 0, 0, 0, 0b11, 10)};
  const Recording seen = page_runs(areas, Sight::kMisses);
  EXPECT_THAT(seen.touched, ElementsAre(run(5, 0, 2, 10)));
  EXPECT_THAT(seen.untouched, IsEmpty());
}

class Image : public testing::Test {
 protected:
  Image() {
    TreeMaker lower;
    lower.file("usr/lib/libc.so", 300'000);
    lower.file("etc/conf", 10);
    lower.file("gone", 10);
    const InodeIndex tool = lower.file("usr/bin/tool", 70'000);
    lower.link("usr/bin/alias", tool);
    TreeMaker upper;
    upper.file("etc/conf", 20);
    upper.whiteout("gone");
    upper.file("bad\xFF", 10);
    upper.file("empty", 0);
    for (auto* maker : {&lower, &upper}) x_placed.push_back(maker->finish());
    x_tree = std::move(*merge_layers(x_placed, Whiteouts::kApply));
    x_plan = std::move(*plan_erofs(x_tree, options()));
    x_files = std::move(*ImageFiles::build(x_tree, x_plan.node_nid, x_layers));
  }
  // Files without extents are holes: all in segment 0.
  static ErofsOptions options() {
    ErofsOptions options;
    options.segment_bytes = [](uint32_t) { return uint64_t{kDefaultChunkBytes}; };
    return options;
  }
  uint64_t nid_of(const std::string& path) const {
    for (uint32_t node = 0; node < x_tree.nodes.size(); ++node) {
      const ImageFile* file = x_files.find(x_plan.node_nid[node]);
      if (file != nullptr && file->path == path) return x_plan.node_nid[node];
    }
    return 0;
  }

  const std::vector<Digest> x_layers = {digest_of('a'), digest_of('b')};
  std::vector<PlacedLayer> x_placed;
  ImageTree x_tree;
  ErofsImage x_plan;
  ImageFiles x_files;
};

TEST_F(Image, PlanGivesTheInodesOfTheImage) {
  const auto written = write_erofs(x_tree, options(), [](auto) { return Result<void>(); });
  ASSERT_TRUE(written.ok());
  EXPECT_EQ(written->node_nid, x_plan.node_nid);
  EXPECT_EQ(written->bytes, x_plan.bytes);
}

TEST_F(Image, FilesHaveTheirNameAndLayer) {
  EXPECT_EQ(x_files.size(), 3u) << "none for directories, whiteouts, empty and unnameable files";
  const ImageFile* conf = x_files.find(nid_of("/etc/conf"));
  ASSERT_NE(conf, nullptr);
  EXPECT_EQ(conf->layer, 1u);
  EXPECT_EQ(conf->bytes, 20u);
  ASSERT_NE(nid_of("/usr/bin/alias"), 0u) << "the first of two names";
  EXPECT_EQ(x_files.find(nid_of("/usr/bin/alias"))->layer, 0u);
  EXPECT_EQ(x_files.find(1'000'000), nullptr);
}

TEST_F(Image, PartsOfAnotherImageAreRefused) {
  EXPECT_EQ(ImageFiles::build(x_tree, x_plan.node_nid, {digest_of('a')}).error().code,
            Errc::kInvalid);
  EXPECT_EQ(ImageFiles::build(x_tree, {}, x_layers).error().code, Errc::kInvalid);
}

TEST_F(Image, ProfileOfARecording) {
  const uint64_t libc = nid_of("/usr/lib/libc.so");
  Recording recording;
  recording.touched = {
      run(nid_of("/etc/conf"), 0, 1, 500),          // before the start
      run(libc, 17, 1, 3'000),                      // block 1
      run(libc, 0, 1, 4'000),                       // block 0
      run(libc, 18, 20, 5'000),                     // blocks 1 and 2
      run(nid_of("/usr/bin/alias"), 16, 2, 6'000),  // the last page ends behind the file
      run(libc, 200, 1, 7'000),                     // behind the end of the file
      run(123'456, 0, 1, 8'000),                    // no file of this image
  };
  recording.touched.push_back({8, libc, {0, kPageBytes}, 100});  // another mount
  const Profile profile = profile_of(recording, Sight::kTouches, 7, x_files, 1'000);
  constexpr uint64_t kBlock = kProfileBlockBytes;
  EXPECT_EQ(profile.layers, x_layers);
  EXPECT_EQ(profile.source, ProfileSource::kTouches);
  EXPECT_THAT(profile.entries,
              ElementsAre(touched(1, "/etc/conf", {0, 20}, 0),
                          touched(0, "/usr/lib/libc.so", {kBlock, kBlock}, 2),
                          touched(0, "/usr/lib/libc.so", {0, kBlock}, 3),
                          touched(0, "/usr/lib/libc.so", {2 * kBlock, kBlock}, 4),
                          touched(0, "/usr/bin/alias", {kBlock, 70'000 - kBlock}, 5)));
  EXPECT_EQ(profile_of(recording, Sight::kMisses, 7, x_files, 0).source, ProfileSource::kMisses);
}

constexpr std::string_view kProcV1 =
    "9:name=systemd:/system.slice\n"
    "4:memory,hugetlb:/k8s.io/abc\n"
    "1:cpu,cpuacct:/wrong\n"
    "0::/unified/abc\n";

TEST(Cgroups, OfAProcess) {
  EXPECT_EQ(cgroup_in(kProcV1, CgroupHierarchy::kV1Memory), "/k8s.io/abc");
  EXPECT_EQ(cgroup_in(kProcV1, CgroupHierarchy::kV2), "/unified/abc");
  EXPECT_EQ(cgroup_in("0::/a:b\n", CgroupHierarchy::kV2), "/a:b");
  EXPECT_EQ(cgroup_in("0::/\n", CgroupHierarchy::kV1Memory), "");
  EXPECT_EQ(cgroup_in("", CgroupHierarchy::kV2), "");
}

TEST(Cgroups, MountsOfTheHierarchies) {
  constexpr std::string_view kMounts =
      "30 29 0:26 /docker/1 /inside rw - cgroup cgroup rw,memory\n"
      "31 29 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
      "32 29 0:27 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n"
      "33 29 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
  EXPECT_EQ(hierarchy_mount(kMounts, CgroupHierarchy::kV1Memory), "/sys/fs/cgroup/memory");
  EXPECT_EQ(hierarchy_mount(kMounts, CgroupHierarchy::kV2), "/sys/fs/cgroup/unified");
  EXPECT_EQ(hierarchy_mount("", CgroupHierarchy::kV2), "");
}

}  // namespace
}  // namespace dedup
