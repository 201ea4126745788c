// ErofsImageFile: a tree written to a file by write_erofs, with what the tools and the kernel need
// to open it. For the EROFS writer tests.
#pragma once

#include <array>
#include <cstdio>
#include <string>

#include "base/bytes.h"
#include "format/erofs_writer.h"
#include "unit/format/tree_maker.h"

namespace dedup::test {

inline ErofsOptions erofs_options(const SegmentSet& segments) {
  ErofsOptions options;
  options.uuid.fill(std::byte{0x5a});
  options.build_seconds = 1'700'000'000;
  options.segment_bytes = [&segments](uint32_t segment) { return segments.bytes(segment); };
  return options;
}

struct ErofsImageFile {
  std::string path;
  ErofsImage image;
  Bytes bytes;
};

// Writes the image and checks what every image must have: no gap, whole blocks, the size reported.
inline Result<ErofsImageFile> write_image(const ImageTree& tree, const ErofsOptions& options,
                                          const TempDir& dir, const std::string& name = "image") {
  ErofsImageFile file;
  file.path = dir.path() + "/" + name;
  TRY(image, write_erofs(tree, options, [&](std::span<const std::byte> piece) -> Result<void> {
        file.bytes.insert(file.bytes.end(), piece.begin(), piece.end());
        return {};
      }));
  EXPECT_EQ(image.bytes, file.bytes.size());
  EXPECT_EQ(image.bytes % 4096, 0u);
  EXPECT_EQ(image.node_nid.size(), tree.nodes.size());
  const UniqueFd out(::open(file.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  EXPECT_EQ(::write(out.get(), file.bytes.data(), file.bytes.size()),
            static_cast<ssize_t>(file.bytes.size()));
  file.image = std::move(image);
  return file;
}

struct CommandResult {
  int status = -1;  // exit status, 127 when the program is missing
  std::string output;
};

inline CommandResult run_command(const std::string& command) {
  CommandResult result;
  std::FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> buffer{};
  for (size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
    result.output.append(buffer.data(), got);
  }
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) result.status = WEXITSTATUS(status);
  return result;
}

inline std::string device_arguments(const ErofsImageFile& file, const SegmentSet& segments) {
  std::string text;
  for (const uint32_t segment : file.image.devices) text += " --device=" + segments.path(segment);
  return text;
}

}  // namespace dedup::test
