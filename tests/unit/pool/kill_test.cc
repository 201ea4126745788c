// A pool that is killed at any moment is whole when it opens again: nothing it calls present is
// wrong, nothing is left over.
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "unit/pool/pool_rig.h"

namespace dedup::test {
namespace {

// Layer `number` shares half of its files with its neighbours.
std::vector<NamedFile> files_of(unsigned number) {
  std::vector<NamedFile> files;
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned seed = number * 4 + i;
    files.emplace_back("f" + std::to_string(i), noise(seed, 3000 + 997 * (seed % 7)));
  }
  return files;
}

std::string name_of(unsigned number) {
  return "layer " + std::to_string(number);
}

// Adds and removes layers until it is killed. Never returns.
[[noreturn]] void churn(const std::string& directory, unsigned first) {
  PoolRig rig;
  rig.options.directory = directory;
  rig.open();
  for (unsigned i = first;; ++i) {
    const unsigned number = i % 12;
    if (i % 3 == 2) {
      auto freed = rig.loop.run(rig.pool->remove_layer(sha256(as_bytes(name_of(number)))));
      if (!freed.ok()) ::_exit(3);
    }
    auto added = rig.stream(files_of(number), PoolRig::record_of(name_of(number)));
    if (!added.ok() && added.error().code != Errc::kExists) ::_exit(4);
    LazyLayer lazy = LazyLayer::make(files_of(number + 1));
    auto record = rig.add(lazy);
    if (record.ok() && record->segment != kZeroSegment) {
      auto fetched = rig.ensure(record->segment, {0, 1u << 20});
      if (!fetched.ok()) ::_exit(5);
      auto flushed = rig.loop.run(rig.pool->flush());
      if (!flushed.ok()) ::_exit(6);
    }
  }
}

// seen_layers grows by the number of layers found.
void expect_whole(const std::string& directory, unsigned round, size_t& seen_layers) {
  PoolRig rig;
  rig.options.directory = directory;
  rig.open();
  ASSERT_NE(rig.pool, nullptr);
  EXPECT_TRUE(rig.check().bad.empty()) << "round " << round;
  EXPECT_TRUE(rig.pool->catalog().dead_slots()->empty());
  const auto layers = *rig.pool->catalog().layers();
  seen_layers += layers.size();
  EXPECT_EQ(PoolRig::names_in(rig.layers()).size(), layers.size());
  EXPECT_EQ(PoolRig::names_in(rig.segments()).size(),
            1 + 3 * rig.pool->catalog().segments()->size());
  for (unsigned number = 0; number < 12; ++number) {
    const Digest digest = sha256(as_bytes(name_of(number)));
    if (!rig.pool->catalog().layer(digest)->has_value()) continue;
    for (const auto& [path, content] : files_of(number)) {
      const auto seen = rig.read_file(digest, path);
      // Shared with a lazy layer a piece may be missing; it is never another's bytes.
      EXPECT_TRUE(!seen || *seen == content)
          << "round " << round << " layer " << number << " " << path;
    }
  }
}

TEST(PoolKill, AtAnyMomentLeavesAWholePool) {
  const TempDir dir;
  std::mt19937 random(7);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  unsigned rounds = 0;
  size_t seen_layers = 0;
  for (; rounds < 50 && std::chrono::steady_clock::now() < end; ++rounds) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) churn(dir / "pool", rounds * 5);
    ::usleep(static_cast<useconds_t>(5'000 + random() % 250'000));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended with " << WEXITSTATUS(status);
    expect_whole(dir / "pool", rounds, seen_layers);
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_GE(rounds, 5U);
  EXPECT_GT(seen_layers, rounds) << "killed too early to have done anything";
  RecordProperty("rounds", static_cast<int>(rounds));
}

}  // namespace
}  // namespace dedup::test
