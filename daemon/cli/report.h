// What dedupctl prints for people from dedupd's answers (protocol.md). Pure; any thread.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace dedup {

std::string images_text(const nlohmann::json& answer);  // GET images
std::string pulled_text(const nlohmann::json& answer,
                        const std::string& verb);                     // last line of pull
std::string status_text(const nlohmann::json& answer);                // GET status
std::string pool_text(const nlohmann::json& answer);                  // GET pool
std::string check_text(const nlohmann::json& answer, bool repaired);  // last line of checks

std::string duration_text(uint64_t seconds);          // "3d 4h", "2h 5m", "12s"
std::string count_text(uint64_t number);              // "1,234,567"
std::string short_digest(const std::string& digest);  // 12 digits

}  // namespace dedup
