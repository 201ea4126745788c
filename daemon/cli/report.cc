#include "cli/report.h"

#include <map>

#include "cli/answer.h"
#include "cli/sizes.h"
#include "cli/table.h"

namespace dedup {
namespace {

using nlohmann::json;
using Align = Table::Align;

std::string joined(const std::vector<std::string>& texts, std::string_view separator = ", ") {
  std::string result;
  for (const std::string& text : texts) {
    if (!result.empty()) result += separator;
    result += text;
  }
  return result;
}

std::string size_at(const json& answer, std::string_view path) {
  return rounded_size(number_at(answer, path));
}

std::string counted_at(const json& answer, std::string_view path) {
  return count_text(number_at(answer, path));
}

std::string plural(uint64_t number, const std::string& noun) {
  return count_text(number) + " " + noun + (number == 1 ? "" : noun.ends_with("s") ? "es" : "s");
}

std::string percent(uint64_t part, uint64_t whole) {
  if (whole == 0 || part >= whole) return "100%";
  return std::to_string(
             static_cast<uint64_t>(static_cast<double>(part) * 100 / static_cast<double>(whole))) +
         "%";
}

// "NAME:      value" lines with aligned values.
class Facts {
 public:
  void add(const std::string& name, const std::string& value) {
    if (value.empty()) return;
    std::string label = name + ":";
    label.resize(std::max<size_t>(label.size() + 1, 14), ' ');
    x_text += label + value + "\n";
  }
  const std::string& text() const { return x_text; }

