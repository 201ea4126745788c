// Removal and clean-up of pool contents: frees the bytes of dead chunks, drops empty segments, deletes files nothing
// refers to, and finds other blobs that hold a chunk. Blocking.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pool/catalog.h"
#include "pool/fetcher.h"

namespace dedup {

// Frees what dead chunks occupy. Order: states say dead (durable), bytes punched, rows forgotten, empty segments removed;
// a death in between is finished by the next call. Loop thread, or before the loop runs.
//   returns  bytes of the chunks freed
Result<uint64_t> free_dead(Catalog& catalog, const std::string& segments_directory,
                           std::map<SegmentId, std::shared_ptr<Segment>>& segments);

// Deletes segment and index files without a catalogue row (leftovers of a commit that never was). Before the loop runs.
Result<void> sweep_files(Catalog& catalog, const std::string& directory);

// Chunks of other layers' blobs with the bytes of `piece`. Worker thread.
std::vector<AlternateChunk> find_alternates(Catalog& catalog, const std::string& directory, SegmentId segment,
                                            const Piece& piece);

}  // namespace dedup
