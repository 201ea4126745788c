#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "source/resolve.h"
#include "source/source.h"

namespace dedup {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr uint64_t kMaxIndexBytes = uint64_t{4} << 20;
constexpr const char* kRefName = "org.opencontainers.image.ref.name";

struct OpenFile {
  UniqueFd fd;
  uint64_t bytes = 0;
};

Result<OpenFile> open_file(const std::string& path) {
  // O_NONBLOCK: a FIFO in a blob's place is refused, not waited for.
  OpenFile file{UniqueFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)), 0};
  if (!file.fd.valid()) return errno_error(errno, path);
  struct stat status {};
  if (::fstat(file.fd.get(), &status) != 0) return errno_error(errno, path);
  if (!S_ISREG(status.st_mode)) return make_error(Errc::kInvalid, path + " is not a file");
  file.bytes = static_cast<uint64_t>(status.st_size);
  return file;
}

Result<Bytes> read_exactly(int fd, ByteRange range, const std::string& path) {
  Bytes bytes(range.length);
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t got = ::pread(fd, bytes.data() + done, bytes.size() - done,
                                static_cast<off_t>(range.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, path);
    if (got == 0) return make_error(Errc::kUnavailable, path + " became shorter while read");
    done += static_cast<size_t>(got);
  }
  return bytes;
}

Result<Bytes> read_small(const std::string& path, uint64_t max_bytes) {
  TRY(file, open_file(path));
  if (file.bytes > max_bytes) {
    return make_error(Errc::kInvalid, path + " has " + std::to_string(file.bytes) +
                                          " bytes, more than the " + std::to_string(max_bytes) +
                                          " allowed");
  }
  return read_exactly(file.fd.get(), {0, file.bytes}, path);
}

// Blocking code, run by a worker. A value: it is copied into each job.
struct LayoutDirectory {
  std::string path;

  std::string blob_path(const Digest& digest) const {
    return path + "/blobs/sha256/" + digest.hex();
  }

  Result<OpenFile> open_blob(const Digest& digest, uint64_t blob_bytes) const {
    auto file = open_file(blob_path(digest));
    if (!file.ok()) return std::move(file).error().with("OCI layout " + path);
    if (file->bytes != blob_bytes) {
      return make_error(Errc::kCorruption, "OCI layout " + path + ": blob " + digest.to_string() +
                                               " has " + std::to_string(file->bytes) +
                                               " bytes, its descriptor says " +
                                               std::to_string(blob_bytes));
    }
    return file;
  }

  Result<Bytes> read_verified(const Descriptor& descriptor, uint64_t max_bytes) const {
    TRY(bytes, read_small(blob_path(descriptor.digest), max_bytes));
    TRY(verify_descriptor(bytes, descriptor, blob_path(descriptor.digest)));
    return bytes;
  }

  Result<void> check_version() const {
    TRY(text, read_small(path + "/oci-layout", 4096));
    const auto document = nlohmann::json::parse(as_text(text), nullptr, false);
    const auto version =
        document.is_object() ? document.find("imageLayoutVersion") : document.end();
    if (version == document.end() || !version->is_string() ||
        !version->get_ref<const std::string&>().starts_with("1.")) {
      return make_error(Errc::kInvalid, path + "/oci-layout names no imageLayoutVersion 1.x");
    }
    return {};
  }

  // The index entry that `reference` names.
  Result<Descriptor> find(const Reference& reference, std::optional<Digest> digest) const {
    const std::string index_path = path + "/index.json";
    TRY(text, read_small(index_path, kMaxIndexBytes));
    auto document = parse_manifest(as_text(text), "application/vnd.oci.image.index.v1+json");
    if (!document.ok()) return std::move(document).error().with(index_path);
    const auto* index = std::get_if<ImageIndex>(&*document);
    if (index == nullptr) return make_error(Errc::kInvalid, index_path + " is not an image index");
    std::string tags;
    for (const Descriptor& entry : index->manifests) {
      const auto name = entry.annotations.find(kRefName);
      const bool tagged = name != entry.annotations.end() && name->second == reference.tag;
      if (digest ? entry.digest == *digest : !reference.tag.empty() && tagged) return entry;
      if (name != entry.annotations.end() && tags.size() < 500) tags += " " + name->second;
    }
    if (digest) return named_by_digest(*digest);
    if (reference.tag.empty() && index->manifests.size() == 1) return index->manifests[0];
    return make_error(Errc::kNotFound, index_path +
                                           (reference.tag.empty()
                                                ? " has several manifests: choose a tag of"
                                                : " has no tag \"" + reference.tag + "\", it has") +
                                           (tags.empty() ? " none" : tags));
  }

