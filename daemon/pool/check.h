// check_segments: reads back every present piece and compares its digest. Loop thread; the reading
// runs on workers.
#pragma once

#include <functional>

#include "pool/pool.h"

namespace dedup {

Task<Result<CheckReport>> check_segments(Workers& workers,
                                         std::vector<std::shared_ptr<Segment>> segments,
                                         bool repair,
                                         std::function<void(uint64_t, uint64_t)> progress);

}  // namespace dedup
