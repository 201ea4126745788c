// What deduplication could save over versions of one image, by files, by fixed-size chunks and by
// 4 KiB blocks, exactly: every distinct piece is known by its SHA-256. Reads the layers with
// libarchive, not with the daemon's own reader.
//   dedup_oracle VERSION...     VERSION: folder of scripts/demo-image.sh: plain/ and estargz/
// Prints a JSON array: after each version, for each method, what is kept of this and all versions
// before: bytes; disk_bytes, each piece in 4 KiB blocks of its own; wire_bytes, compressed, where
// the method has such. A file of any layer counts, also one that a later layer replaces. Not a
// test.
//   none      every image has files of its own        layer   distinct layers, as overlayfs keeps
//   file      distinct contents of files              N KiB   distinct chunks, cut from a file's
//   start estargz   distinct chunks of the eStargz layers: what is new on the wire for them
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "base/digest.h"
#include "format/estargz.h"
#include "pool/files.h"

namespace dedup {
namespace {

using nlohmann::json;

constexpr uint64_t kBlockBytes = 4096;
// A multiple of every chunk size: files are read in such pieces, each cut by itself.
constexpr size_t kPieceBytes = 4u << 20;

struct Method {
  std::string name;
  size_t chunk_bytes = 0;  // 0: not a method of chunks
  std::unordered_set<Digest> known = {};
  uint64_t bytes = 0;
  uint64_t disk_bytes = 0;
  uint64_t wire_bytes = 0;

  void keep(uint64_t more_bytes) {
    bytes += more_bytes;
    disk_bytes += (more_bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
  }
  void keep_once(Digest digest, uint64_t more_bytes) {
    if (known.insert(digest).second) keep(more_bytes);
  }
};

json parse_file(const std::string& path) {
  std::ifstream file(path);
  return json::parse(file, nullptr, false);
}

std::string blob_path(const std::string& layout, const std::string& digest) {
  return layout + "/blobs/sha256/" + digest.substr(digest.find(':') + 1);
}

struct StoredLayer {
  std::string path;
  Digest digest;
  uint64_t bytes = 0;
};

Result<std::vector<StoredLayer>> layers_of(const std::string& layout) {
  const json index = parse_file(layout + "/index.json");
  if (index.is_discarded()) return make_error(Errc::kInvalid, layout + " is no OCI layout");
  const json manifest = parse_file(blob_path(layout, index.at("manifests").at(0).at("digest")));
  if (manifest.is_discarded()) return make_error(Errc::kInvalid, layout + " has no manifest");
  std::vector<StoredLayer> layers;
  for (const json& layer : manifest.at("layers")) {
    const std::string digest = layer.at("digest");
    TRY(parsed, Digest::parse(digest));
    layers.push_back({blob_path(layout, digest), parsed, layer.at("size")});
  }
  return layers;
}

class Oracle {
 public:
  Oracle() {
    for (const char* name : {"none", "layer", "file", "estargz"}) x_methods.push_back({name});
    for (const size_t kib : {4, 64, 1024, 4096})
      x_methods.push_back({std::to_string(kib) + " KiB", kib << 10});
  }

  Result<void> add(const std::string& version) {
    TRY(plain, layers_of(version + "/plain"));
    for (const StoredLayer& layer : plain) {
      x_layer_is_new = x_layers.insert(layer.digest).second;
      if (x_layer_is_new) of("layer").wire_bytes += layer.bytes;
      of("none").wire_bytes += layer.bytes;
      TRY(read_tar(layer));
    }
    TRY(lazy, layers_of(version + "/estargz"));
    for (const StoredLayer& layer : lazy) TRY(read_toc(layer));
    return {};
  }

  json kept() const {
    json rows = json::array();
    for (const Method& method : x_methods)
      rows.push_back({{"method", method.name},
                      {"bytes", method.bytes},
                      {"disk_bytes", method.disk_bytes},
                      {"wire_bytes", method.wire_bytes > 0 ? json(method.wire_bytes) : json()}});
    return rows;
  }

 private:
  Method& of(std::string_view name) {
    return *std::find_if(x_methods.begin(), x_methods.end(),
                         [&](const Method& method) { return method.name == name; });
  }

