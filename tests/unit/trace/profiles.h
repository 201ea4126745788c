// Profiles for tests.
#pragma once

#include "trace/profile.h"

namespace dedup::test {

inline Digest digest_of(char letter) {
  return *Digest::parse("sha256:" + std::string(64, letter));
}

inline ProfileEntry touched(uint32_t layer, std::string path, ByteRange range, uint64_t first_us,
                            uint32_t runs = 1) {
  return {layer, std::move(path), range, first_us, runs};
}

inline ProfileFetch fetched(uint32_t layer, std::string path, ByteRange range, uint64_t us,
                            FetchCause by, uint64_t wait_us = 0) {
  return {layer, std::move(path), range, us, by, wait_us};
}

inline Profile profile_with(std::vector<ProfileEntry> entries, uint32_t runs = 1) {
  Profile profile;
  profile.image = digest_of('1');
  profile.entrypoint = {"python3", "app.py"};
  profile.runs = runs;
  profile.layers = {digest_of('a'), digest_of('b')};
  profile.entries = std::move(entries);
  return profile;
}

}  // namespace dedup::test
