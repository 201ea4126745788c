// import_directory: turns a directory tree (an overlay upperdir: whiteouts are char devices 0:0,
// opaque directories carry trusted.overlay.opaque) into a layer of the pool. Blocking; one worker
// job.
#pragma once

#include <string>

#include "pool/layer_writer.h"

namespace dedup {

// Walks `directory` and adds every entry and extent to `writer`. The tree must not change
// meanwhile.
//   errors  kInvalid naming a path that cannot be represented; kNoSpace; kIo.
Result<void> import_directory(const std::string& directory, LayerWriter& writer,
                              uint32_t chunk_bytes);

}  // namespace dedup
