#include "format/inflate.h"

#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include <algorithm>
#include <array>

namespace dedup {
namespace {

constexpr size_t kOutputBytes = 256u << 10;       // decoded bytes handed to the sink at once
constexpr uint32_t kSkippableMagic = 0x184D2A50;  // zstd: low 4 bits free
constexpr size_t kMaxStepBytes = 1u << 30;
constexpr int kMaxWindowLog = 27;  // zstd: frames that need more memory are refused

// One gzip member after another. The header is read apart: isal_inflate forgets half a header
// between two calls.
class GzipDecoder {
 public:
  GzipDecoder() { reset(); }

  struct Step {
    size_t consumed = 0;
    size_t produced = 0;
    bool member_end = false;  // its crc32 and isize were right
  };

  // Decodes some of `in` into some of `out`; no progress means that more of one of them is needed.
  Result<Step> step(std::span<const std::byte> in, std::span<std::byte> out) {
    in = in.first(std::min(in.size(), kMaxStepBytes));  // ISA-L counts in 32 bits
    out = out.first(std::min(out.size(), kMaxStepBytes));
    x_state.next_in = reinterpret_cast<uint8_t*>(const_cast<std::byte*>(in.data()));  // only read
    x_state.avail_in = static_cast<uint32_t>(in.size());
    x_state.next_out = reinterpret_cast<uint8_t*>(out.data());
    x_state.avail_out = static_cast<uint32_t>(out.size());
    TRY(status, run());
    const Step done{in.size() - x_state.avail_in, out.size() - x_state.avail_out,
                    x_state.block_state == ISAL_BLOCK_FINISH};
    const bool stuck = done.consumed == 0 && done.produced == 0 && !done.member_end;
    if (stuck && !in.empty() && !out.empty()) return damaged(status);
    if (done.member_end) reset();
    return done;
  }

 private:
  void reset() {
    isal_inflate_init(&x_state);
    x_state.crc_flag = ISAL_GZIP_NO_HDR_VER;
    isal_gzip_header_init(&x_header);
    x_in_header = true;
  }

  Result<int> run() {
    if (x_in_header) {
      const int status = isal_read_gzip_header(&x_state, &x_header);
      if (status == ISAL_END_INPUT) return status;
      if (status != ISAL_DECOMP_OK) return damaged(status);
      x_in_header = false;
    }
    const int status = isal_inflate(&x_state);
    if (status < 0 || status > ISAL_OUT_OVERFLOW) return damaged(status);
    return status;
  }

  static Error damaged(int status) { return make_error(Errc::kCorruption, describe(status)); }
  static std::string describe(int status) {
    switch (status) {
      case ISAL_INCORRECT_CHECKSUM:
        return "gzip checksum is wrong";
      case ISAL_INVALID_WRAPPER:
      case ISAL_UNSUPPORTED_METHOD:
        return "gzip header is damaged";
      default:
        return "gzip data is damaged";
    }
  }

  inflate_state x_state{};
  isal_gzip_header x_header{};
  bool x_in_header = true;
};

struct ZstdContext {
  ZSTD_DCtx* raw = ZSTD_createDCtx();
  ZstdContext() { ZSTD_DCtx_setParameter(raw, ZSTD_d_windowLogMax, kMaxWindowLog); }
  ~ZstdContext() { ZSTD_freeDCtx(raw); }
  ZstdContext(const ZstdContext&) = delete;
  ZstdContext& operator=(const ZstdContext&) = delete;
};

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

Codec detect_codec(std::span<const std::byte> first_bytes) {
  if (first_bytes.size() >= 2 && first_bytes[0] == std::byte{0x1f} &&
      first_bytes[1] == std::byte{0x8b})
    return Codec::kGzip;
  if (first_bytes.size() >= 4) {
    const auto magic = load_le<uint32_t>(first_bytes);
    if (magic == ZSTD_MAGICNUMBER || (magic & 0xfffffff0u) == kSkippableMagic) return Codec::kZstd;
  }
  return Codec::kNone;
}

struct Inflater::State {
  Codec codec;
  uint64_t max_output_bytes;
  uint64_t blob_offset = 0;
  uint64_t output_bytes = 0;
  bool inside = false;   // in the middle of a member or frame
  bool padding = false;  // only zero bytes may follow
  GzipDecoder gzip;
  std::unique_ptr<ZstdContext> zstd;
  Bytes buffer;

  State(Codec kind, uint64_t limit) : codec(kind), max_output_bytes(limit) {
    if (codec == Codec::kZstd) zstd = std::make_unique<ZstdContext>();
    if (codec != Codec::kNone) buffer.resize(kOutputBytes);
  }

  Error damaged(std::string_view what) const {
    return make_error(Errc::kCorruption, std::string(what) + " near byte " +
                                             std::to_string(blob_offset) + " of the blob");
  }

  Result<void> emit(std::span<const std::byte> bytes, const Sink& sink) {
    output_bytes += bytes.size();
    if (output_bytes > max_output_bytes) {
      return make_error(Errc::kNoSpace, "the layer unpacks to more than " +
                                            std::to_string(max_output_bytes) +
                                            " bytes (limits.max_uncompressed_bytes)");
    }
    return bytes.empty() ? Result<void>() : sink(bytes);
  }

