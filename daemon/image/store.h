// ImageStore: the durable part of image/: which images were pulled, which holders keep which layers
// and chains alive, where blobs can be read, which targets are mounted. Tables beside the pool's in
// index.db. Blocking; workers call it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pool/sqlite.h"

namespace dedup {

struct ImageRecord {
  std::string ref;
  Digest manifest_digest;
  std::vector<Digest> layers;  // bottom first
};

// A chain: layers merged into one metadata image, mounted once.
struct ChainRecord {
  Digest id;
  std::vector<Digest> layers;  // bottom first
  bool keep_whiteouts = false;
  std::vector<uint32_t> segments;  // device slots of the metadata image, in order
};

struct UnheldChain {
  Digest id;
  bool layers_held = false;  // each by somebody: the image is still on the node
};

struct TargetRecord {
  std::string target;  // where a user mounted the image
  std::string ref;
  Digest chain;
};

class ImageStore {
 public:
  // database: the catalogue's; outlives the store.
  static Result<std::unique_ptr<ImageStore>> open(Database& database);

  Result<void> put_image(const ImageRecord& image);
  Result<std::optional<ImageRecord>> image(const std::string& ref);
  Result<std::vector<ImageRecord>> images();
  Result<void> remove_image(const std::string& ref);

  Result<void> hold_layer(const std::string& holder, Digest layer);
  Result<void> hold_chain(const std::string& holder, Digest chain);
  Result<void> hold_only_layers(const std::string& holder,
                                const std::vector<Digest>& layers);  // replaces its layers
  Result<void> release(const std::string& holder);
  Result<std::vector<std::string>> holders(const std::string& prefix);
  Result<std::vector<std::string>> chain_holders(Digest chain);

  Result<void> put_chain(const ChainRecord& chain);
  Result<std::vector<ChainRecord>> chains();
  Result<void> remove_chain(Digest id);
  Result<std::vector<UnheldChain>> unheld_chains();
  // Layers no holder and no chain names.
  Result<std::vector<Digest>> unheld_layers();

  Result<void> put_location(Digest blob, const std::string& location);
  Result<std::vector<std::pair<Digest, std::string>>> locations();  // oldest first
  Result<void> forget_locations_without_layer();

  Result<void> put_target(const TargetRecord& target);
  Result<std::vector<TargetRecord>> targets();
  Result<void> remove_target(const std::string& target);

 private:
  explicit ImageStore(Database& database) : x_database(database) {}
  Result<std::vector<Digest>> digests(const char* sql);
  Database& x_database;
};

}  // namespace dedup
