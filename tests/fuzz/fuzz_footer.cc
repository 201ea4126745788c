// parse_estargz_footer on any tail: it must not read outside it, and what it accepts must lie
// inside the blob.
#include <cstdlib>

#include "format/estargz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace dedup;
  const auto tail = std::as_bytes(std::span(data, size));
  for (const uint64_t blob_bytes :
       {uint64_t{size}, uint64_t{size} + 100'000, uint64_t{46}, UINT64_MAX}) {
    const auto footer = parse_estargz_footer(tail, blob_bytes);
    if (!footer.ok() || !*footer) continue;
    const EstargzFooter found = **footer;
    if (found.footer_bytes > size || found.footer_bytes > blob_bytes) std::abort();
    if (found.toc_offset >= blob_bytes - found.footer_bytes) std::abort();
  }
  return 0;
}
