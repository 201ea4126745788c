// Result<T>: a value or an Error. The only error channel between functions of this project; nothing
// of ours throws. An Error has two audiences: an errno for the kernel (errno_for) and one sentence
// for the operator (to_string). Errors are logged once, where they are decided; on the way there
// each hop may add context with `with()`.
#pragma once

#include <cassert>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace dedup {

enum class Errc : uint8_t {
  kNotFound,     // the thing named does not exist
  kExists,       // it exists already
  kInvalid,      // the caller's input is wrong (bad argument, bad config, hostile file)
  kCorruption,   // bytes do not have the digest or shape they must have
  kDenied,       // credentials missing or refused
  kUnavailable,  // try again later: network, 5xx, timeout
  kNoSpace,      // disk full or a configured limit reached
  kUnsupported,  // this kernel or this build cannot do it
  kCancelled,    // the caller gave up
  kIo,           // a system call failed; sys_errno says how
};

std::string_view to_string(Errc code);

struct Error {
  Errc code = Errc::kIo;
  int sys_errno = 0;
  std::string context;

  // The same error with `what` put in front: "what: context".
  [[nodiscard]] Error with(std::string_view what) &&;
  [[nodiscard]] std::string to_string() const;
};

// Error from errno `number`, text "what: strerror". ENOSPC/EDQUOT become kNoSpace, ENOENT
// kNotFound, EEXIST kExists.
Error errno_error(int number, std::string_view what);

inline Error make_error(Errc code, std::string context) {
  return Error{code, 0, std::move(context)};
}

// Errno a kernel door may answer with, always one of the fanotify whitelist {EIO, ENOSPC, EPERM};
// never 0.
int errno_for(const Error& error);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : x_state(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : x_state(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return x_state.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return assert(ok()), *std::get_if<0>(&x_state); }
  const T& value() const& { return assert(ok()), *std::get_if<0>(&x_state); }
  T&& value() && { return assert(ok()), std::move(*std::get_if<0>(&x_state)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { return assert(!ok()), *std::get_if<1>(&x_state); }
  Error&& error() && { return assert(!ok()), std::move(*std::get_if<1>(&x_state)); }

 private:
  std::variant<T, Error> x_state;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : x_failed(true), x_error(std::move(error)) {}

  bool ok() const { return !x_failed; }
  explicit operator bool() const { return ok(); }
  void value() const { assert(ok()); }
  const Error& error() const& { return assert(!ok()), x_error; }
  Error&& error() && { return assert(!ok()), std::move(x_error); }

 private:
  bool x_failed = false;
  Error x_error;
};

// TRY(expr);        returns the Error of a Result expression, drops its value
// TRY(name, expr);  the same, and binds the value to a new variable `name`
// CO_TRY            the same inside a coroutine
#define DEDUP_JOIN2(a, b) a##b
#define DEDUP_JOIN(a, b) DEDUP_JOIN2(a, b)
#define DEDUP_PICK(a, b, name, ...) name
#define DEDUP_TRY1(ret, tmp, expr)             \
  do {                                         \
    auto tmp = (expr);                         \
    if (!tmp.ok()) ret std::move(tmp).error(); \
  } while (false)
#define DEDUP_TRY2(ret, tmp, name, expr)     \
  auto tmp = (expr);                         \
  if (!tmp.ok()) ret std::move(tmp).error(); \
  auto name = std::move(tmp).value()
#define DEDUP_TRY_A(expr) DEDUP_TRY1(return, DEDUP_JOIN(try_, __LINE__), expr)
#define DEDUP_TRY_B(name, expr) DEDUP_TRY2(return, DEDUP_JOIN(try_, __LINE__), name, expr)
#define DEDUP_CO_TRY_A(expr) DEDUP_TRY1(co_return, DEDUP_JOIN(try_, __LINE__), expr)
#define DEDUP_CO_TRY_B(name, expr) DEDUP_TRY2(co_return, DEDUP_JOIN(try_, __LINE__), name, expr)
#define TRY(...) DEDUP_PICK(__VA_ARGS__, DEDUP_TRY_B, DEDUP_TRY_A, )(__VA_ARGS__)
#define CO_TRY(...) DEDUP_PICK(__VA_ARGS__, DEDUP_CO_TRY_B, DEDUP_CO_TRY_A, )(__VA_ARGS__)

}  // namespace dedup