  // A manifest below an index of index.json is a blob like any other.
  Result<Descriptor> named_by_digest(const Digest& digest) const {
    TRY(file, open_file(blob_path(digest)));
    Descriptor descriptor;
    descriptor.digest = digest;
    descriptor.size = file.bytes;
    return descriptor;
  }

  Result<ResolvedImage> resolve(Reference reference, std::optional<Digest> digest,
                                const Platform& platform) const {
    TRY(check_version());
    if (!digest) digest = reference.digest;
    TRY(descriptor, find(reference, digest));
    for (int depth = 0; depth < kMaxIndexDepth; ++depth) {
      TRY(document, read_verified(descriptor, kMaxManifestBytes));
      auto step = next_step(as_text(document), descriptor.media_type, platform);
      if (!step.ok()) return std::move(step).error().with(descriptor.digest.to_string());
      if (auto* manifest = std::get_if<Manifest>(&*step)) {
        TRY(config, read_verified(manifest->config, kMaxConfigBytes));
        return assemble(std::move(reference), descriptor.digest, std::move(*manifest),
                        as_text(config));
      }
      descriptor = std::move(std::get<Descriptor>(*step));
    }
    return make_error(Errc::kInvalid, "indexes are nested more than 4 deep");
  }

  // Entries of index.json with the artifact type whose manifests have the subject (no entry says
  // whose referrer it is), and the index under the fallback tag, as tools copy it out of
  // registries.
  Result<std::vector<Referrer>> referrers(const Digest& subject,
                                          const std::string& artifact_type) const {
    const std::string index_path = path + "/index.json";
    TRY(text, read_small(index_path, kMaxIndexBytes));
    auto list = parse_referrers(as_text(text), subject, artifact_type);
    if (!list.ok()) return std::move(list).error().with(index_path);
    keep_newest(*list);
    std::erase_if(*list, [this](const Referrer& entry) { return !refers(entry).ok(); });
    Reference fallback;
    fallback.tag = fallback_tag(subject);
    const auto tagged = find(fallback, {});
    if (!tagged.ok()) return list;
    TRY(index, read_verified(*tagged, kMaxManifestBytes));
    auto more = parse_referrers(as_text(index), subject, artifact_type);
    if (!more.ok()) return std::move(more).error().with(blob_path(tagged->digest));
    list->insert(list->end(), more->begin(), more->end());
    keep_newest(*list);
    return list;
  }

  Result<void> refers(const Referrer& referrer) const {
    TRY(manifest, read_verified(referrer.manifest, kMaxArtifactManifestBytes));
    return check_refers(as_text(manifest), referrer);
  }

  Result<Bytes> read_artifact(const Referrer& referrer, const std::string& media_type,
                              uint64_t max_bytes) const {
    TRY(manifest, read_verified(referrer.manifest, kMaxArtifactManifestBytes));
    auto layer = artifact_layer(as_text(manifest), referrer, media_type, max_bytes);
    if (!layer.ok()) return std::move(layer).error().with(blob_path(referrer.manifest.digest));
    return read_verified(*layer, max_bytes);
  }
};

class LayoutStream final : public BlobStream {
 public:
  LayoutStream(Workers& workers, OpenFile file, std::string path, Priority priority)
      : x_workers(workers),
        x_file(std::move(file)),
        x_path(std::move(path)),
        x_priority(priority) {}

