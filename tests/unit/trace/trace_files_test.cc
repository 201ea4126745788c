#include "trace/trace_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/unique_fd.h"
#include "unit/format/tree_maker.h"
#include "unit/trace/profiles.h"

namespace dedup::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class TraceFilesTest : public ::testing::Test {
 protected:
  static TracedImage image_of(std::vector<Digest> layers, std::string ref = "r.example/a:1") {
    const Digest key = image_key(layers);
    return {key, std::move(ref), digest_of('1'), std::move(layers)};
  }
  static Profile start(std::string path, std::vector<std::string> entrypoint = {"python3"}) {
    Profile profile = profile_with({touched(0, std::move(path), {0, 4096}, 10)});
    profile.entrypoint = std::move(entrypoint);
    profile.container = "c";
    return profile;
  }
  static Profile merged(std::string path, uint32_t runs) {
    Profile profile = profile_with({touched(0, std::move(path), {0, 4096}, 10, runs)}, runs);
    return profile;
  }
  // Files of starts are named by the millisecond, directories dated by the kernel's tick.
  static void let_time_pass() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }
  std::string add(const TracedImage& traced, const Profile& profile) {
    let_time_pass();
    auto path = files.add_start(traced, profile);
    EXPECT_TRUE(path.ok()) << path.error().to_string();
    return path.ok() ? *path : "";
  }
  std::string directory_of(const TracedImage& traced) const {
    return dir.path() + "/" + traced.key.hex().substr(0, 32);
  }
  void write(const std::string& path, const std::string& text) const {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << text;
  }
  // The path of the first entry of what is prefetched by; empty: nothing is.
  std::string best_of(const TracedImage& traced) const {
    const auto best = files.best(traced);
    if (best.ok()) return best->entries.at(0).path;
    EXPECT_EQ(best.error().code, Errc::kNotFound);
    return "";
  }
  std::string logged() const {
    std::string text(1 << 16, '\0');
    const ssize_t bytes = ::pread(log_fd.get(), text.data(), text.size(), 0);
    text.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
    return text;
  }
  size_t log_lines() const {
    const std::string text = logged();
    return static_cast<size_t>(std::ranges::count(text, '\n'));
  }

  TempDir dir;
  UniqueFd log_fd{::memfd_create("log", MFD_CLOEXEC)};
  Log log{log_fd.get()};
  TraceFiles files{dir.path(), log, {.max_starts = 3, .max_images = 2}};
  const TracedImage image = image_of({digest_of('a'), digest_of('b')});
};

TEST_F(TraceFilesTest, WhatIsWrittenIsFoundByTheLayersAlone) {
  const std::string path = add(image, start("/a"));
  TracedImage retagged = image;
  retagged.ref = "r.example/b:2";
  EXPECT_EQ(files.starts(retagged.key), 1u);
  EXPECT_EQ(best_of(retagged), "/a");
  EXPECT_NE(image_of({digest_of('b'), digest_of('a')}).key, image.key);
  ASSERT_TRUE(files.image(image.key).has_value());
  EXPECT_EQ(files.image(image.key)->ref, image.ref);
  EXPECT_EQ(files.image(image.key)->layers, image.layers);
  ASSERT_EQ(files.list().size(), 1u);
  ASSERT_EQ(files.files(image.key).size(), 1u);
  EXPECT_EQ(files.files(image.key)[0].path, path);
  EXPECT_EQ(files.files(image.key)[0].bytes, fs::file_size(path));
}

TEST_F(TraceFilesTest, AListIsTheLastResortAndTheRegistryTheNext) {
  EXPECT_EQ(best_of(image), "");
  ASSERT_TRUE(files.put_list(image, merged("/list", 9)).ok());
  EXPECT_EQ(best_of(image), "/list");
  ASSERT_TRUE(files.put_pulled(image, merged("/pulled", 2)).ok());
  EXPECT_EQ(best_of(image), "/pulled");
}

TEST_F(TraceFilesTest, WhatAnOperatorRecordedOfARunningContainerIsNoStart) {
  const auto path = files.add_part(image, start("/late"));
  ASSERT_TRUE(path.ok());
  EXPECT_TRUE(fs::exists(*path));
  EXPECT_EQ(files.starts(image.key), 0u);
  EXPECT_EQ(best_of(image), "");
  ASSERT_EQ(files.files(image.key).size(), 1u);
}

