#include "source/artifact.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <set>

#include "source/manifest_json.h"

namespace dedup {

using namespace manifest_json;
using std::chrono::microseconds;

namespace {

constexpr int kMaxNesting = 64;  // dump() and copies go down by recursion

bool nests_deeper_than(std::string_view text, int limit) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > limit) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

// "Z", "+01:30", "-05:00": how far ahead of UTC.
std::optional<std::chrono::minutes> parse_zone(std::string_view text) {
  if (text == "Z" || text == "z") return std::chrono::minutes(0);
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') {
    return std::nullopt;
  }
  int digits[4] = {};
  for (size_t i = 0; i < 4; ++i) {
    digits[i] = text[i < 2 ? i + 1 : i + 2] - '0';
    if (digits[i] < 0 || digits[i] > 9) return std::nullopt;
  }
  const std::chrono::minutes offset((digits[0] * 10 + digits[1]) * 60 + digits[2] * 10 + digits[3]);
  return text[0] == '-' ? -offset : offset;
}

// "": absent or no text.
std::string text_in(const json& object, const char* name) {
  const json* value = object.is_object() ? member(object, name) : nullptr;
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

std::string annotation_in(const json& item, const char* name) {
  const json* annotations = item.is_object() ? member(item, "annotations") : nullptr;
  return annotations == nullptr ? "" : text_in(*annotations, name);
}

std::string annotation_of(const Referrer& referrer, const char* name) {
  const auto found = referrer.manifest.annotations.find(name);
  return found == referrer.manifest.annotations.end() ? "" : found->second;
}

// The index and that it has a list of bearable length; its entries are not looked at.
Result<json> parse_index(std::string_view text) {
  if (nests_deeper_than(text, kMaxNesting)) return bad("list of referrers", "is nested too deep");
  TRY(document, parse_object(text, "list of referrers"));
  TRY(type, media_type_of(document, kOciIndex));
  if (type != kOciIndex) return bad("list of referrers", "is no OCI image index");
  const json* list = member(document, "manifests");
  if (list == nullptr || !list->is_array()) return bad("manifests", "is not a list");
  if (list->size() > kMaxIndexEntries) {
    return bad("manifests", "has more than " + std::to_string(kMaxIndexEntries) + " entries");
  }
  return document;
}

json json_of(const Descriptor& descriptor) {
  return {{"mediaType", descriptor.media_type},
          {"digest", descriptor.digest.to_string()},
          {"size", descriptor.size}};
}

json json_of(const Referrer& referrer) {
  json item = json_of(referrer.manifest);
  item["artifactType"] = referrer.artifact_type;
  item["annotations"] = referrer.manifest.annotations;
  return item;
}

// Texts that are not UTF-8 are made so instead of throwing.
std::string written(const json& document) {
  return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

bool has_digest_of(const json& item, const Referrer& entry) {
  return text_in(item, "digest") == entry.manifest.digest.to_string();
}

// Compared as written: what was not UTF-8 is not in the index as it was.
bool stands_in_place_of(const json& item, const Referrer& entry) {
  return text_in(item, "artifactType") == entry.artifact_type &&
         written(annotation_in(item, kEntrypointAnnotation)) ==
             written(annotation_of(entry, kEntrypointAnnotation));
}

Result<void> check_document(const json& manifest, const Referrer& referrer) {
  TRY(type, media_type_of(manifest, kOciManifest));
  if (type != kOciManifest) return bad("artifact manifest", "is no OCI image manifest");
  TRY(artifact_type, text_of(manifest, "artifactType", ""));
  const json* config = member(manifest, "config");
  // image-spec: without an artifactType, the config's media type is it.
  if (artifact_type.empty() && config != nullptr) artifact_type = text_in(*config, "mediaType");
  if (artifact_type != referrer.artifact_type) {
    return bad("artifactType", "is not the listed " + referrer.artifact_type);
  }
  const json* subject = member(manifest, "subject");
  if (subject == nullptr) return bad("subject", "is missing");
  TRY(refers_to, descriptor_of(*subject, "subject"));
  if (refers_to.digest != referrer.subject) {
    return bad("subject", "is another manifest than " + referrer.subject.to_string());
  }
  return {};
}

Descriptor described(std::string_view media_type, std::span<const std::byte> bytes) {
  Descriptor descriptor;
  descriptor.media_type = media_type;
  descriptor.digest = sha256(bytes);
  descriptor.size = bytes.size();
  return descriptor;
}

}  // namespace

std::string format_time(WallTime time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const std::time_t whole = seconds.time_since_epoch().count();
  std::tm parts{};
  gmtime_r(&whole, &parts);
  char day[32];
  std::strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &parts);
  char text[48];
  std::snprintf(text, sizeof(text), "%s.%06dZ", day, static_cast<int>((time - seconds).count()));
  return text;
}

