// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "host/stdio/operations.hpp"
#include "host/stdio/session.hpp"

namespace trainctl::host {
namespace {

constexpr int kClean = 0;
constexpr int kNotOurs = 2;
constexpr int kBroken = 75;
constexpr int kQuietMs = 200;

/// A handler instead of SIG_IGN: it does not survive the exec of what we start.
void ignore_signal(int) {}

/// Non-blocking while it lives: a reader that does not read must not stop us from hearing it.
class NonBlocking {
 public:
  explicit NonBlocking(int fd) : fd_(fd), flags_(::fcntl(fd, F_GETFL)) {
    (void)::fcntl(fd, F_SETFL, flags_ | O_NONBLOCK);
  }
  ~NonBlocking() { (void)::fcntl(fd_, F_SETFL, flags_); }
  NonBlocking(const NonBlocking&) = delete;
  NonBlocking& operator=(const NonBlocking&) = delete;

 private:
  int fd_ = -1;
  int flags_ = 0;
};

class Loop {
 public:
  Loop(int in_fd, int out_fd, const StdioContext& context, const StdioOpening& opening)
      : in_(in_fd), out_(out_fd), session_(context, opening.begin) {}

  int run(std::string_view first) {
    // The hello is not kept waiting by what the first request takes.
    if (!flush()) return kBroken;
    take(first);
    for (;;) {
      if (open_) session_.pump();
      if (!flush()) return kBroken;
      if (!open_ && session_.pending().empty()) return code_;
      wait();
    }
  }

 private:
  bool flush() {
    while (!session_.pending().empty()) {
      const std::string_view bytes = session_.pending();
      const ssize_t written = ::write(out_, bytes.data(), std::min(bytes.size(), Session::kOutLimit));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return errno == EAGAIN;
      session_.sent(static_cast<std::size_t>(written));
      if (open_) session_.pump();
    }
    return true;
  }

  void take(std::string_view bytes) {
    if (session_.receive(bytes)) return;
    code_ = kNotOurs;
    open_ = false;
  }

  void read_input() {
    std::array<char, 64U << 10U> buffer;  // NOLINT: filled by read
    const ssize_t got = ::read(in_, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got > 0) return take({buffer.data(), static_cast<std::size_t>(got)});
    code_ = got == 0 && !session_.cut() ? kClean : kBroken;
    session_.drop_streams();  // answers still go out
    open_ = false;
  }

  /// Polls; true when all of `timeout` has passed.
  static bool poll_late(std::vector<pollfd>& polls, int timeout) {
    const std::uint64_t begin = base::mono_ns();
    const int ready = ::poll(polls.data(), polls.size(), timeout);
    return ready == 0 || (timeout >= 0 && base::mono_ns() - begin >= static_cast<std::uint64_t>(timeout) * 1'000'000);
  }

  /// Milliseconds that we may wait for what comes from outside; -1: for as long as it takes.
  [[nodiscard]] int patience() const {
    if (session_.busy()) return 0;
    return session_.has_closed() ? kQuietMs : -1;
  }

  /// Nothing has come for as long as we were ready to wait.
  void on_quiet() {
    if (!session_.busy()) session_.let_go();
  }

  void wait() {
    std::vector<pollfd> polls;
    std::vector<Source*> sources;
    polls.push_back({open_ ? in_ : -1, POLLIN, 0});
    polls.push_back({session_.pending().empty() ? -1 : out_, POLLOUT, 0});
    int timeout = patience();
    // Data that is already known waits for credit or for room: only then is there nothing to look for.
    for (auto& [id, stream] : session_.streams()) {
      if (stream.credit.left() == 0) continue;
      sources.push_back(stream.source.get());
      polls.push_back({stream.source->fd(), POLLIN, 0});
      const int wish = stream.source->wait_ms();
      if (wish >= 0 && (timeout < 0 || wish < timeout)) timeout = wish;
    }
    const bool late = poll_late(polls, timeout);
    if (late) on_quiet();
    for (std::size_t i = 0; i < sources.size(); ++i) {
      if (late || (polls[i + 2].revents & POLLIN) != 0) sources[i]->look();
    }
    if (open_ && (polls[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0) read_input();
  }

  int in_ = -1;
  int out_ = -1;
  Session session_;
  bool open_ = true;
  int code_ = kClean;
};

}  // namespace

int stdio_main(int in_fd, int out_fd, const StdioContext& context, const StdioOpening& opening) {
  struct sigaction action{};
  struct sigaction before{};
  action.sa_handler = ignore_signal;
  sigemptyset(&action.sa_mask);
  ::sigaction(SIGPIPE, &action, &before);
  int code = kClean;
  {
    const NonBlocking out(out_fd);
    code = Loop(in_fd, out_fd, context, opening).run(opening.first);
  }
  ::sigaction(SIGPIPE, &before, nullptr);
  return code;
}

}  // namespace trainctl::host
