#include "doors/fuse_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

namespace dedup {
Result<void> FuseFiles::attach(uint32_t segment, int fd) {
  if (x_files.contains(segment)) return {};
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return errno_error(errno, "fstat of segment " + std::to_string(segment));
  }
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return errno_error(errno, "attach segment " + std::to_string(segment));
  auto file = std::make_shared<FuseFile>();
  file->segment = segment;
  file->fd = std::move(copy);
  file->bytes = static_cast<uint64_t>(status.st_size);
  x_files[segment] = std::move(file);
  return {};
}

std::shared_ptr<const FuseFile> FuseFiles::of_node(uint64_t node) const {
  const auto segment = fuse_segment(node);
  const auto found = segment ? x_files.find(*segment) : x_files.end();
  return found == x_files.end() ? nullptr : found->second;
}

void FuseFiles::answer(FuseReply reply, const FuseRequest& request) const {
  switch (request.opcode) {
    case FUSE_INIT:
      return answer_init(std::move(reply), request);
    case FUSE_LOOKUP:
      return answer_lookup(std::move(reply), request);
    case FUSE_GETATTR:
      return answer_attributes(std::move(reply), request.node);
    case FUSE_OPEN:
      return answer_open(std::move(reply), request.node);
    case FUSE_RELEASE:
      return reply.send({});
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
      return reply.drop();
    default:
      return reply.fail(ENOSYS);
  }
}

void FuseFiles::answer_init(FuseReply reply, const FuseRequest& request) const {
  const auto answer = init_answer(request, x_max_background);
  if (!answer) return reply.fail(EPROTO);
  reply.send_struct(*answer);
}

// A miss is not remembered by the kernel: an error, not an entry without a node.
void FuseFiles::answer_lookup(FuseReply reply, const FuseRequest& request) const {
  const auto segment = looked_up_segment(request);
  const auto file =
      segment && request.node == FUSE_ROOT_ID ? of_node(fuse_node(*segment)) : nullptr;
  if (file == nullptr) return reply.fail(ENOENT);
  reply.send_struct(file_entry(file->segment, file->bytes));
}

void FuseFiles::answer_attributes(FuseReply reply, uint64_t node) const {
  if (node == FUSE_ROOT_ID) return reply.send_struct(root_attributes());
  const auto file = of_node(node);
  if (file == nullptr) return reply.fail(ENOENT);
  reply.send_struct(file_attributes(file->segment, file->bytes));
}

void FuseFiles::answer_open(FuseReply reply, uint64_t node) const {
  if (of_node(node) == nullptr) return reply.fail(ENOENT);
  reply.send_struct(opened_file());
}

}  // namespace dedup
