// KeptChannel: the worker's end of the control socket. Requests block until the keeper, which does
// nothing else, has answered; 5 s at most. One thread at a time.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/unique_fd.h"
#include "doors/kept_protocol.h"

namespace dedup {

class KeptChannel {
 public:
  // keeper: pidfd of it. The socket does not tell of its death: the witness has the other end, too.
  // first_id: requests are numbered from here; no other worker on this socket uses the same ones.
  KeptChannel(UniqueFd socket, UniqueFd keeper, uint64_t first_id)
      : x_socket(std::move(socket)), x_keeper(std::move(keeper)), x_next_id(first_id) {}

  // fd: sent along with kKeep; -1 for kDrop.
  //   errors  kUnavailable: the keeper is gone or silent.
  Result<void> request(KeptAction action, uint32_t segment, int fd);

  int keeper_fd() const { return x_keeper.get(); }

 private:
  Result<void> send(const KeptRequest& request, int fd);
  Result<void> await_answer(uint64_t id);

  UniqueFd x_socket;
  UniqueFd x_keeper;
  uint64_t x_next_id;
};

}  // namespace dedup