  Result<void> feed_gzip(std::span<const std::byte> piece, const Sink& sink) {
    // A full output buffer may leave decoded bytes inside the decoder, so it is called again even
    // without input.
    bool more_output = false;
    while (!piece.empty() || more_output) {
      if (!inside && (padding || piece.front() == std::byte{0})) {
        // tar tools pad to whole records; nothing else may follow a member but another member.
        padding = true;
        return all_zero(piece) ? Result<void>()
                               : Result<void>(damaged("gzip: garbage after the last member"));
      }
      inside = true;
      auto step = gzip.step(piece, buffer);
      if (!step.ok()) return damaged(step.error().context);
      piece = piece.subspan(step->consumed);
      blob_offset += step->consumed;
      inside = !step->member_end;
      more_output = inside && step->produced == buffer.size();
      TRY(emit(std::span(buffer).first(step->produced), sink));
    }
    return {};
  }

  Result<void> feed_zstd(std::span<const std::byte> piece, const Sink& sink) {
    ZSTD_inBuffer in{piece.data(), piece.size(), 0};
    bool more_output = false;
    while (in.pos < in.size || more_output) {
      ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
      const size_t before = in.pos;
      const size_t status = ZSTD_decompressStream(zstd->raw, &out, &in);
      if (ZSTD_isError(status)) return damaged(std::string("zstd: ") + ZSTD_getErrorName(status));
      blob_offset += in.pos - before;
      inside = status != 0;
      more_output = inside && out.pos == out.size;
      TRY(emit(std::span<const std::byte>(buffer).first(out.pos), sink));
    }
    return {};
  }
};

Inflater::Inflater(Codec codec, uint64_t max_output_bytes)
    : x_state(std::make_unique<State>(codec, max_output_bytes)) {}
Inflater::~Inflater() = default;
Inflater::Inflater(Inflater&&) noexcept = default;

Result<void> Inflater::feed(std::span<const std::byte> piece, const Sink& sink) {
  switch (x_state->codec) {
    case Codec::kNone:
      x_state->blob_offset += piece.size();
      return x_state->emit(piece, sink);
    case Codec::kGzip:
      return x_state->feed_gzip(piece, sink);
    case Codec::kZstd:
      return x_state->feed_zstd(piece, sink);
  }
  return make_error(Errc::kInvalid, "unknown codec");
}

Result<void> Inflater::finish() {
  if (x_state->inside) return x_state->damaged("compressed data ends too early");
  return {};
}

namespace {

// Takes the decoded stream of a chunk: drops inner_offset bytes, then fills `out`.
class ChunkOutput {
 public:
  ChunkOutput(uint64_t skip_bytes, std::span<std::byte> out)
      : x_skip_bytes(skip_bytes), x_out(out) {}

  bool full() const { return x_out.empty(); }
  // Where the next decoded bytes go: straight into the caller's buffer once nothing is left to
  // skip.
  std::span<std::byte> space() {
    if (x_skip_bytes == 0) return x_out;
    return std::span(x_scratch).first(std::min<uint64_t>(x_skip_bytes, x_scratch.size()));
  }
  void produced(size_t bytes) {
    if (x_skip_bytes == 0)
      x_out = x_out.subspan(bytes);
    else
      x_skip_bytes -= bytes;
  }

 private:
  uint64_t x_skip_bytes;
  std::span<std::byte> x_out;
  std::array<std::byte, 64 << 10> x_scratch;
};

Error short_chunk() {
  return make_error(Errc::kCorruption, "compressed chunk ends before its data is complete");
}

Result<void> inflate_gzip_chunk(std::span<const std::byte> stored, ChunkOutput& output) {
  GzipDecoder decoder;
  while (!output.full()) {
    TRY(step, decoder.step(stored, output.space()));
    stored = stored.subspan(step.consumed);
    output.produced(step.produced);
    if (step.produced == 0 && stored.empty() && !output.full()) return short_chunk();
  }
  return {};
}

Result<void> inflate_zstd_chunk(std::span<const std::byte> stored, ChunkOutput& output) {
  const ZstdContext context;
  ZSTD_inBuffer in{stored.data(), stored.size(), 0};
  while (!output.full()) {
    const auto space = output.space();
    ZSTD_outBuffer out{space.data(), space.size(), 0};
    const size_t status = ZSTD_decompressStream(context.raw, &out, &in);
    if (ZSTD_isError(status))
      return make_error(Errc::kCorruption, std::string("zstd: ") + ZSTD_getErrorName(status));
    output.produced(out.pos);
    if (out.pos == 0 && in.pos == in.size && !output.full()) return short_chunk();
  }
  return {};
}

}  // namespace

Result<void> inflate_chunk(const Chunk& chunk, std::span<const std::byte> stored,
                           std::span<std::byte> out) {
  if (out.size() != chunk.bytes)
    return make_error(Errc::kInvalid, "the buffer has not the chunk's size");
  ChunkOutput output(chunk.inner_offset, out);
  switch (chunk.codec) {
    case Codec::kNone:
      if (chunk.inner_offset > stored.size() || chunk.bytes > stored.size() - chunk.inner_offset)
        return short_chunk();
      std::copy_n(stored.begin() + static_cast<ptrdiff_t>(chunk.inner_offset), out.size(),
                  out.begin());
      return {};
    case Codec::kGzip:
      return inflate_gzip_chunk(stored, output);
    case Codec::kZstd:
      return inflate_zstd_chunk(stored, output);
  }
  return make_error(Errc::kInvalid, "unknown codec");
}

}  // namespace dedup
