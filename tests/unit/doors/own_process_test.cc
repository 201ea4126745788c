#include "doors/own_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>

#include "base/unique_fd.h"

namespace dedup {
namespace {

TEST(OwnProcess, SaysHowItWent) {
  EXPECT_TRUE(in_own_process({}, [] { return Result<void>(); }).ok());
  const auto failed = in_own_process({}, [] {
    return Result<void>(Error{Errc::kExists, EBUSY, "is busy"});
  });
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, Errc::kExists);
  EXPECT_EQ(failed.error().sys_errno, EBUSY);
  EXPECT_EQ(failed.error().context, "is busy");
}

TEST(OwnProcess, LongMessageIsCutAndDeathIsAnError) {
  const auto failed = in_own_process(
      {}, [] { return Result<void>(make_error(Errc::kIo, std::string(100000, 'x'))); });
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().context.substr(0, 100), std::string(100, 'x'));
  EXPECT_LT(failed.error().context.size(), 10000u);
  const auto killed = in_own_process({}, [] {
    kill(getpid(), SIGKILL);
    return Result<void>();
  });
  EXPECT_FALSE(killed.ok());
}

// What it held open would keep a connection alive after the daemon's death.
TEST(OwnProcess, HasTheNamedFdsAndNoOthers) {
  const UniqueFd wanted(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd other(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd last(fcntl(wanted.get(), F_DUPFD_CLOEXEC, 200));
  const auto done = in_own_process({last.get(), wanted.get()}, [&]() -> Result<void> {
    const bool right = fcntl(wanted.get(), F_GETFD) >= 0 && fcntl(last.get(), F_GETFD) >= 0 &&
                       fcntl(other.get(), F_GETFD) < 0;
    return right ? Result<void>() : make_error(Errc::kInvalid, "wrong fds");
  });
  EXPECT_TRUE(done.ok());
  EXPECT_GE(fcntl(other.get(), F_GETFD), 0);
}

}  // namespace
}  // namespace dedup
