// Lists of referrers and manifests of artifacts on any text: an index that takes an entry has it
// afterwards, and lost none of those it is no replacement of. The first byte chooses the reader.
#include <algorithm>
#include <cstdlib>

#include "source/artifact.h"

namespace {

using namespace dedup;

void require(bool condition) {
  if (!condition) std::abort();
}

Referrer ours() {
  Referrer entry{sha256(as_bytes("subject")), "application/ours", {}};
  entry.manifest.digest = sha256(as_bytes("manifest"));
  entry.manifest.size = 8;
  return entry;
}

void check_index(std::string_view text) {
  const Referrer entry = ours();
  const auto before = parse_referrers(text, entry.subject, "application/foreign");
  const auto written = add_referrer(text, entry);
  if (!written.ok()) return;
  require(is_listed(*written, entry));
  const auto after = parse_referrers(*written, entry.subject, "application/foreign");
  require(after.ok());
  const auto is_ours = [&](const Referrer& found) {
    return found.manifest.digest == entry.manifest.digest;
  };
  require(text.empty() || before.ok());
  if (before.ok()) {
    const auto kept = std::count_if(before->begin(), before->end(), std::not_fn(is_ours));
    require(static_cast<size_t>(kept) == after->size());
  }
  auto found = parse_referrers(*written, entry.subject, entry.artifact_type);
  require(found.ok() && std::count_if(found->begin(), found->end(), is_ours) == 1);
  keep_newest(*found);
  require(*add_referrer(*written, entry) == *written);
}

void check_manifest(std::string_view text) {
  const auto layer = artifact_layer(text, ours(), "text/plain", 1000);
  if (layer.ok()) require(layer->size <= 1000 && check_refers(text, ours()).ok());
  (void)describe_manifest(as_bytes(text), "");
}

void check_time(std::string_view text) {
  const auto time = parse_time(std::string(text));
  // Zones may push the edges out of the years that are read.
  if (!time || *time < WallTime(std::chrono::days(1))) return;
  const auto again = parse_time(format_time(*time));
  require(!again || *again == *time);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text = as_text(std::as_bytes(std::span(data + 1, size - 1)));
  switch (data[0] % 3) {
    case 0:
      check_index(text);
      break;
    case 1:
      check_manifest(text);
      break;
    default:
      check_time(text);
      break;
  }
  return 0;
}
