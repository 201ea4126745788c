#include "trace/profile_import.h"

#include <unordered_set>

#include "trace/flat_json.h"
#include "trace/profile_file.h"

namespace dedup {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kSociSpans = "\"prefetch_spans\"";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// "./a//b/" -> "/a/b". ".." stays and is refused.
std::string cleaned(std::string_view path) {
  std::string clean;
  while (!path.empty()) {
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (!name.empty() && name != ".") clean.append("/").append(name);
  }
  return clean;
}

class ListBuilder {
 public:
  explicit ListBuilder(std::span<const Digest> layers) {
    x_profile.source = ProfileSource::kList;
    x_profile.layers.assign(layers.begin(), layers.end());
  }

  Result<void> add(std::string_view path, std::optional<uint64_t> layer) {
    ProfileEntry entry;
    entry.path = cleaned(path);
    if (entry.path.empty()) return {};  // the root
    if (!valid_profile_path(entry.path))
      return make_error(Errc::kInvalid, "a path that no profile can name");
    if (layer && *layer < x_profile.layers.size()) entry.layer = static_cast<uint32_t>(*layer);
    if (!x_known.insert(entry.path).second) return {};
    entry.first_us = x_profile.entries.size();
    if (entry.first_us >= ProfileLimits().max_entries)
      return make_error(Errc::kNoSpace, "the list is too long");
    x_profile.entries.push_back(std::move(entry));
    return {};
  }

  Profile finish() && { return std::move(x_profile); }

 private:
  Profile x_profile;
  std::unordered_set<std::string> x_known;
};

Result<void> add_line(ListBuilder& list, std::string_view line, ListKind kind) {
  if (kind == ListKind::kPaths) return line[0] == '#' ? Result<void>() : list.add(line, {});
  TRY(json, FlatJson::parse(line));
  TRY(path, json.text("path"));
  std::optional<uint64_t> layer;
  if (json.has("layerIndex")) {
    TRY(index, json.number("layerIndex"));
    layer = index;
  }
  return list.add(path, layer);
}

Result<void> add_lines(ListBuilder& list, std::string_view text, ListKind kind) {
  for (uint64_t number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = kind == ListKind::kPaths && !text.substr(0, end).ends_with('\r')
                                      ? text.substr(0, end)  // names may begin and end with spaces
                                      : trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    auto added = add_line(list, line, kind);
    if (!added.ok()) return std::move(added).error().with("line " + std::to_string(number));
  }
  return {};
}

}  // namespace

ListKind guess_list_kind(std::string_view text) {
  const std::string_view begin = trimmed(text);
  if (begin.starts_with('[') || (begin.starts_with('{') && begin.find(kSociSpans) < 256))
    return ListKind::kSoci;
  return begin.starts_with('{') ? ListKind::kStargz : ListKind::kPaths;
}

Result<Profile> import_list(std::string_view text, ListKind kind, std::span<const Digest> layers) {
  ListBuilder list(layers);
  if (kind != ListKind::kSoci) {
    TRY(add_lines(list, text, kind));
    return std::move(list).finish();
  }
  if (trimmed(text).starts_with('{'))
    return make_error(Errc::kUnsupported,
                      "a SOCI prefetch artifact names spans of a ztoc, not files: import the list "
                      "given to soci create --prefetch-files-json");
  TRY(paths, parse_json_texts(text));
  for (const std::string& path : paths) {
    if (!trimmed(path).empty()) TRY(list.add(trimmed(path), {}));
  }
  return std::move(list).finish();
}

}  // namespace dedup
