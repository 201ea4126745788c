// Reference: the name of an image: "HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX]" in a registry, or
// "oci:DIRECTORY[:TAG]", an OCI image layout on disk (DIRECTORY absolute or relative to the caller;
// the last colon separates the tag). Pure data.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/digest.h"

namespace dedup {

struct Reference {
  enum class Kind : uint8_t { kRegistry, kOciLayout };
  Kind kind = Kind::kRegistry;
  std::string host;        // registry host with port; "docker.io" when the text names none
  std::string repository;  // "library/debian"; layouts: the directory
  std::string
      tag;  // "latest" when neither tag nor digest is given (layouts: empty = the only manifest)
  std::optional<Digest> digest;

  // errors  kInvalid naming the text and the rule (distribution reference grammar).
  static Result<Reference> parse(std::string_view text);
  std::string to_string() const;  // canonical; parse(to_string()) is the same reference
  // Names the place blobs come from, without tag and digest: same value = same blobs.
  std::string location() const;
  bool operator==(const Reference&) const = default;
};

}  // namespace dedup
