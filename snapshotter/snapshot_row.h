// How snapshots are spelled in the store's columns: labels as a JSON object, lists of digests
// separated by spaces. Pure; any thread.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "snapshotter/snapshot.h"

namespace dedup {

std::string labels_to_json(const Labels& labels);
Labels labels_from_json(const std::string& text);

std::string join_layers(const std::vector<std::string>& layers);
std::vector<std::string> split_layers(const std::string& text);

// `current` after an Update call with `fields` (see SnapshotStore::update).
//   errors  kInvalid: a field that never changes.
Result<Labels> updated_labels(Labels current, const Labels& labels,
                              std::span<const std::string> fields);

// Labels without empty values: containerd writes "" to remove one.
Labels without_empty(Labels labels);

}  // namespace dedup
