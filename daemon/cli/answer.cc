#include "cli/answer.h"

namespace dedup {
namespace {

using nlohmann::json;

const json* find(const json& answer, std::string_view path) {
  const json* at = &answer;
  while (true) {
    const size_t dot = path.find('.');
    const auto field = at->is_object() ? at->find(path.substr(0, dot)) : at->end();
    if (!at->is_object() || field == at->end()) return nullptr;
    at = &*field;
    if (dot == std::string_view::npos) return at;
    path.remove_prefix(dot + 1);
  }
}

}  // namespace

std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

uint64_t number_at(const json& answer, std::string_view path) {
  const json* field = find(answer, path);
  const bool whole = field != nullptr && field->is_number_integer();
  return whole && (field->is_number_unsigned() || field->get<int64_t>() >= 0)
             ? field->get<uint64_t>()
             : 0;
}

bool flag_at(const json& answer, std::string_view path) {
  const json* field = find(answer, path);
  return field != nullptr && field->is_boolean() && field->get<bool>();
}

std::string text_at(const json& answer, std::string_view path) {
  const json* field = find(answer, path);
  return field != nullptr && field->is_string() ? printable(field->get<std::string>()) : "";
}

std::vector<std::string> texts_at(const json& answer, std::string_view path) {
  std::vector<std::string> texts;
  for (const json& element : list_at(answer, path)) {
    if (element.is_string()) texts.push_back(printable(element.get<std::string>()));
  }
  return texts;
}

const json::array_t& list_at(const json& answer, std::string_view path) {
  static const json::array_t kEmpty;
  const json* field = find(answer, path);
  return field != nullptr && field->is_array() ? field->get_ref<const json::array_t&>() : kEmpty;
}

}  // namespace dedup
