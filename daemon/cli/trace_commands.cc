#include "cli/trace_commands.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/unique_fd.h"
#include "cli/answer.h"
#include "cli/report.h"
#include "cli/sizes.h"
#include "cli/table.h"
#include "pool/files.h"
#include "trace/profile_file.h"

namespace dedup {
namespace {

using nlohmann::json;

std::string written_text(const json& answer) {
  std::string text;
  for (const std::string& file : texts_at(answer, "files")) text += file + "\n";
  return text.empty() ? "nothing was recorded\n" : text;
}

std::string active_text(const json& answer) {
  Table table({{"RECORDING"},
               {"SINCE", Table::Align::kRight},
               {"TOUCHED", Table::Align::kRight},
               {"IMAGE"}});
  for (const json& one : list_at(answer, "active")) {
    table.add({text_at(one, "container"), duration_text(number_at(one, "age_ms") / 1000),
               rounded_size(number_at(one, "touched_bytes")), text_at(one, "ref")});
  }
  std::string text = list_at(answer, "active").empty() ? "" : table.to_string() + "\n";
  for (const std::string& ref : texts_at(answer, "wanted"))
    text += "recording every start of " + ref + "\n";
  return text;
}

std::string recorded_text(const json& answer) {
  if (list_at(answer, "images").empty()) return "no starts recorded\n";
  Table table(
      {{"IMAGE"}, {"STARTS", Table::Align::kRight}, {"PROFILES", Table::Align::kRight}, {"FILE"}});
  for (const json& image : list_at(answer, "images")) {
    const auto& files = list_at(image, "files");
    const auto of_kind = [&files](const char* kind) {
      return count_text(static_cast<uint64_t>(std::ranges::count_if(
          files, [kind](const json& file) { return text_at(file, "kind") == kind; })));
    };
    table.add({text_at(image, "ref"), of_kind("start"), of_kind("profile"),
               files.empty() ? "" : text_at(files.front(), "path")});
  }
  return table.to_string();
}

// A private file that is gone when this object is.
class TemporaryFile {
 public:
  static Result<TemporaryFile> make() {
    const char* directory = std::getenv("TMPDIR");
    std::string path = std::string(directory == nullptr ? "/tmp" : directory) + "/profile-XXXXXX";
    const UniqueFd fd(::mkstemp(path.data()));
    if (!fd.valid()) return errno_error(errno, "make a file like " + path);
    return TemporaryFile(std::move(path));
  }
  TemporaryFile(TemporaryFile&& other) noexcept : x_path(std::exchange(other.x_path, {})) {}
  TemporaryFile& operator=(TemporaryFile&&) = delete;
  ~TemporaryFile() {
    if (!x_path.empty()) ::unlink(x_path.c_str());
  }
  const std::string& path() const { return x_path; }

 private:
  explicit TemporaryFile(std::string path) : x_path(std::move(path)) {}
  std::string x_path;
};

}  // namespace

Result<CommandResult> run_trace_start(const ApiClient& client, const std::string& target) {
  TRY(answer, client.call("POST", "/v1/traces", {{"target", target}}));
  const bool image = answer.contains("image");
  const std::string what = image ? "every start of " + text_at(answer, "image")
                                 : "container " + text_at(answer, "container");
  return CommandResult{answer, "recording " + printable(what) + "\n"};
}

Result<CommandResult> run_trace_stop(const ApiClient& client, const std::string& target) {
  TRY(answer, client.call("DELETE", "/v1/traces", nullptr, {{"target", target}}));
  return CommandResult{answer, written_text(answer)};
}

Result<CommandResult> run_trace_list(const ApiClient& client) {
  TRY(answer, client.call("GET", "/v1/traces"));
  std::string text;
  if (!flag_at(answer, "recorder.usable"))
    text = "nothing can be recorded: " + text_at(answer, "recorder.reason") + "\n";
  if (const uint64_t dropped = number_at(answer, "recorder.dropped"); dropped > 0)
    text += count_text(dropped) + " touches were lost: too many files were read at once\n";
  return CommandResult{answer, text + active_text(answer) + recorded_text(answer)};
}

Result<std::string> find_trace(const ApiClient& client, const std::string& target) {
  TRY(answer, client.call("GET", "/v1/traces/start", nullptr, {{"target", target}}));
  return text_at(answer, "file");
}

Result<CommandResult> run_profile_export(const ApiClient& client, const std::string& reference,
                                         const std::string& output) {
  TRY(answer, client.call("GET", "/v1/profiles", nullptr, {{"ref", reference}}));
  if (!answer.contains("profile") || !answer["profile"].is_string())
    return make_error(Errc::kInvalid, "dedupd answered without a profile");
  TRY(profile, parse_profile_text(answer["profile"].get_ref<const std::string&>()));
  return store_profile(profile, output);
}

Result<CommandResult> run_profile_import_for(const ApiClient& client, ImportRequest request,
                                             const std::string& reference) {
  TRY(file, TemporaryFile::make());
  request.output = file.path();
  TRY(imported, run_profile_import(request));
  TRY(answer, client.call("POST", "/v1/profiles", {{"ref", reference}, {"file", request.output}}));
  return CommandResult{answer, printable(reference) + " is prefetched by " +
                                   printable(request.list) + " where nothing was recorded\n"};
}

Result<CommandResult> run_profile_push(const ApiClient& client, const std::string& reference,
                                       const std::string& file) {
  json body{{"ref", reference}};
  if (!file.empty()) body["file"] = file;
  TRY(answer, client.call("POST", "/v1/profiles/pushes", body));
  return CommandResult{answer, "pushed " + text_at(answer, "artifact") + ", " +
                                   count_text(number_at(answer, "runs")) + " starts\n"};
}

Result<CommandResult> run_profile_pull(const ApiClient& client, const std::string& reference) {
  TRY(answer, client.call("POST", "/v1/profiles/pulls", {{"ref", reference}}));
  return CommandResult{answer, text_at(answer, "file") + "\n"};
}

Result<CommandResult> run_profile_rm(const ApiClient& client, const std::string& reference) {
  TRY(answer, client.call("DELETE", "/v1/profiles", nullptr, {{"ref", reference}}));
  return CommandResult{answer, "removed what was recorded of " + printable(reference) + "\n"};
}

}  // namespace dedup
