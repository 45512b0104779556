// SPDX-License-Identifier: Apache-2.0
#include "host/metrics/tailer.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "format/metric.hpp"
#include "host/metrics/cursor_file.hpp"
#include "host/metrics/scanner.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kReadSize = std::size_t{256} << 10U;
constexpr std::uint64_t kCursorNs = 5'000'000'000;  ///< between two cursor lines while the log grows
constexpr int kSafetyMs = 1000;                     ///< inotify misses nothing, but nothing may hang on that
constexpr int kGatherMs = 50;                       ///< a script that prints in small pieces must not wake us for each

/// One log and its outputs.
class Tail {
 public:
  Tail(const PatternLog& log, const PatternTailerOptions& options)
      : path_(log.path), scanner_(options.patterns, log.rank), output_(options.metrics_directory, log.rank) {}

  /// Reads at most one piece. True: there may be more.
  Result<bool> advance() {
    TRY(recover());
    TRY(output_.flush());  // what an earlier try could not write
    if (!open_log()) return false;
    TRY(check_length());
    const ssize_t count = ::pread(fd_.get(), buffer_.data(), buffer_.size(), static_cast<off_t>(read_to_));
    if (count < 0 && errno != EINTR) return fail_errno("read " + path_.string(), errno);
    if (count <= 0) return count < 0;
    read_to_ += static_cast<std::uint64_t>(count);
    points_.clear();
    scanner_.feed(std::string_view(buffer_.data(), static_cast<std::size_t>(count)), base::wall_now(), points_);
    output_.add(points_);
    TRY(output_.flush());
    TRY(save_cursor(kCursorNs));
    return true;
  }

  /// The log has its end.
  Result<> finish() {
    TRY(recover());
    points_.clear();
    scanner_.finish(base::wall_now(), points_);
    output_.add(points_);
    TRY(output_.flush());
    return save_cursor(0);
  }

  std::vector<std::string> take_warnings() { return scanner_.take_warnings(); }

 private:
  /// Goes on where an earlier tailer was. Tried until it works: it may need to write.
  Result<> recover() {
    if (recovered_) return {};
    TRY_ASSIGN(const auto state, output_.recover());
    scanner_.resume(state.offset, state.step);
    read_to_ = state.offset;
    cursor_at_ = state.offset;
    recovered_ = true;
    return {};
  }

  bool open_log() {
    if (fd_) return true;
    fd_.reset(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    return static_cast<bool>(fd_);
  }

  Result<> check_length() {
    struct stat status{};
    if (::fstat(fd_.get(), &status) != 0) return fail_errno("stat " + path_.string(), errno);
    if (static_cast<std::uint64_t>(status.st_size) >= read_to_) return {};
    scanner_.resume(0, scanner_.step());
    output_.restart();
    read_to_ = 0;
    return save_cursor(0);
  }

  Result<> save_cursor(std::uint64_t every_ns) {
    const std::uint64_t now = base::mono_ns();
    if (scanner_.consumed() == cursor_at_ || !output_.settled() || now - cursor_ns_ < every_ns) return {};
    TRY(output_.write_cursor(scanner_.consumed(), scanner_.step()));
    cursor_at_ = scanner_.consumed();
    cursor_ns_ = now;
    return {};
  }

  std::filesystem::path path_;
  base::UniqueFd fd_ = {};
  PatternScanner scanner_;
  PatternOutput output_;
  bool recovered_ = false;
  std::uint64_t read_to_ = 0;
  std::uint64_t cursor_at_ = 0;
  std::uint64_t cursor_ns_ = 0;
  std::vector<char> buffer_ = std::vector<char>(kReadSize);
  std::vector<format::MetricPoint> points_ = {};
};

/// Waits for growth of the logs or for the control pipe.
class Waker {
 public:
  explicit Waker(const PatternTailerOptions& options)
      : control_fd_(options.control_fd), poll_ms_(static_cast<int>(options.poll_interval.count())) {
    std::set<std::filesystem::path> folders;
    for (const PatternLog& log : options.logs) folders.insert(log.path.parent_path());
    const bool remote = std::any_of(folders.begin(), folders.end(), base::is_network_file_system);
    if (options.poll_only || remote) return;
    inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    for (const auto& folder : folders) {
      if (!inotify_) return;
      // The folder, not the files: they may not be there yet, or be replaced. No watch left (a limit of the user):
      // poll.
      constexpr std::uint32_t kMask = IN_MODIFY | IN_CREATE | IN_MOVED_TO;
      if (::inotify_add_watch(inotify_.get(), folder.c_str(), kMask) < 0) inotify_.reset();
    }
  }

  /// True when it is time to stop. `retry`: something could not be written, so look again soon without growth.
  bool wait(bool retry) {
    std::array<pollfd, 2> fds = {pollfd{.fd = control_fd_, .events = POLLIN, .revents = 0},
                                 pollfd{.fd = inotify_.get(), .events = POLLIN, .revents = 0}};
    (void)::poll(fds.data(), fds.size(), inotify_ && !retry ? kSafetyMs : poll_ms_);
    if (fds[0].revents != 0) return true;
    if (fds[1].revents == 0) return false;
    (void)::poll(fds.data(), 1, kGatherMs);
    drain();
    return fds[0].revents != 0;
  }

 private:
  void drain() {
    alignas(inotify_event) std::array<char, 4096> buffer;
    while (::read(inotify_.get(), buffer.data(), buffer.size()) > 0) {
    }
  }

  int control_fd_;
  int poll_ms_;
  base::UniqueFd inotify_ = {};
};

class Tailer {
 public:
  explicit Tailer(const PatternTailerOptions& options) : options_(options) {}

  Result<> run() {
    for (const PatternLog& log : options_.logs) tails_.push_back(std::make_unique<Tail>(log, options_));
    Waker waker(options_);
    bool stop = options_.control_fd < 0;
    while (true) {
      const Result<> outcome = read_all();
      if (!outcome) say(outcome.error());
      if (stop) return outcome ? finish() : outcome;
      stop = waker.wait(!outcome);
    }
  }

 private:
  /// Every log to its present end. One that fails does not keep the others back.
  Result<> read_all() {
    Result<> first;
    for (const auto& tail : tails_) {
      for (bool more = true; more;) {
        auto advanced = tail->advance();
        if (!advanced && first) first = fail(advanced.error());
        more = advanced && *advanced;
      }
      say_warnings(*tail);
    }
    return first;
  }

  Result<> finish() {
    Result<> first;
    for (const auto& tail : tails_) {
      auto finished = tail->finish();
      say_warnings(*tail);
      if (!finished && first) first = std::move(finished);
    }
    return first;
  }

  void say_warnings(Tail& tail) {
    for (const std::string& warning : tail.take_warnings())
      if (options_.warn && said_.insert(warning).second) options_.warn(warning);
  }

  void say(const Error& error) {
    if (options_.warn && said_.insert(error.message).second) options_.warn("metrics.patterns: " + error.message);
  }

  const PatternTailerOptions& options_;
  std::vector<std::unique_ptr<Tail>> tails_ = {};
  std::set<std::string> said_ = {};
};

}  // namespace

Result<> run_pattern_tailer(const PatternTailerOptions& options) {
  return Tailer(options).run();
}

}  // namespace trainctl::host
