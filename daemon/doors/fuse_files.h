// FuseFiles: the files of the FUSE mount, one per attached segment, and the answers to all requests
// about them but READ. Nothing here outlives a worker or has to: names and nodes follow from the
// segments' numbers. Loop thread.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "doors/fuse_queue.h"

namespace dedup {

struct FuseFile {
  uint32_t segment = 0;
  UniqueFd fd;         // of the data file
  uint64_t bytes = 0;  // when it was attached
};

class FuseFiles {
 public:
  // max_background: see init_answer().
  explicit FuseFiles(uint16_t max_background) : x_max_background(max_background) {}

  // fd: borrowed during the call. Idempotent.
  Result<void> attach(uint32_t segment, int fd);
  void detach(uint32_t segment) { x_files.erase(segment); }
  size_t size() const { return x_files.size(); }

  // Requests being served keep the file. Null: not attached.
  std::shared_ptr<const FuseFile> of_node(uint64_t node) const;

  // Everything but READ and INTERRUPT.
  void answer(FuseReply reply, const FuseRequest& request) const;

 private:
  void answer_init(FuseReply reply, const FuseRequest& request) const;
  void answer_lookup(FuseReply reply, const FuseRequest& request) const;
  void answer_attributes(FuseReply reply, uint64_t node) const;
  void answer_open(FuseReply reply, uint64_t node) const;

  uint16_t x_max_background;
  std::map<uint32_t, std::shared_ptr<const FuseFile>> x_files;
};

}  // namespace dedup