  Result<void> read_tar(const StoredLayer& layer) {
    const std::unique_ptr<archive, decltype(&archive_read_free)> reader(archive_read_new(),
                                                                        archive_read_free);
    archive_read_support_filter_all(reader.get());
    archive_read_support_format_tar(reader.get());
    int status = archive_read_open_filename(reader.get(), layer.path.c_str(), 1 << 20);
    archive_entry* entry = nullptr;
    while (status == ARCHIVE_OK &&
           (status = archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK) {
      if (archive_entry_filetype(entry) == AE_IFREG && archive_entry_hardlink(entry) == nullptr)
        status = read_file(reader.get());
    }
    if (status == ARCHIVE_EOF) return {};
    return make_error(Errc::kCorruption, layer.path + ": " + archive_error_string(reader.get()));
  }

  // Status of libarchive.
  int read_file(archive* reader) {
    uint64_t file_bytes = 0;
    for (;;) {
      size_t filled = 0;
      while (filled < x_piece.size()) {
        const la_ssize_t got = archive_read_data(reader, &x_piece[filled], x_piece.size() - filled);
        if (got < 0) return static_cast<int>(got);
        if (got == 0) break;
        filled += static_cast<size_t>(got);
      }
      add_piece(std::span(x_piece).first(filled));
      file_bytes += filled;
      if (filled < x_piece.size()) break;
    }
    const Digest digest = x_file_digest.finish();
    if (file_bytes == 0) return ARCHIVE_OK;
    of("none").keep(file_bytes);
    if (x_layer_is_new) of("layer").keep(file_bytes);
    of("file").keep_once(digest, file_bytes);
    return ARCHIVE_OK;
  }

  void add_piece(std::span<const std::byte> piece) {
    x_file_digest.update(piece);
    for (Method& method : x_methods) {
      if (method.chunk_bytes == 0) continue;
      for (size_t at = 0; at < piece.size(); at += method.chunk_bytes) {
        const auto chunk = piece.subspan(at, std::min(method.chunk_bytes, piece.size() - at));
        method.keep_once(sha256(chunk), chunk.size());
      }
    }
  }

  Result<void> read_toc(const StoredLayer& layer) {
    TRY(fd, open_file(layer.path, O_RDONLY));
    Bytes blob(layer.bytes);
    TRY(read_exactly(fd.get(), blob, 0, layer.path));
    TRY(footer, parse_estargz_footer(blob, blob.size()));
    if (!footer) return make_error(Errc::kInvalid, layer.path + " is no eStargz layer");
    const auto stored = std::span<const std::byte>(blob).subspan(
        footer->toc_offset, blob.size() - footer->footer_bytes - footer->toc_offset);
    TRY(toc, extract_estargz_toc(stored, std::nullopt, {}));
    TRY(parsed, parse_estargz_toc(toc, *footer, kDefaultChunkBytes, {}));
    Method& method = of("estargz");
    for (const Chunk& chunk : parsed.index.chunks) {
      if (!method.known.insert(chunk.digest).second) continue;
      method.keep(chunk.bytes);
      method.wire_bytes += chunk.blob_bytes;
    }
    return {};
  }

  std::vector<Method> x_methods;
  std::unordered_set<Digest> x_layers;
  bool x_layer_is_new = false;
  Sha256 x_file_digest;  // of the file that is being read
  Bytes x_piece = Bytes(kPieceBytes);
};

Result<json> run(std::span<char*> versions) {
  Oracle oracle;
  json steps = json::array();
  for (const char* version : versions) {
    TRY(oracle.add(version));
    steps.push_back(oracle.kept());
  }
  return steps;
}

}  // namespace
}  // namespace dedup

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  std::setlocale(LC_ALL, "C.UTF-8");  // libarchive converts names
  const auto steps = dedup::run(std::span(argv + 1, argv + argc));
  if (steps.ok()) std::puts(steps->dump().c_str());
  if (!steps.ok()) std::fprintf(stderr, "dedup_oracle: %s\n", steps.error().to_string().c_str());
  return steps.ok() ? 0 : 1;
}