// The kernel reads ahead of what is touched, and a reader waits for it.
TEST_F(TraceFilesTest, WhatAReaderWaitedForIsPrefetchedThoughNothingTouchedIt) {
  Profile recorded = start("/a");
  recorded.prepared_us = 1000;
  recorded.fetches = {
      {0, "/a", {0, 8192}, 1020, FetchCause::kReader, 10},
      {0, "/a", {1 << 20, 1 << 20}, 1500, FetchCause::kReader, 100},
      {0, "/b", {0, 4096}, 1600, FetchCause::kReadahead, 0},
      {0, "/c", {0, 4096}, 900, FetchCause::kReader, 100},
  };
  std::ranges::sort(recorded.fetches, {}, &ProfileFetch::us);
  add(image, recorded);
  const auto best = files.best(image);
  ASSERT_TRUE(best.ok());
  ASSERT_EQ(best->entries.size(), 3u);
  EXPECT_EQ(best->entries[0].path, "/c");
  EXPECT_EQ(best->entries[0].first_us, 0u) << "before the container started";
  EXPECT_EQ(best->entries[2].path, "/a");
  EXPECT_EQ(best->entries[2].range, (ByteRange{1 << 20, 64 << 10}));
  EXPECT_EQ(best->entries[2].first_us, 400u);
}

TEST_F(TraceFilesTest, TheProfileOfMostRunsWinsAndTheNodesOwnBeforeOthers) {
  ASSERT_TRUE(files.put_pulled(image, merged("/pulled", 2)).ok());
  add(image, start("/own"));
  EXPECT_EQ(best_of(image), "/pulled");
  add(image, start("/own"));
  EXPECT_EQ(best_of(image), "/own");
  EXPECT_EQ(files.best(image)->runs, 2u);
  EXPECT_EQ(files.starts(image.key), 2u) << "what was pulled is no start";
}

TEST_F(TraceFilesTest, StartsOfOtherCommandsAreNotMerged) {
  add(image, start("/often", {"often"}));
  add(image, start("/often", {"often"}));
  add(image, start("/once", {"once"}));
  EXPECT_EQ(best_of(image), "/often");
  EXPECT_EQ(files.merged_starts(image)->runs, 2u);
  EXPECT_EQ(files.merged_starts(image)->entrypoint, std::vector<std::string>{"often"});
}

TEST_F(TraceFilesTest, OfCommandsStartedAsOftenTheLatestWins) {
  add(image, start("/old", {"old"}));
  add(image, start("/new", {"new"}));
  EXPECT_EQ(best_of(image), "/new");
}

TEST_F(TraceFilesTest, StartsSeenOnOtherKernelsAreNotMerged) {
  Profile misses = start("/misses");
  misses.source = ProfileSource::kMisses;
  add(image, misses);
  add(image, start("/touches"));
  EXPECT_EQ(files.merged_starts(image)->runs, 1u);
  EXPECT_EQ(best_of(image), "/touches");
}

TEST_F(TraceFilesTest, AStartAfterTheImageWasBuiltAgainWithTheSameLayersCounts) {
  add(image, start("/a"));
  Profile other = start("/a");
  other.image = digest_of('2');
  add(image, other);
  EXPECT_EQ(files.merged_starts(image)->runs, 2u);
  EXPECT_EQ(files.merged_starts(image)->image, image.manifest);
}

TEST_F(TraceFilesTest, TheOldestStartGoes) {
  const std::string first = add(image, start("/1"));
  const std::string second = add(image, start("/2"));
  add(image, start("/3"));
  const std::string last = add(image, start("/4"));
  EXPECT_EQ(files.starts(image.key), 3u);
  EXPECT_FALSE(fs::exists(first));
  EXPECT_TRUE(fs::exists(second));
  EXPECT_EQ(files.files(image.key).front().path, last) << "newest first";
}

TEST_F(TraceFilesTest, TheImageLongestNotWrittenToGoes) {
  const TracedImage b = image_of({digest_of('b')}), c = image_of({digest_of('c')});
  ASSERT_TRUE(files.put_list(image, merged("/a", 1)).ok());
  let_time_pass();
  ASSERT_TRUE(files.put_list(b, merged("/b", 1)).ok());
  add(image, start("/a"));
  let_time_pass();
  ASSERT_TRUE(files.put_list(c, merged("/c", 1)).ok());
  EXPECT_TRUE(files.image(image.key).has_value());
  EXPECT_FALSE(files.image(b.key).has_value());
  EXPECT_TRUE(files.image(c.key).has_value());
}