std::optional<WallTime> parse_time(const std::string& text) {
  std::tm parts{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr || parts.tm_year < 70 || parts.tm_year > 8099) return std::nullopt;
  WallTime time{std::chrono::seconds(::timegm(&parts))};
  if (*rest == '.') {
    int64_t unit = 100'000;
    for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) {
      time += microseconds((*rest - '0') * unit);
    }
  }
  const auto zone = parse_zone(rest);
  return zone ? std::optional(time - *zone) : std::nullopt;
}

Result<std::vector<Referrer>> parse_referrers(std::string_view index_json, const Digest& subject,
                                              const std::string& artifact_type) {
  TRY(document, parse_index(index_json));
  std::vector<Referrer> referrers;
  for (const json& item : *member(document, "manifests")) {
    if (text_in(item, "artifactType") != artifact_type) continue;
    auto manifest = descriptor_of(item, "manifests");
    if (manifest.ok()) referrers.push_back({subject, artifact_type, std::move(*manifest)});
  }
  return referrers;
}

void keep_newest(std::vector<Referrer>& referrers) {
  const auto date = [](const Referrer& referrer) {
    return parse_time(annotation_of(referrer, kCreatedAnnotation));
  };
  // nullopt is less than every date.
  std::stable_sort(referrers.begin(), referrers.end(),
                   [&](const Referrer& a, const Referrer& b) { return date(a) > date(b); });
  std::set<Digest> seen;
  std::erase_if(referrers, [&](const Referrer& referrer) {
    return !seen.insert(referrer.manifest.digest).second;
  });
  if (referrers.size() > kMaxReferrers) referrers.resize(kMaxReferrers);
}

Result<void> check_refers(std::string_view manifest_json, const Referrer& referrer) {
  TRY(document, parse_object(manifest_json, "artifact manifest"));
  return check_document(document, referrer);
}

Result<Descriptor> artifact_layer(std::string_view manifest_json, const Referrer& referrer,
                                  const std::string& media_type, uint64_t max_bytes) {
  TRY(document, parse_object(manifest_json, "artifact manifest"));
  TRY(check_document(document, referrer));
  TRY(layers, descriptors_of(document, "layers", 1));
  if (layers.size() != 1) return bad("layers", "is empty");
  if (layers[0].media_type != media_type) {
    return bad("layers[0].mediaType", "is not " + media_type);
  }
  if (layers[0].size > max_bytes) {
    return bad("layers[0].size", "is " + std::to_string(layers[0].size) + " bytes, more than the " +
                                     std::to_string(max_bytes) + " allowed");
  }
  return std::move(layers[0]);
}

Result<Descriptor> describe_manifest(std::span<const std::byte> bytes,
                                     std::string_view content_type) {
  TRY(document, parse_object(as_text(bytes), "manifest"));
  TRY(type, media_type_of(document, content_type));
  return described(type, bytes);
}

std::string artifact_manifest(const Artifact& artifact, const Descriptor& subject) {
  const json config =
      json_of(described("application/vnd.oci.empty.v1+json", as_bytes(kEmptyConfig)));
  const json layer = json_of(described(artifact.media_type, artifact.blob));
  return written({{"schemaVersion", 2},
                  {"mediaType", kOciManifest},
                  {"artifactType", artifact.artifact_type},
                  {"config", config},
                  {"layers", json::array({layer})},
                  {"subject", json_of(subject)},
                  {"annotations", artifact.annotations}});
}

std::string fallback_tag(const Digest& subject) {
  return "sha256-" + subject.hex();
}

Result<std::string> add_referrer(std::string_view index_json, const Referrer& entry) {
  json document = {{"schemaVersion", 2}, {"mediaType", kOciIndex}, {"manifests", json::array()}};
  if (!index_json.empty()) {
    TRY(parsed, parse_index(index_json));
    document = std::move(parsed);
  }
  json& list = document["manifests"];
  json kept = json::array();
  for (json& item : list) {
    const bool replaced = has_digest_of(item, entry) || stands_in_place_of(item, entry);
    if (!replaced) kept.push_back(std::move(item));
  }
  kept.push_back(json_of(entry));
  if (kept.size() > kMaxIndexEntries) {
    return bad("list of referrers",
               "is full: it has " + std::to_string(kept.size() - 1) + " entries, remove some");
  }
  list = std::move(kept);
  std::string text = written(document);
  if (text.size() > kMaxManifestBytes) {
    return bad("list of referrers",
               "is full: it has " + std::to_string(text.size()) + " bytes, remove some entries");
  }
  return text;
}

bool is_listed(std::string_view index_json, const Referrer& entry) {
  const auto document = parse_index(index_json);
  if (!document.ok()) return false;
  const auto ours = parse_time(annotation_of(entry, kCreatedAnnotation));
  const json& list = *member(*document, "manifests");
  return std::any_of(list.begin(), list.end(), [&](const json& item) {
    return has_digest_of(item, entry) ||
           (stands_in_place_of(item, entry) &&
            parse_time(annotation_in(item, kCreatedAnnotation)) >= ours);
  });
}

}  // namespace dedup
