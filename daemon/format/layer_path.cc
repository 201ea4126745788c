#include "format/layer_path.h"

#include <algorithm>
#include <array>

namespace dedup {

namespace {

Result<void> check_component(std::string_view component, const LayerLimits& limits) {
  if (component == "..") return make_error(Errc::kInvalid, "path has a \"..\" component");
  // A whiteout is never a file: the limit is for the name it hides.
  const size_t prefix = component.starts_with(kWhiteoutPrefix) ? kWhiteoutPrefix.size() : 0;
  if (component.size() - prefix > limits.max_name_bytes) {
    return make_error(Errc::kInvalid,
                      "a name is longer than " + std::to_string(limits.max_name_bytes) + " bytes");
  }
  if (component.find('\0') != std::string_view::npos) {
    return make_error(Errc::kInvalid, "path has a NUL byte");
  }
  return {};
}

}  // namespace

Result<void> split_layer_path(std::string_view path, const LayerLimits& limits,
                              std::vector<std::string_view>& components) {
  components.clear();
  uint64_t cleaned_bytes = 0;
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view component = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (component.empty() || component == ".") continue;
    TRY(check_component(component, limits));
    cleaned_bytes += component.size() + 1;
    if (cleaned_bytes - 1 > limits.max_path_bytes) {
      return make_error(Errc::kInvalid,
                        "path is longer than " + std::to_string(limits.max_path_bytes) + " bytes");
    }
    components.push_back(component);
  }
  return {};
}

std::string printable_path(std::string_view path) {
  constexpr size_t kShownBytes = 256;
  constexpr std::array<char, 17> kHex = {"0123456789abcdef"};
  std::string text = "'";
  for (const char c : path.substr(0, kShownBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      text += c;
    } else {
      text += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return text + (path.size() > kShownBytes ? "...'" : "'");
}

}  // namespace dedup
