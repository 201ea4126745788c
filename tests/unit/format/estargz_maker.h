// EstargzMaker: a small eStargz writer, made from the specification for the tests of the reader:
// one gzip member per chunk, headers trailing in the member before, TOC and footer at the end.
#pragma once

#include <gtest/gtest.h>
#include <zlib.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "base/bytes.h"
#include "base/digest.h"

namespace dedup::test {

inline std::string gzip(std::string_view plain) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, plain.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string tar_header(const std::string& name, uint64_t size, char type,
                              const std::string& link = "") {
  std::string header(512, '\0');
  name.copy(header.data(), 100);
  std::snprintf(&header[100], 8, "%07o", 0644);
  std::snprintf(&header[108], 8, "%07o", 0);
  std::snprintf(&header[116], 8, "%07o", 0);
  std::snprintf(&header[124], 12, "%011llo", static_cast<unsigned long long>(size));
  std::snprintf(&header[136], 12, "%011o", 0);
  header.replace(148, 8, 8, ' ');
  header[156] = type;
  link.copy(&header[157], 100);
  std::string("ustar\00000", 8).copy(&header[257], 8);
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  std::snprintf(&header[148], 8, "%06o", sum);
  return header;
}

inline std::string digest_of(std::string_view text) {
  return sha256(as_bytes(text)).to_string();
}

inline std::string estargz_footer(uint64_t toc_offset) {
  char text[23];
  std::snprintf(text, sizeof(text), "%016llxSTARGZ", static_cast<unsigned long long>(toc_offset));
  return std::string("\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0", 16) + text +
         std::string("\x01\0\0\xff\xff\0\0\0\0\0\0\0\0", 13);
}

struct EstargzBlob {
  std::string blob;
  std::string toc;  // JSON
  uint64_t toc_offset = 0;
};

class EstargzMaker {
 public:
  // chunk_bytes: largest chunk. packed_bytes: chunks share a gzip member until it holds that many
  // bytes.
  explicit EstargzMaker(uint64_t chunk_bytes, uint64_t packed_bytes = 0)
      : x_chunk_bytes(chunk_bytes), x_packed_bytes(packed_bytes) {}

  void other(const std::string& name, const std::string& type, char tar_type,
             const std::string& link = "") {
    x_plain += tar_header(name, 0, tar_type, link);
    nlohmann::json entry = {
        {"name", name}, {"type", type}, {"mode", 0755}, {"modtime", "2022-01-02T03:04:05Z"}};
    if (!link.empty()) entry["linkName"] = link;
    x_entries.push_back(entry);
  }

  void file(const std::string& name, const std::string& content) {
    x_plain += tar_header(name, content.size(), '0');
    nlohmann::json entry = {
        {"name", name}, {"type", "reg"}, {"mode", 0644}, {"size", content.size()}};
    if (!content.empty()) entry["digest"] = digest_of(content);
    for (uint64_t at = 0; at < content.size(); at += x_chunk_bytes) {
      const std::string chunk = content.substr(at, x_chunk_bytes);
      if (!x_in_payload || x_plain.size() >= x_packed_bytes) end_member();
      entry["offset"] = x_blob.size();
      if (x_plain.size() != 0) entry["innerOffset"] = x_plain.size();
      if (at != 0) entry["chunkOffset"] = at;
      if (at + chunk.size() < content.size()) entry["chunkSize"] = chunk.size();
      entry["chunkDigest"] = digest_of(chunk);
      x_entries.push_back(entry);
      x_plain += chunk;
      x_in_payload = true;
      entry = {{"name", name}, {"type", "chunk"}};
    }
    if (content.empty()) x_entries.push_back(entry);
    x_plain.resize(x_plain.size() + (512 - content.size() % 512) % 512);
  }

  EstargzBlob finish() {
    end_member();
    EstargzBlob made;
    made.toc = nlohmann::json{{"version", 1}, {"entries", x_entries}}.dump(1, '\t');
    made.toc_offset = x_blob.size();
    std::string plain = tar_header("stargz.index.json", made.toc.size(), '0') + made.toc;
    plain.resize(plain.size() + (512 - made.toc.size() % 512) % 512 + 1024);
    made.blob = x_blob + gzip(plain) + estargz_footer(made.toc_offset);
    return made;
  }

 private:
  void end_member() {
    if (!x_plain.empty()) x_blob += gzip(x_plain);
    x_plain.clear();
    x_in_payload = false;
  }

  uint64_t x_chunk_bytes;
  uint64_t x_packed_bytes;
  std::string x_blob;
  std::string x_plain;        // of the member being filled
  bool x_in_payload = false;  // the member began with a chunk
  nlohmann::json x_entries = nlohmann::json::array();
};

}  // namespace dedup::test
