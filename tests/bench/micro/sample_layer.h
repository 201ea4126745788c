// What the microbenchmarks work on: made-up layers, equal in every run. Contents are words of a
// skewed vocabulary and random bytes and deflate about 3:1, as programs and text do; sizes are
// log-normal, as files are. Built once, at the first use.
#pragma once

#include <string>
#include <vector>

#include "unit/format/estargz_maker.h"

namespace dedup::bench {

struct SampleFile {
  std::string name;
  std::string content;
};

// So many bytes; another seed, other bytes.
std::string sample_content(size_t bytes, unsigned seed);
// 2,000 files, median 2 KiB, largest 1 MiB.
const std::vector<SampleFile>& sample_files();
const std::string& sample_tar();  // of sample_files()
const test::EstargzBlob&
many_files_blob();  // 20,000 tiny files in 500 directories: its TOC matters

// The value, or the end of the program: a benchmark has no other way to fail in setup.
template <typename T>
T must(Result<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "micro: %s\n", result.error().to_string().c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace dedup::bench
