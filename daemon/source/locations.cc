#include "source/locations.h"

#include <algorithm>

namespace dedup {

ImageSource& Locations::source(const Reference& reference) {
  auto& place = x_sources[reference.location()];
  if (place == nullptr) place = x_make_source(reference);
  return *place;
}

void Locations::add(Digest blob, const Reference& location) {
  ImageSource* place = &source(location);
  auto& known = x_blob_places[blob];
  std::erase(known, place);
  known.insert(known.begin(), place);
}

std::vector<ImageSource*> Locations::places(Digest blob) {
  const auto found = x_blob_places.find(blob);
  return found == x_blob_places.end() ? std::vector<ImageSource*>() : found->second;
}

Task<Result<Bytes>> Locations::read(Digest blob, uint64_t blob_bytes, ByteRange range,
                                    Priority priority) {
  Error last = make_error(Errc::kNotFound, "no registry is known for blob " + blob.to_string());
  for (ImageSource* place : places(blob)) {
    auto bytes = co_await place->read(blob, blob_bytes, range, priority);
    if (bytes.ok()) co_return bytes;
    last = std::move(bytes).error();
  }
  co_return last;
}

Task<Result<std::unique_ptr<BlobStream>>> Locations::open_stream(Digest blob, uint64_t blob_bytes,
                                                                 Priority priority) {
  Error last = make_error(Errc::kNotFound, "no registry is known for blob " + blob.to_string());
  for (ImageSource* place : places(blob)) {
    auto stream = co_await place->open_stream(blob, blob_bytes, priority);
    if (stream.ok()) co_return stream;
    last = std::move(stream).error();
  }
  co_return last;
}

}  // namespace dedup
