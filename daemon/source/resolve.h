// The steps from a manifest's bytes to a ResolvedImage that a registry and a layout share: verify,
// choose by platform, check that config and manifest agree. Pure, any thread; private to source/.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "source/source.h"

namespace dedup {

inline constexpr uint64_t kMaxConfigBytes = uint64_t{8} << 20;
inline constexpr int kMaxIndexDepth = 4;  // an index may point at an index

// errors  kCorruption when `bytes` are not what `digest` names; `what` names them and their place.
Result<void> verify_digest(std::span<const std::byte> bytes, const Digest& digest,
                           std::string_view what);
// The same, and their length is the descriptor's.
Result<void> verify_descriptor(std::span<const std::byte> bytes, const Descriptor& descriptor,
                               std::string_view what);

// What to do with a verified manifest document: it is the image's, or it points at the next one.
Result<std::variant<Manifest, Descriptor>> next_step(std::string_view json,
                                                     std::string_view media_type,
                                                     const Platform& platform);

// kInvalid unless the config has one diff_id per layer.
Result<ResolvedImage> assemble(Reference reference, const Digest& manifest_digest,
                               Manifest manifest, std::string_view config_json);

}  // namespace dedup
