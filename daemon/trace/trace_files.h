// TraceFiles: the recorded starts of images on this node, as profiles (profile.md), and what was
// pulled or imported for them. Small files that may be copied, looked at and deleted by people.
//
//   DIRECTORY/IMAGE/image.json         which image that is
//   DIRECTORY/IMAGE/start-*.profile    one recorded start each
//   DIRECTORY/IMAGE/part-*.profile     of a container that ran already: for people alone
//   DIRECTORY/IMAGE/registry.profile   pulled from the image's registry
//   DIRECTORY/IMAGE/list.profile       imported by an operator
//
// IMAGE are the first 32 hex digits of image_key(): the layers decide, so a retagged image keeps
// its traces. Blocking; any thread. Files are replaced by rename; a crash loses a recording,
// never more.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "trace/profile.h"

namespace dedup {

// What an image is known by here: its layers, bottom first.
Digest image_key(const std::vector<Digest>& layers);

struct TracedImage {
  Digest key;  // zero in the answer of list() for a directory whose image.json cannot be read
  std::string ref;
  std::optional<Digest> manifest;
  std::vector<Digest> layers;  // bottom first
};

enum class TraceKind : uint8_t { kStart, kPart, kProfile };

struct TraceFile {
  std::string path;
  uint64_t bytes = 0;
  TraceKind kind = TraceKind::kProfile;
  std::string recorded;   // by its name, not for kProfile; sorts as time does
  std::string container;  // by its name; may be empty
};

struct TraceFilesLimits {
  size_t max_starts = 16;   // per image; the oldest goes
  size_t max_images = 512;  // the one longest not written to goes
};

class TraceFiles {
 public:
  TraceFiles(std::string directory, Log& log, TraceFilesLimits limits = {})
      : x_directory(std::move(directory)), x_log(log), x_limits(limits) {}

  // Each returns the path of the file it wrote.
  Result<std::string> add_start(const TracedImage& image, const Profile& start);
  Result<std::string> add_part(const TracedImage& image, const Profile& part);
  Result<std::string> put_pulled(const TracedImage& image, const Profile& profile);
  Result<std::string> put_list(const TracedImage& image, const Profile& profile);

  size_t starts(const Digest& key) const;
  // By image.json; nullopt when nothing was written for it.
  std::optional<TracedImage> image(const Digest& key) const;
  // Newest recording first, then what was not recorded here.
  std::vector<TraceFile> files(const Digest& key) const;
  // The one last written to first. Where a tag has moved, several have one name.
  std::vector<TracedImage> list() const;

  // The profile to prefetch by: of the recorded starts, merged per entrypoint, and of what was
  // pulled, the one of most runs, the node's own before others; a list when there is nothing else.
  // Files that are no profiles, or not of this image, are logged and passed over.
  //   errors  kNotFound: there is none
  Result<Profile> best(const TracedImage& image) const;
  // The same of recorded starts alone, for a push.
  Result<Profile> merged_starts(const TracedImage& image) const;

  // errors  kNotFound
  Result<void> remove(const Digest& key);

 private:
  std::string directory_of(const Digest& key) const;
  Result<std::string> put(const TracedImage& image, const Profile& profile,
                          const std::string& name);
  void drop_old(const Digest& key, std::string_view prefix) const;
  void drop_old_images() const;
  std::optional<Profile> usable(const std::string& path, const TracedImage& image) const;
  std::vector<Profile> read_starts(const TracedImage& image) const;

  const std::string x_directory;
  Log& x_log;
  const TraceFilesLimits x_limits;
  std::mutex x_writing;  // one at a time: they share names until they are complete
};

}  // namespace dedup