 private:
  std::string x_text;
};

}  // namespace

std::string duration_text(uint64_t seconds) {
  const uint64_t minutes = seconds / 60;
  const uint64_t hours = minutes / 60;
  const uint64_t days = hours / 24;
  if (days > 0) return std::to_string(days) + "d " + std::to_string(hours % 24) + "h";
  if (hours > 0) return std::to_string(hours) + "h " + std::to_string(minutes % 60) + "m";
  if (minutes > 0) return std::to_string(minutes) + "m " + std::to_string(seconds % 60) + "s";
  return std::to_string(seconds) + "s";
}

std::string count_text(uint64_t number) {
  std::string digits = std::to_string(number);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string short_digest(const std::string& digest) {
  const size_t colon = digest.find(':');
  return digest.substr(colon == std::string::npos ? 0 : colon + 1, 12);
}

std::string images_text(const json& answer) {
  Table table({{"REFERENCE"},
               {"DIGEST"},
               {"LAYERS", Align::kRight},
               {"COMPRESSED", Align::kRight},
               {"SIZE", Align::kRight},
               {"PRESENT", Align::kRight},
               {"FORMATS"},
               {"MOUNTED ON"}});
  for (const json& image : list_at(answer, "images")) {
    const uint64_t bytes = number_at(image, "bytes");
    table.add({text_at(image, "ref"), short_digest(text_at(image, "manifest_digest")),
               counted_at(image, "layers"), size_at(image, "compressed_bytes"), rounded_size(bytes),
               percent(number_at(image, "present_bytes"), bytes),
               joined(texts_at(image, "formats")), joined(texts_at(image, "mounts"))});
  }
  return table.to_string();
}

std::string pulled_text(const json& answer, const std::string& verb) {
  const json image = answer.is_object() ? answer.value("image", json::object()) : json::object();
  std::map<std::string, uint64_t> formats;
  for (const std::string& format : texts_at(image, "formats")) ++formats[format];
  std::vector<std::string> names;
  for (const auto& [format, layers] : formats) names.push_back(format);
  std::string text = verb + " " + text_at(image, "ref");
  if (const std::string target = text_at(answer, "target"); !target.empty()) {
    text += " on " + target;
  }
  text += ": " + plural(number_at(image, "layers"), "layer");
  if (!names.empty()) text += " (" + joined(names) + ")";
  return text + ", " + size_at(image, "compressed_bytes") + " compressed, " +
         size_at(image, "present_bytes") + " of " + size_at(image, "bytes") + " present\n";
}

std::string status_text(const json& answer) {
  Facts facts;
  facts.add("dedupd", text_at(answer, "version") + ", up " +
                          duration_text(number_at(answer, "uptime_s")) + ", pid " +
                          std::to_string(number_at(answer, "pid")) + ", keeper " +
                          std::to_string(number_at(answer, "keeper_pid")) + ", " +
                          plural(number_at(answer, "worker_restarts"), "worker restart"));
  facts.add("root", text_at(answer, "root"));
  const std::string reason = text_at(answer, "door_reason");
  facts.add("door", text_at(answer, "door") + (reason.empty() ? "" : " (" + reason + ")"));
  const uint64_t holders = number_at(answer, "holders");
  facts.add("holders", plural(holders, "process") + (holders < 2 ? ": start dedupd again" : ""));
  if (const auto guard = answer.find("guard"); guard != answer.end() && guard->is_object()) {
    const uint64_t lost = number_at(answer, "guard.lost");
    facts.add("guard", plural(number_at(answer, "guard.armed"), "mount") + " guarded" +
                           (lost == 0 ? "" : ", " + plural(lost, "lost mount") + " closed"));
  }
  facts.add("segments", counted_at(answer, "segments.total") + " total, " +
                            counted_at(answer, "segments.complete") + " complete, " +
                            counted_at(answer, "segments.marked") + " served by the door");
  facts.add("events", counted_at(answer, "events.answered") + " answered, " +
                          counted_at(answer, "events.denied") + " denied, " +
                          counted_at(answer, "events.recovered") + " recovered");
  facts.add("fetched", size_at(answer, "fetch.bytes") + " in " +
                           plural(number_at(answer, "fetch.requests"), "request") + ", " +
                           plural(number_at(answer, "fetch.errors"), "error") + ", " +
                           counted_at(answer, "fetch.retries") + " retried, " +
                           counted_at(answer, "fetch.digest_mismatches") + " with wrong digest");
  facts.add("memory", size_at(answer, "memory.rss_bytes") + ", at most " +
                          size_at(answer, "memory.peak_rss_bytes"));
  const auto& chains = list_at(answer, "chains");
  if (chains.empty()) return facts.text() + "\nnothing is mounted\n";
  Table table({{"MOUNTED ON"}, {"LAYERS", Align::kRight}, {"COMPLETE"}, {"HELD BY"}});
  for (const json& chain : chains) {
    table.add({text_at(chain, "mountpoint"), counted_at(chain, "layers"),
               flag_at(chain, "complete") ? "yes" : "no", joined(texts_at(chain, "holders"))});
  }
  return facts.text() + "\n" + table.to_string();
}

std::string pool_text(const json& answer) {
  const uint64_t bytes = number_at(answer, "bytes");
  const uint64_t present = number_at(answer, "present_bytes");
  Facts facts;
  facts.add("images",
            counted_at(answer, "images") + " with " + plural(number_at(answer, "layers"), "layer"));
  facts.add("chunks", counted_at(answer, "chunks") + ", " + rounded_size(bytes));
  facts.add("present", rounded_size(present) + " (" + percent(present, bytes) + ")");
  facts.add("shared", counted_at(answer, "shared_chunks") + " chunks, " +
                          size_at(answer, "shared_bytes") + "; saved " +
                          size_at(answer, "saved_bytes"));
  facts.add("disk", size_at(answer, "disk_bytes") + " in " +
                        plural(number_at(answer, "segments"), "segment") + ", " +
                        size_at(answer, "free_bytes") + " free");
  return facts.text();
}

std::string check_text(const json& answer, bool repaired) {
  const auto& bad = list_at(answer, "bad");
  std::string text = "checked " + plural(number_at(answer, "checked_chunks"), "chunk") + ", " +
                     size_at(answer, "checked_bytes") + "; " + size_at(answer, "missing_bytes") +
                     " not fetched yet\n";
  if (flag_at(answer, "clean") && bad.empty()) return text + "no bad chunk found\n";
  text += plural(bad.size(), "bad chunk") + " found" +
          (repaired ? "; removed, they are fetched again on their next read"
                    : "; run \"dedupctl check --repair\" to fetch them again") +
          "\n";
  Table table({{"DIGEST"},
               {"SEGMENT", Align::kRight},
               {"OFFSET", Align::kRight},
               {"BYTES", Align::kRight}});
  for (const json& chunk : bad) {
    table.add({text_at(chunk, "digest"), std::to_string(number_at(chunk, "segment")),
               std::to_string(number_at(chunk, "offset")),
               std::to_string(number_at(chunk, "bytes"))});
  }
  return text + table.to_string();
}

}  // namespace dedup
