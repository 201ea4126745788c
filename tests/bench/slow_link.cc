// slow-link: a TCP forwarder that behaves like a link of given bandwidth and round trip time. Not
// modelled: loss, slow start, limits of one connection; that flatters clients with many
// connections. One thread.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <list>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "slow_pipe.h"

namespace dedup {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

struct Options {
  sockaddr_in listen{};
  sockaddr_in to{};
  int64_t rtt = 0;  // ns
  uint64_t bits_per_s = 0;
  std::FILE* log = nullptr;
};

int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

Result<sockaddr_in> parse_address(const std::string& text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  const size_t colon = text.rfind(':');
  const int port = colon == std::string::npos ? -1 : std::atoi(text.c_str() + colon + 1);
  if (port < 0 || port > 65535 ||
      ::inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1)
    return make_error(Errc::kInvalid, "\"" + text + "\" is not ADDRESS:PORT");
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

const sockaddr* generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

UniqueFd tcp_socket() {
  return UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

Result<UniqueFd> listen_at(sockaddr_in address) {
  UniqueFd fd = tcp_socket();
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  socklen_t length = sizeof address;
  if (::bind(fd.get(), generic(address), length) != 0 || ::listen(fd.get(), 256) != 0)
    return errno_error(errno, "listen");
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length);
  char text[INET_ADDRSTRLEN];
  ::inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
  std::printf("listening on %s:%d\n", text, ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

void make_prompt(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

struct Connection {
  uint64_t number;
  UniqueFd client, server;
  SlowPipe up, down;
  pollfd polled[2] = {};  // client, server: as of the last wait

  // The client knows of the connection after one round trip, the server half a one later.
  Connection(uint64_t n, UniqueFd client_fd, UniqueFd server_fd, Link& up_link, Link& down_link,
             int64_t rtt, int64_t now)
      : number(n),
        client(std::move(client_fd)),
        server(std::move(server_fd)),
        up(client.get(), server.get(), up_link, rtt / 2, now + rtt),
        down(server.get(), client.get(), down_link, rtt / 2, now + rtt + rtt / 2) {}
  bool over() const { return (up.ended() && down.ended()) || up.broken() || down.broken(); }
};

volatile sig_atomic_t report_wanted = 0;
volatile sig_atomic_t stop_wanted = 0;

class SlowLink {
 public:
  SlowLink(const Options& options, UniqueFd listener)
      : x_options(options),
        x_listener(std::move(listener)),
        x_up(options.bits_per_s),
        x_down(options.bits_per_s) {}

  // Until SIGTERM or SIGINT, which come during the wait alone.
  void run(const sigset_t& during_wait) {
    while (stop_wanted == 0) {
      wait(during_wait);
      if (std::exchange(report_wanted, 0) != 0) report();
      accept_one();
      deliver();
      take_turns();
      std::erase_if(x_connections, [this](const Connection& connection) {
        if (connection.over()) note(connection, "close", 0);
        return connection.over();
      });
    }
    report();
  }

 private:
  // What `fd` is polled for on behalf of the pipe that reads it and the one that writes it.
  pollfd interest(int fd, const SlowPipe& reads, const SlowPipe& writes, int64_t now,
                  int64_t& wake) const {
    short events = writes.receiver_full() ? POLLOUT : 0;
    if (reads.reads_at() <= now)
      events |= POLLIN;
    else
      wake = std::min(wake, reads.reads_at());
    wake = std::min(wake, writes.arrives_at());
    return {events != 0 ? fd : -1, events, 0};  // else a hang-up would be reported for ever
  }

  void wait(const sigset_t& signals) {
    int64_t wake = kNever;
    const int64_t now = now_ns();
    x_polled.assign(1, {x_listener.get(), POLLIN, 0});
    for (const Connection& c : x_connections) {
      x_polled.push_back(interest(c.client.get(), c.up, c.down, now, wake));
      x_polled.push_back(interest(c.server.get(), c.down, c.up, now, wake));
    }
    const int64_t left = std::max<int64_t>(0, wake - now);
    const timespec timeout{left / kSecond, left % kSecond};
    if (::ppoll(x_polled.data(), x_polled.size(), wake == kNever ? nullptr : &timeout, &signals) <
        0)
      for (pollfd& polled : x_polled) polled.revents = 0;
    size_t i = 1;
    for (Connection& c : x_connections) {
      c.polled[0] = x_polled[i++];
      c.polled[1] = x_polled[i++];
    }
  }

  void accept_one() {
    if (x_polled[0].revents == 0) return;
    UniqueFd client(::accept4(x_listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    UniqueFd server = tcp_socket();
    if (!client.valid() || ::connect(server.get(), generic(x_options.to), sizeof x_options.to) != 0)
      return;
    make_prompt(client.get());
    make_prompt(server.get());
    x_connections.emplace_back(++x_accepted, std::move(client), std::move(server), x_up, x_down,
                               x_options.rtt, now_ns());
    x_peak = std::max(x_peak, x_connections.size());
    note(x_connections.back(), "open", 0);
  }

  void deliver() {
    for (Connection& c : x_connections) {
      if (const uint64_t bytes = c.up.deliver(now_ns())) note(c, "up", bytes);
      if (const uint64_t bytes = c.down.deliver(now_ns())) note(c, "down", bytes);
    }
  }

  // One packet each, around and around, while the link takes them.
  void take_turns() {
    for (bool took = true; took;) {
      took = false;
      for (Connection& c : x_connections) {
        took |= take(c.up, c.polled[0]);
        took |= take(c.down, c.polled[1]);
      }
      // The next round does not begin with the same connection.
      if (took) x_connections.splice(x_connections.end(), x_connections, x_connections.begin());
    }
  }

  bool take(SlowPipe& pipe, pollfd& polled) const {
    if ((polled.revents & (POLLIN | POLLHUP | POLLERR)) == 0) return false;
    const int64_t now = now_ns();
    if (pipe.reads_at() > now) return false;
    if (pipe.take(now)) return true;
    polled.revents = 0;
    return false;
  }

  void note(const Connection& connection, const char* what, uint64_t bytes) const {
    if (x_options.log == nullptr) return;
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    std::fprintf(x_options.log, "%lld.%06ld %llu %s %llu\n", static_cast<long long>(now.tv_sec),
                 now.tv_nsec / 1000, static_cast<unsigned long long>(connection.number), what,
                 static_cast<unsigned long long>(bytes));
  }

  void report() const {
    if (x_options.log != nullptr) std::fflush(x_options.log);
    std::printf(
        "{\"connections\": %llu, \"open\": %zu, \"peak\": %zu, \"up_bytes\": %llu, "
        "\"down_bytes\": %llu}\n",
        static_cast<unsigned long long>(x_accepted), x_connections.size(), x_peak,
        static_cast<unsigned long long>(x_up.bytes()),
        static_cast<unsigned long long>(x_down.bytes()));
    std::fflush(stdout);
  }

  Options x_options;
  UniqueFd x_listener;
  Link x_up, x_down;
  std::list<Connection> x_connections;
  std::vector<pollfd> x_polled;
  uint64_t x_accepted = 0;
  size_t x_peak = 0;
};

Result<void> forward(const Options& options) {
  sigset_t during_wait, blocked;
  ::sigprocmask(SIG_SETMASK, nullptr, &during_wait);
  sigemptyset(&blocked);
  for (const int number : {SIGUSR1, SIGTERM, SIGINT}) {
    sigaddset(&blocked, number);
    struct sigaction action {};
    action.sa_handler = [](int n) { (n == SIGUSR1 ? report_wanted : stop_wanted) = 1; };
    ::sigaction(number, &action, nullptr);
  }
  ::sigprocmask(SIG_BLOCK, &blocked, nullptr);
  ::prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  TRY(listener, listen_at(options.listen));
  SlowLink(options, std::move(listener)).run(during_wait);
  return {};
}

}  // namespace
}  // namespace dedup

int main(int argc, char** argv) {
  CLI::App app(
      "Forwards TCP connections as a link of given bandwidth and round trip time would.\n"
      "All connections share the bandwidth, --mbit in each direction, in turns of 16 KiB; a byte\n"
      "arrives rtt/2 after the link has carried it, and a new connection takes one rtt more "
      "before\n"
      "its first byte sets out. Prints \"listening on ADDRESS:PORT\"; on SIGUSR1 and at the end "
      "the\n"
      "counters as one JSON object. Loss and TCP slow start are not modelled.",
      "slow_link");
  std::string listen = "127.0.0.1:0", to, log;
  double rtt_ms = 0, mbit = 0;
  app.add_option("--listen", listen, "ADDRESS:PORT; port 0: any free one")->capture_default_str();
  app.add_option("--to", to, "ADDRESS:PORT of the server")->required();
  app.add_option("--rtt-ms", rtt_ms, "round trip time in milliseconds (10^-3 s)")
      ->check(CLI::Range(0.0, 60'000.0));
  app.add_option("--mbit", mbit, "10^6 bits per second, payload; 0: no limit")
      ->check(CLI::Range(0.0, 1e6));
  app.add_option(
      "--log", log,
      "file: a line per delivery: seconds since 1970, connection, open|up|down|close, bytes");
  CLI11_PARSE(app, argc, argv);

  dedup::Options options;
  const auto from = dedup::parse_address(listen), target = dedup::parse_address(to);
  dedup::Result<void> outcome;
  if (!from.ok() || !target.ok()) {
    outcome = from.ok() ? target.error() : from.error();
  } else {
    options.listen = *from;
    options.to = *target;
    options.rtt = static_cast<int64_t>(rtt_ms * 1e6);
    options.bits_per_s = static_cast<uint64_t>(mbit * 1e6);
    if (!log.empty() && (options.log = std::fopen(log.c_str(), "we")) == nullptr)
      outcome = dedup::errno_error(errno, log);
    else
      outcome = dedup::forward(options);
  }
  if (outcome.ok()) return 0;
  std::fprintf(stderr, "slow_link: %s\n", outcome.error().to_string().c_str());
  return 1;
}
