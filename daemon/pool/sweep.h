// Removal and clean-up of pool contents: frees the bytes of dead chunks, drops empty segments,
// deletes files nothing refers to, and finds other blobs that hold a chunk. Blocking unless it says
// otherwise.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pool/catalog.h"
#include "pool/fetcher.h"

namespace dedup {

using SegmentMap = std::map<SegmentId, std::shared_ptr<Segment>>;

// Freeing dead slots, in the order: states say dead (durable), bytes punched, rows forgotten, empty
// segments dropped. A death in between is finished by the next run. First part: loop thread, no
// I/O. Marks the pieces of `slots` dead; returns the states to write.
std::vector<Segment::Dirty> mark_dead(std::span<const DeadSlot> slots, const SegmentMap& segments);
// Second part, blocking. `segments` is a copy that keeps the files open. Returns segments that are
// empty now: they have no row any more, the caller forgets them and removes their files.
Result<std::vector<SegmentId>> erase_dead(Catalog& catalog, std::span<const DeadSlot> slots,
                                          std::span<const Segment::Dirty> dirty,
                                          const SegmentMap& segments);

// Deletes segment and index files without a catalogue row (leftovers of a commit that never was).
// Before the loop runs.
Result<void> sweep_files(Catalog& catalog, const std::string& directory);

// Chunks of other layers' blobs with the bytes of `piece`. Worker thread.
std::vector<AlternateChunk> find_alternates(Catalog& catalog, const std::string& directory,
                                            SegmentId segment, const Piece& piece);

}  // namespace dedup
