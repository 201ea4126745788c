// Fields of dedupd's answers. A field that is missing or of another type reads as empty: a newer
// or older daemon never makes dedupctl fail. Text loses control characters, so what an image is
// called cannot drive the terminal. Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace dedup {

// path: names joined by dots, "fetch.bytes".
uint64_t number_at(const nlohmann::json& answer, std::string_view path);
bool flag_at(const nlohmann::json& answer, std::string_view path);
std::string text_at(const nlohmann::json& answer, std::string_view path);
std::vector<std::string> texts_at(const nlohmann::json& answer, std::string_view path);
const nlohmann::json::array_t& list_at(const nlohmann::json& answer, std::string_view path);

std::string printable(std::string text);

}  // namespace dedup
