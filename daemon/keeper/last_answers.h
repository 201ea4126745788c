// The end of a keeper that has lost its worker: segments that readers still use are emptied, so
// that later reads get EIO and never zeros. ftruncate of a marked file raises a pre-access event
// itself (6.18, whatever fd it goes through), and nobody else is left to answer: a child empties,
// the keeper answers, readers with EIO and the child with yes.
#pragma once

#include <cstddef>
#include <span>

#include "doors/kept_state.h"
#include "keeper/kept_segments.h"

namespace dedup {

// group_fds  the fanotify groups, -1 for none
// returns    segments emptied; bounded by five seconds
size_t empty_segments_in_use(KeptSegments& segments, std::span<const int32_t> group_fds);

}  // namespace dedup
