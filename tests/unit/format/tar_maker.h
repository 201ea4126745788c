// TarMaker: tar bytes block by block, right or deliberately wrong. EntryRecorder: what TarReader
// said, one record per entry. For tests of everything that reads tar.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_range.h"
#include "base/bytes.h"
#include "format/tar_reader.h"

namespace dedup::test {

// One header block; fields are raw text, so that hostile values can be written.
struct RawHeader {
  std::string name = "file";
  char type = '0';
  std::string link = {};
  std::string mode = "0000644";
  std::string uid = "0000000";
  std::string gid = "0000000";
  std::string size = "00000000000";
  std::string mtime = "00000000000";
  std::string magic = std::string("ustar\0", 6) + "00";
  std::string major = {};
  std::string minor = {};
  std::string prefix = {};
  int checksum_error = 0;

  RawHeader& sized(uint64_t bytes) {
    char text[13];
    std::snprintf(text, sizeof(text), "%011llo", static_cast<unsigned long long>(bytes));
    size = text;
    return *this;
  }

  std::string block() const {
    std::string out(512, '\0');
    const auto put = [&out](size_t at, size_t room, const std::string& text) {
      out.replace(at, std::min(room, text.size()), text, 0, room);
    };
    put(0, 100, name);
    put(100, 8, mode);
    put(108, 8, uid);
    put(116, 8, gid);
    put(124, 12, size);
    put(136, 12, mtime);
    out[156] = type;
    put(157, 100, link);
    put(257, 8, magic);
    put(329, 8, major);
    put(337, 8, minor);
    put(345, 167, prefix);
    seal(out, checksum_error);
    return out;
  }

  static void seal(std::string& block, int error = 0) {
    block.replace(148, 8, 8, ' ');
    int sum = error;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    char text[9];
    std::snprintf(text, sizeof(text), "%06o%c ", static_cast<unsigned>(sum) & 0777777u, '\0');
    block.replace(148, 8, text, 8);
  }
};

inline std::string padded(std::string_view data) {
  std::string out(data);
  out.resize((out.size() + 511) / 512 * 512);
  return out;
}

inline std::string pax_record(std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) ++length;
  return std::to_string(length) + " " + std::string(key) + "=" + std::string(value) + "\n";
}

class TarMaker {
 public:
  TarMaker& raw(std::string_view bytes) {
    x_bytes += bytes;
    return *this;
  }
  // The header gets the size of `data` unless it has one of its own.
  TarMaker& add(RawHeader header, std::string_view data = {}) {
    if (header.size == RawHeader().size) header.sized(data.size());
    return raw(header.block()).raw(padded(data));
  }
  TarMaker& file(const std::string& name, std::string_view data) {
    return add({.name = name}, data);
  }
  TarMaker& pax(const std::string& records, char type = 'x') {
    return add({.name = "pax", .type = type}, records);
  }
  TarMaker& end() { return raw(std::string(1024, '\0')); }
  const std::string& bytes() const { return x_bytes; }

 private:
  std::string x_bytes;
};

struct RecordedEntry {
  Entry entry;
  std::string content;  // with holes as zeros
  std::vector<ByteRange> delivered;
  bool ended = false;
};

class EntryRecorder final : public TarSink {
 public:
  std::vector<RecordedEntry> entries;

  Result<void> on_entry(const Entry& entry) override {
    EXPECT_TRUE(entries.empty() || entries.back().ended);
    entries.push_back({entry, "", {}, false});
    if (entry.size <= kMaxContent) entries.back().content.resize(entry.size);
    return {};
  }
  Result<void> on_data(uint64_t file_offset, std::span<const std::byte> bytes) override {
    RecordedEntry& last = entries.back();
    EXPECT_FALSE(bytes.empty());
    EXPECT_LE(file_offset + bytes.size(), last.entry.size);
    if (last.entry.size <= kMaxContent) {
      last.content.replace(file_offset, bytes.size(), as_text(bytes));
    }
    if (!last.delivered.empty() && last.delivered.back().end() == file_offset) {
      last.delivered.back().length += bytes.size();
    } else {
      EXPECT_TRUE(last.delivered.empty() || last.delivered.back().end() < file_offset);
      last.delivered.push_back({file_offset, bytes.size()});
    }
    return {};
  }
  Result<void> on_entry_end() override {
    entries.back().ended = true;
    return {};
  }

 private:
  static constexpr uint64_t kMaxContent = 256u << 20;
};

}  // namespace dedup::test
