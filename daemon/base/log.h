// Log: structured lines on a file descriptor, one write(2) each: logfmt for people, JSON for
// collectors. Passed by reference from main; the level is fixed at construction. Any thread. Fields
// are given as {"name", value}.
//   log.info("segment complete", {{"segment", 7}, {"bytes", 4096}});
//   -> time=2026-01-02T03:04:05.678Z level=info msg="segment complete" segment=7 bytes=4096
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/result.h"

namespace dedup {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError };
enum class LogFormat : uint8_t { kText, kJson };

struct LogField {
  std::string_view name;
  std::string value;
  bool quoted = true;

  LogField(std::string_view field, std::string_view text) : name(field), value(text) {}
  LogField(std::string_view field, const char* text) : name(field), value(text) {}
  LogField(std::string_view field, const std::string& text) : name(field), value(text) {}
  LogField(std::string_view field, const Error& error) : name(field), value(error.to_string()) {}
  LogField(std::string_view field, bool flag)
      : name(field), value(flag ? "true" : "false"), quoted(false) {}
  template <std::integral I>
  requires(!std::same_as<I, bool>) LogField(std::string_view field, I number)
      : name(field), value(std::to_string(number)), quoted(false) {}
};

class Log {
 public:
  using Fields = std::initializer_list<LogField>;

  // fd is borrowed (usually 2).
  explicit Log(int fd = 2, LogLevel level = LogLevel::kInfo, LogFormat format = LogFormat::kText)
      : x_fd(fd), x_level(level), x_format(format) {}

  void debug(std::string_view message, Fields fields = {}) {
    write(LogLevel::kDebug, message, fields);
  }
  void info(std::string_view message, Fields fields = {}) {
    write(LogLevel::kInfo, message, fields);
  }
  void warn(std::string_view message, Fields fields = {}) {
    write(LogLevel::kWarn, message, fields);
  }
  void error(std::string_view message, Fields fields = {}) {
    write(LogLevel::kError, message, fields);
  }
  bool enabled(LogLevel level) const { return level >= x_level; }

 private:
  void write(LogLevel level, std::string_view message, Fields fields);

  int x_fd;
  LogLevel x_level;
  LogFormat x_format;
};

}  // namespace dedup
