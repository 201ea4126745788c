// eStargz: footer, TOC, and the LayerIndex they describe. Sans-IO: the caller fetches the ranges
// asked for. Every byte is hostile until the TOC digest matched, and the TOC stays hostile after
// that (a signed image may still lie). One thread at a time.
//
//   source  stargz-snapshotter docs/estargz.md. Footer 51 bytes (current), 47 (legacy CRFS). The
//   46-byte external-TOC
//           footer is recognised and reported as kUnsupported.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "base/byte_range.h"
#include "base/bytes.h"
#include "base/result.h"
#include "format/entry.h"
#include "format/layer_index.h"

namespace dedup {

inline constexpr uint64_t kEstargzFooterBytes = 51;
inline constexpr std::string_view kTocDigestAnnotation = "containerd.io/snapshot/stargz/toc.digest";

struct EstargzFooter {
  uint64_t toc_offset = 0;    // of the TOC's gzip member in the blob
  uint64_t footer_bytes = 0;  // 51 or 47
};

// Looks for a footer at the end of `tail`, the last bytes of a blob of blob_bytes bytes.
//   returns nullopt when there is none (a plain layer); errors kCorruption when there is one whose
//   TOC offset lies outside the blob, kUnsupported for an external TOC.
Result<std::optional<EstargzFooter>> parse_estargz_footer(std::span<const std::byte> tail,
                                                          uint64_t blob_bytes);

// The uncompressed TOC JSON out of `stored`, the blob bytes [toc_offset, blob end - footer): a gzip
// member holding a tar with one entry `stargz.index.json`. `expected` is sha256 of the JSON
// (annotation); kCorruption when it differs.
Result<Bytes> extract_estargz_toc(std::span<const std::byte> stored,
                                  const std::optional<Digest>& expected, const LayerLimits& limits);

struct EstargzLayer {
  LayerIndex index;
  ByteRange prefetch;  // blob bytes before `.prefetch.landmark`; empty without one or with
                       // `.no.prefetch.landmark`
};

// Parses the TOC (streaming JSON, no DOM) and checks it: chunk offsets inside [0, toc_offset),
// chunks of a file contiguous from 0 to its size, digests present and well formed for every
// non-empty chunk (a single-chunk file may use `digest`), chunk sizes within limits, no unknown
// entry type. Landmarks and the TOC entry are not part of the result.
//   errors  kInvalid or kCorruption naming the TOC entry and the rule it breaks.
Result<EstargzLayer> parse_estargz_toc(std::span<const std::byte> toc_json,
                                       const EstargzFooter& footer, uint32_t chunk_bytes,
                                       const LayerLimits& limits);

}  // namespace dedup
