#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace dedup {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::kNotFound:
      return "not found";
    case Errc::kExists:
      return "already exists";
    case Errc::kInvalid:
      return "invalid";
    case Errc::kCorruption:
      return "corrupt";
    case Errc::kDenied:
      return "denied";
    case Errc::kUnavailable:
      return "unavailable";
    case Errc::kNoSpace:
      return "no space";
    case Errc::kUnsupported:
      return "unsupported";
    case Errc::kCancelled:
      return "cancelled";
    case Errc::kIo:
      return "I/O error";
  }
  return "unknown";
}

Error Error::with(std::string_view what) && {
  context.insert(0, std::string(what) + ": ");
  return std::move(*this);
}

std::string Error::to_string() const {
  return context.empty() ? std::string(dedup::to_string(code)) : context;
}

Error errno_error(int number, std::string_view what) {
  Errc code = Errc::kIo;
  if (number == ENOSPC || number == EDQUOT) code = Errc::kNoSpace;
  if (number == ENOENT) code = Errc::kNotFound;
  if (number == EEXIST) code = Errc::kExists;
  return Error{code, number, std::string(what) + ": " + std::strerror(number)};
}

int errno_for(const Error& error) {
  switch (error.code) {
    case Errc::kNoSpace:
      return ENOSPC;
    case Errc::kDenied:
      return EPERM;
    default:
      return EIO;
  }
}

}  // namespace dedup
