#include <random>

#include "kernel/storm_board.h"

namespace dedup::test {
namespace {

constexpr uint64_t kPage = 4096;

class StormReader {
 public:
  StormReader(const std::string& directory, size_t index)
      : x_board(StormBoard::in(directory)),
        x_self(x_board.readers[index]),
        x_random(static_cast<uint32_t>(index) * 7919 + static_cast<uint32_t>(getpid())) {
    for (const auto& file : storm_files()) {
      const std::string path = directory + "/mnt/" + file.name;
      x_files.push_back({file, UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC))});
      // Odd readers ask page by page, even ones through readahead.
      if (index % 2 == 1) posix_fadvise(x_files.back().fd.get(), 0, 0, POSIX_FADV_RANDOM);
    }
  }

  void run() {
    while (!x_board.readers_stop) {
      const Open& file = x_files[x_random() % x_files.size()];
      const uint64_t pages = 1 + x_random() % 32;
      const uint64_t offset = x_random() % (file.file.bytes / kPage - pages) * kPage;
      if (x_random() % 4 == 0) {
        check_mapped(file, offset, pages * kPage);
      } else {
        check_read(file, offset, pages * kPage);
      }
      posix_fadvise(file.fd.get(), static_cast<off_t>(offset), static_cast<off_t>(pages * kPage),
                    POSIX_FADV_DONTNEED);
      ++x_self.reads;
    }
  }

 private:
  struct Open {
    LazyFile file;
    UniqueFd fd;
  };

  void check_read(const Open& file, uint64_t offset, size_t bytes) {
    x_buffer.resize(bytes);
    for (size_t done = 0; done < bytes;) {
      const ssize_t got = pread(file.fd.get(), x_buffer.data() + done, bytes - done,
                                static_cast<off_t>(offset + done));
      if (got <= 0) {
        ++x_self.failed;
        return;
      }
      done += static_cast<size_t>(got);
    }
    compare(file, offset, x_buffer);
  }

  // A failed fault is SIGBUS: the process dies, which the storm counts as a failed read.
  void check_mapped(const Open& file, uint64_t offset, size_t bytes) {
    void* memory =
        mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.fd.get(), static_cast<off_t>(offset));
    if (memory == MAP_FAILED) {
      ++x_self.failed;
      return;
    }
    compare(file, offset, {static_cast<const std::byte*>(memory), bytes});
    munmap(memory, bytes);
  }

  void compare(const Open& file, uint64_t offset, std::span<const std::byte> bytes) {
    if (first_wrong(file.file.segment, offset, bytes) != bytes.size()) ++x_self.wrong;
  }

  StormBoard& x_board;
  StormBoard::Reader& x_self;
  std::mt19937 x_random;
  std::vector<Open> x_files;
  std::vector<std::byte> x_buffer;
};

}  // namespace

void run_storm_reader(const std::string& directory, size_t index) {
  StormReader(directory, index).run();
}

}  // namespace dedup::test
