// How fast a tree can be listed: every entry below DIRECTORY is found by readdir, stat'ed and asked
// for an extended attribute, by each of THREADS threads, which begin in different directories.
// Prints one JSON object; an operation is stat and getxattr of one entry. Not a test.
//   walk_rate DIRECTORY [THREADS]
#include <dirent.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

struct Walk {
  std::vector<std::string> directories;  // found below those visited
  std::vector<double> operation_us;
  bool failed = false;
};

void visit_entry(const std::string& path, Walk& walk) {
  struct stat status {};
  char value[256];
  const auto begin = Clock::now();
  // No such attribute is an answer, too.
  const bool known = ::lstat(path.c_str(), &status) == 0 &&
                     (::lgetxattr(path.c_str(), "security.capability", value, sizeof(value)) >= 0 ||
                      errno == ENODATA || errno == EOPNOTSUPP);
  walk.operation_us.push_back(microseconds(Clock::now() - begin));
  if (!known) walk.failed = true;
  if (S_ISDIR(status.st_mode)) walk.directories.push_back(path);
}

void visit_directory(const std::string& path, Walk& walk) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  if (directory == nullptr) {
    walk.failed = true;
    return;
  }
  while (const dirent* entry = ::readdir(directory.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") visit_entry(path + "/" + name, walk);
  }
}

// `first`: which of the root's directories comes first.
Walk walk_tree(const std::string& root, size_t first) {
  Walk walk;
  visit_directory(root, walk);
  auto& queue = walk.directories;
  if (!queue.empty()) {
    std::rotate(queue.begin(), queue.begin() + static_cast<ptrdiff_t>(first % queue.size()),
                queue.end());
  }
  for (size_t i = 0; i < queue.size(); ++i) visit_directory(std::string(queue[i]), walk);
  return walk;
}

int run(const std::string& root, size_t thread_count) {
  std::vector<Walk> walks(thread_count);
  std::vector<std::thread> threads;
  const auto begin = Clock::now();
  for (size_t i = 0; i < thread_count; ++i)
    threads.emplace_back([&, i] { walks[i] = walk_tree(root, i); });
  for (std::thread& thread : threads) thread.join();
  const double seconds = microseconds(Clock::now() - begin) / 1e6;

  std::vector<double> all;
  for (const Walk& walk : walks) {
    if (walk.failed) {
      std::fprintf(stderr, "walk_rate: an entry below %s cannot be read\n", root.c_str());
      return 1;
    }
    all.insert(all.end(), walk.operation_us.begin(), walk.operation_us.end());
  }
  if (all.empty()) return 1;
  std::sort(all.begin(), all.end());
  std::printf("{\"operations\": %zu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f}\n",
              all.size(), seconds, all[all.size() / 2], all[all.size() * 99 / 100]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  const int threads = argc > 2 ? std::atoi(argv[2]) : 1;
  return threads < 1 ? 64 : run(argv[1], static_cast<size_t>(threads));
}
