#include "bench/micro/sample_layer.h"

#include <algorithm>
#include <random>

#include "unit/format/tar_maker.h"

namespace dedup::bench {
namespace {

// 64 KiB and more of such text at a time: what is longer than deflate's window repeats nothing.
std::vector<std::string> vocabulary() {
  std::mt19937 random(1);
  std::vector<std::string> words(4096);
  for (std::string& word : words) {
    word.resize(2 + random() % 9);
    for (char& letter : word) letter = static_cast<char>('a' + random() % 26);
  }
  return words;
}

std::string directory_name(unsigned number) {
  return "usr/lib/package-" + std::to_string(number);
}

}  // namespace

std::string sample_content(size_t bytes, unsigned seed) {
  static const std::vector<std::string> words = vocabulary();
  std::mt19937 random(seed);
  std::exponential_distribution<double> rank(8);
  std::string content;
  content.reserve(bytes + 16);
  while (content.size() < bytes) {
    const auto at = static_cast<size_t>(rank(random) * double(words.size()));
    content += words[std::min(at, words.size() - 1)];
    content += random() % 8 == 0 ? static_cast<char>(random()) : ' ';
  }
  content.resize(bytes);
  return content;
}

const std::vector<SampleFile>& sample_files() {
  static const std::vector<SampleFile> made = [] {
    std::mt19937 random(2);
    std::lognormal_distribution<double> size(7.6, 1.8);
    std::vector<SampleFile> files;
    for (unsigned i = 0; i < 2000; ++i) {
      const auto bytes = std::min<size_t>(static_cast<size_t>(size(random)), 1u << 20);
      files.push_back(
          {directory_name(i / 40) + "/file-" + std::to_string(i), sample_content(bytes, i)});
    }
    return files;
  }();
  return made;
}

const std::string& sample_tar() {
  static const std::string made = [] {
    test::TarMaker tar;
    for (const SampleFile& file : sample_files()) tar.file(file.name, file.content);
    return tar.end().bytes();
  }();
  return made;
}

const test::EstargzBlob& many_files_blob() {
  static const test::EstargzBlob made = [] {
    // Many files in one member: making it takes little time.
    test::EstargzMaker maker(kDefaultChunkBytes, 1u << 20);
    for (unsigned i = 0; i < 20000; ++i) {
      if (i % 40 == 0) maker.other(directory_name(i / 40) + "/", "dir", '5');
      maker.file(directory_name(i / 40) + "/module-" + std::to_string(i) + ".py",
                 "content " + std::to_string(i));
    }
    return maker.finish();
  }();
  return made;
}

}  // namespace dedup::bench
