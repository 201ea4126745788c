#include "snapshotter/snapshot_row.h"

#include <cerrno>
#include <nlohmann/json.hpp>

namespace dedup {

using nlohmann::json;

Error precondition_error(std::string sentence) {
  return Error{Errc::kInvalid, EBUSY, std::move(sentence)};
}

bool is_precondition(const Error& error) {
  return error.code == Errc::kInvalid && error.sys_errno != 0;
}

std::string labels_to_json(const Labels& labels) {
  return json(labels).dump(-1, ' ', false, json::error_handler_t::replace);
}

Labels labels_from_json(const std::string& text) {
  const json object = json::parse(text, nullptr, false);
  Labels labels;
  if (!object.is_object()) return labels;
  for (const auto& [name, value] : object.items()) {
    if (value.is_string()) labels[name] = value.get<std::string>();
  }
  return labels;
}

std::string join_layers(const std::vector<std::string>& layers) {
  std::string text;
  for (const std::string& layer : layers) {
    if (!text.empty()) text += ' ';
    text += layer;
  }
  return text;
}

std::vector<std::string> split_layers(const std::string& text) {
  std::vector<std::string> layers;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    layers.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return layers;
}

Labels without_empty(Labels labels) {
  std::erase_if(labels, [](const auto& label) { return label.second.empty(); });
  return labels;
}

Result<Labels> updated_labels(Labels current, const Labels& labels,
                              std::span<const std::string> fields) {
  constexpr std::string_view kOneLabel = "labels.";
  if (fields.empty()) return without_empty(labels);
  for (const std::string& field : fields) {
    if (field == "labels") {
      current = labels;
    } else if (field.starts_with(kOneLabel)) {
      const std::string name = field.substr(kOneLabel.size());
      const auto label = labels.find(name);
      current[name] = label == labels.end() ? "" : label->second;
    } else {
      return make_error(Errc::kInvalid, "cannot update field \"" + field + "\" of a snapshot");
    }
  }
  return without_empty(std::move(current));
}

}  // namespace dedup
