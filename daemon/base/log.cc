#include "base/log.h"

#include <unistd.h>

#include <cstdio>
#include <ctime>

namespace dedup {
namespace {

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      return "error";
  }
  return "?";
}

// RFC 3339, UTC, milliseconds.
std::string timestamp() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  gmtime_r(&now.tv_sec, &utc);
  char text[64];
  const size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + length, sizeof(text) - length, ".%03ldZ", now.tv_nsec / 1000000);
  return text;
}

// JSON string rules; logfmt readers take the same quoting.
void append_quoted(std::string& line, std::string_view text) {
  line.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line.push_back('\\');
      line.push_back(c);
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\u%04x", byte);
      line += escape;
    } else {
      line.push_back(c);
    }
  }
  line.push_back('"');
}

bool is_plain(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return false;
  }
  return true;
}

}  // namespace

void Log::write(LogLevel level, std::string_view message, Fields fields) {
  if (!enabled(level)) return;
  std::string line;
  if (x_format == LogFormat::kJson) {
    line = "{\"time\":\"" + timestamp() + "\",\"level\":\"" + std::string(level_name(level)) +
           "\",\"msg\":";
    append_quoted(line, message);
    for (const LogField& field : fields) {
      line += ",";
      append_quoted(line, field.name);
      line += ":";
      if (field.quoted)
        append_quoted(line, field.value);
      else
        line += field.value;
    }
    line += "}\n";
  } else {
    line = "time=" + timestamp() + " level=" + std::string(level_name(level)) + " msg=";
    append_quoted(line, message);
    for (const LogField& field : fields) {
      line += " ";
      line += field.name;
      line += "=";
      if (!field.quoted || is_plain(field.value))
        line += field.value;
      else
        append_quoted(line, field.value);
    }
    line += "\n";
  }
  // A log that cannot be written must not stop the daemon; there is nowhere left to say so.
  if (::write(x_fd, line.data(), line.size()) < 0) return;
}

}  // namespace dedup