  Task<Result<Bytes>> read_some() override {
    const ByteRange piece{x_offset, std::min<uint64_t>(kPieceBytes, x_file.bytes - x_offset)};
    if (piece.empty()) co_return Bytes();
    const auto job = [this, piece] { return read_exactly(x_file.fd.get(), piece, x_path); };
    auto bytes = co_await x_workers.run(x_priority, job);
    if (bytes.ok()) x_offset = piece.end();
    co_return bytes;
  }

 private:
  Workers& x_workers;
  OpenFile x_file;
  std::string x_path;
  Priority x_priority;
  uint64_t x_offset = 0;
};

// Jobs are named before they are awaited: g++ 12 copies a closure that is a temporary of a co_await
// expression bit by bit, which breaks captured strings.
class LayoutSource final : public ImageSource {
 public:
  LayoutSource(Workers& workers, Log& log, std::string path)
      : x_workers(workers), x_log(log), x_directory{std::move(path)} {}

  Task<Result<Bytes>> read(Digest blob, uint64_t blob_bytes, ByteRange range,
                           Priority priority) override {
    const auto end = checked_add(range.offset, range.length);
    if (!end || *end > blob_bytes) {
      co_return make_error(Errc::kInvalid, "OCI layout " + x_directory.path +
                                               ": range outside blob " + blob.to_string());
    }
    const auto job = [directory = x_directory, blob, blob_bytes, range]() -> Result<Bytes> {
      TRY(file, directory.open_blob(blob, blob_bytes));
      return read_exactly(file.fd.get(), range, directory.blob_path(blob));
    };
    co_return co_await x_workers.run(priority, job);
  }

  Task<Result<std::unique_ptr<BlobStream>>> open_stream(Digest blob, uint64_t blob_bytes,
                                                        Priority priority) override {
    const auto job = [directory = x_directory, blob, blob_bytes] {
      return directory.open_blob(blob, blob_bytes);
    };
    auto file = co_await x_workers.run(priority, job);
    if (!file.ok()) co_return std::move(file).error();
    co_return std::unique_ptr<BlobStream>(std::make_unique<LayoutStream>(
        x_workers, std::move(*file), x_directory.blob_path(blob), priority));
  }

  Task<Result<ResolvedImage>> resolve(Reference reference, std::optional<Digest> digest_hint,
                                      Platform platform) override {
    const std::string name = "OCI layout " + reference.to_string();
    const auto job = [directory = x_directory, reference, digest_hint, platform] {
      return directory.resolve(reference, digest_hint, platform);
    };
    auto image = co_await x_workers.run(Priority::kOnDemand, job);
    if (!image.ok()) co_return std::move(image).error().with(name);
    x_log.debug("resolved", {{"image", reference.to_string()},
                             {"manifest", image->manifest_digest.to_string()}});
    co_return image;
  }

  Task<Result<std::vector<Referrer>>> referrers(Digest subject,
                                                std::string artifact_type) override {
    const auto job = [directory = x_directory, subject, artifact_type] {
      return directory.referrers(subject, artifact_type);
    };
    auto list = co_await x_workers.run(Priority::kOnDemand, job);
    if (!list.ok()) co_return std::move(list).error().with("OCI layout");
    co_return list;
  }

  Task<Result<Bytes>> read_artifact(Referrer referrer, std::string media_type,
                                    uint64_t max_bytes) override {
    const auto job = [directory = x_directory, referrer, media_type, max_bytes] {
      return directory.read_artifact(referrer, media_type, max_bytes);
    };
    auto blob = co_await x_workers.run(Priority::kOnDemand, job);
    if (!blob.ok()) co_return std::move(blob).error().with("OCI layout");
    co_return blob;
  }

  Task<Result<Digest>> push_artifact(Digest, Artifact) override {
    co_return make_error(Errc::kUnsupported,
                         "OCI layout " + x_directory.path +
                             " is only read: push the artifact to a registry that has the image");
  }

 private:
  Workers& x_workers;
  Log& x_log;
  LayoutDirectory x_directory;
};

}  // namespace

std::unique_ptr<ImageSource> make_layout_source(Workers& workers, Log& log,
                                                const Reference& reference) {
  return std::make_unique<LayoutSource>(workers, log, reference.repository);
}

}  // namespace dedup
