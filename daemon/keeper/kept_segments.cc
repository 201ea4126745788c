#include "keeper/kept_segments.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace dedup {
namespace {

bool same_file(int a, int b) {
  struct stat first {};
  struct stat second {};
  return fstat(a, &first) == 0 && fstat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

UniqueFd received_fd(msghdr& message) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
    return UniqueFd(fd);
  }
  return {};
}

}  // namespace

void KeptSegments::serve() {
  while (serve_one()) {
  }
}

bool KeptSegments::serve_one() {
  KeptRequest request;
  iovec part{&request, sizeof(request)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t got = recvmsg(x_control, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (got < 0) return errno == EINTR;
  if (got == 0) return false;
  UniqueFd fd = received_fd(message);
  if (got != static_cast<ssize_t>(sizeof(request))) return true;

  KeptAnswer answer{request.id, EINVAL, 0};
  if (request.action == KeptAction::kKeep) answer.error = keep(request.segment, std::move(fd));
  if (request.action == KeptAction::kDrop) answer.error = drop(request.segment);
  // A full socket means a worker that asks without reading answers: it will time out.
  send(x_control, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL);
  return true;
}

KeptSegment* KeptSegments::find(uint32_t segment) {
  for (KeptSegment& entry : x_entries) {
    if (entry.segment.load() == segment) return &entry;
  }
  return nullptr;
}

int KeptSegments::keep(uint32_t segment, UniqueFd fd) {
  if (segment == 0) return EINVAL;
  if (!fd.valid()) return EMFILE;  // the kernel had no number for it here
  KeptSegment* entry = find(segment);
  // The fd we have was opened before the first mark of that file, the new one perhaps not.
  if (entry != nullptr && same_file(entry->fd.load(), fd.get())) return 0;
  if (entry == nullptr) entry = find(0);
  if (entry == nullptr) return ENOSPC;
  const UniqueFd before(entry->segment.load() == segment ? entry->fd.load() : -1);
  if (before.valid()) x_store.remove_segment(segment);
  entry->worker_fd.store(-1);
  entry->fd.store(fd.release());
  entry->segment.store(segment);
  x_store.add_segment(segment, entry->fd.load());
  return 0;
}

int KeptSegments::drop(uint32_t segment) {
  KeptSegment* entry = segment == 0 ? nullptr : find(segment);
  if (entry == nullptr) return 0;
  entry->segment.store(0);
  x_store.remove_segment(segment);
  ::close(entry->fd.exchange(-1));
  return 0;
}

size_t KeptSegments::truncate_all() {
  size_t count = 0;
  for (KeptSegment& entry : x_entries) {
    if (entry.segment.load() == 0) continue;
    if (ftruncate(entry.fd.load(), 0) == 0) ++count;
  }
  return count;
}

}  // namespace dedup
