// Locations: where the node has seen each blob, and the fallback order between those places. The
// BlobSource the pool reads from: a read goes to the place that served the blob last and, when that
// fails, to the others. Owned by main; loop thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "source/source.h"

namespace dedup {

class Locations final : public BlobSource {
 public:
  // Makes the source of a location (make_registry_source or make_layout_source). Called once per
  // location.
  using MakeSource = std::function<std::unique_ptr<ImageSource>(const Reference&)>;
  explicit Locations(MakeSource make_source) : x_make_source(std::move(make_source)) {}

  // The source of `reference`'s location, made on first use and kept.
  ImageSource& source(const Reference& reference);
  // `blob` can be read at `location` (Reference::location()). Newest first; repeats are fine.
  void add(Digest blob, const Reference& location);

  // errors  those of the last place tried; kNotFound when no place is known.
  Task<Result<Bytes>> read(Digest blob, uint64_t blob_bytes, ByteRange range,
                           Priority priority) override;
  Task<Result<std::unique_ptr<BlobStream>>> open_stream(Digest blob, uint64_t blob_bytes,
                                                        Priority priority) override;

 private:
  std::vector<ImageSource*> places(Digest blob);

  MakeSource x_make_source;
  std::map<std::string, std::unique_ptr<ImageSource>> x_sources;        // by location
  std::unordered_map<Digest, std::vector<ImageSource*>> x_blob_places;  // order of preference
};

}  // namespace dedup