TEST_F(TraceFilesTest, FilesThatAreNoProfilesCostALineEach) {
  add(image, start("/good"));
  write(directory_of(image) + "/start-999999999999999-x.profile", "no profile");
  fs::create_directories(directory_of(image) + "/start-999999999999998-x.profile");
  write(directory_of(image) + "/registry.profile", std::string(17 << 20, 'x'));
  EXPECT_EQ(best_of(image), "/good");
  EXPECT_EQ(log_lines(), 3u) << logged();
  EXPECT_THAT(logged(), HasSubstr("start-999999999999999-x.profile"));
  EXPECT_THAT(logged(), HasSubstr("level=warn"));
}

TEST_F(TraceFilesTest, AProfileOfAnotherImageIsPassedOver) {
  Profile foreign = merged("/foreign", 9);
  foreign.layers[1] = digest_of('f');
  ASSERT_TRUE(files.put_pulled(image, foreign).ok());
  EXPECT_EQ(best_of(image), "");
  EXPECT_EQ(log_lines(), 1u) << logged();
  EXPECT_THAT(logged(), HasSubstr(digest_of('f').to_string()));
}

TEST_F(TraceFilesTest, DescriptionsThatLieAreNoImages) {
  write(directory_of(image) + "/image.json",
        R"({"layers":[")" + digest_of('c').to_string() + R"("]})");
  EXPECT_FALSE(files.image(image.key).has_value());
  for (const char* text :
       {"", "{", "[]", "{}", R"({"layers":7})", R"({"layers":["x"]})", R"({"layers":[7]})"}) {
    write(directory_of(image) + "/image.json", text);
    EXPECT_FALSE(files.image(image.key).has_value()) << text;
    EXPECT_THAT(files.list(), IsEmpty()) << text;
  }
}

TEST_F(TraceFilesTest, ContainersNamesStayInTheDirectory) {
  Profile profile = start("/a");
  profile.container = "../../" + std::string(300, 'x') + "\n";
  const fs::path path = add(image, profile);
  EXPECT_EQ(path.parent_path(), directory_of(image));
  EXPECT_EQ(files.starts(image.key), 1u);
}

TEST_F(TraceFilesTest, WhatIsRemovedIsGone) {
  add(image, start("/a"));
  EXPECT_TRUE(files.remove(image.key).ok());
  EXPECT_EQ(best_of(image), "");
  EXPECT_EQ(files.starts(image.key), 0u);
  const auto again = files.remove(image.key);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Errc::kNotFound);
}

// Two replicas that start together end together.
TEST_F(TraceFilesTest, StartsThatEndTogetherAreAllWritten) {
  const TracedImage traced = image_of({digest_of('a')});
  TraceFiles together(dir.path() + "/together", log);
  const auto write = [&](const std::string& container) {
    for (int i = 0; i < 8; ++i) {
      Profile one = start("/a");
      one.container = container + std::to_string(i);
      const auto path = together.add_start(traced, one);
      EXPECT_TRUE(path.ok()) << path.error().to_string();
    }
  };
  std::thread other([&] { write("other"); });
  write("one");
  other.join();
  EXPECT_EQ(together.starts(traced.key), 16u);
}

TEST_F(TraceFilesTest, OfAMovedTagTheImageLastWrittenToComesFirst) {
  const TracedImage one = image_of({digest_of('a')});
  const TracedImage two = image_of({digest_of('b')});
  for (const TracedImage* last : {&one, &two, &one}) {
    add(*last, start("/a"));
    const auto listed = files.list();
    ASSERT_FALSE(listed.empty());
    EXPECT_EQ(listed.front().key, last->key);
  }
}

TEST_F(TraceFilesTest, TheNewestRecordingComesFirstWhateverItsKind) {
  const TracedImage traced = image_of({digest_of('a')});
  add(traced, start("/a"));
  ASSERT_TRUE(files.put_list(traced, start("/b")).ok());
  let_time_pass();
  ASSERT_TRUE(files.add_part(traced, start("/c")).ok());
  const auto all = files.files(traced.key);
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].kind, TraceKind::kPart);
  EXPECT_EQ(all[1].kind, TraceKind::kStart);
  EXPECT_EQ(all[1].container, "c");
  EXPECT_EQ(all[2].kind, TraceKind::kProfile);
}

}  // namespace
}  // namespace dedup::test
