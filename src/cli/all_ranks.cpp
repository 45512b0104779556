// SPDX-License-Identifier: Apache-2.0
#include "cli/all_ranks.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/output.hpp"
#include "engine/follow.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/distribution/layout.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr std::size_t kBlock = 256U << 10U;
constexpr int kWaitMs = 1000;  // network file systems tell nothing

/// One rank's log, cut into lines.
class RankLines {
 public:
  RankLines(Context& context, engine::Follower follower, int rank, std::size_t width)
      : context_(context), follower_(std::move(follower)), rank_(rank) {
    const std::string number = std::to_string(rank);
    prefix_ = "[" + std::string(width - std::min(width, number.size()), ' ') + number + "] ";
  }

  /// Prints what grew; false when there is nothing more to come.
  Result<bool> advance() {
    if (finished_) return false;
    TRY_ASSIGN(const engine::Growth growth, follower_.poll_growth());
    for (const engine::LogRange& range : growth.logs) {
      if (range.attempt != attempt_) flush();
      attempt_ = range.attempt;
      TRY(print(range));
    }
    finished_ = growth.finished;
    if (finished_) flush();
    return !finished_;
  }

  void flush() {
    if (!line_.empty()) print_line();
  }
  [[nodiscard]] bool more() const { return !finished_ && follower_.more(); }
  [[nodiscard]] bool finished() const { return finished_; }
  [[nodiscard]] int fd() const { return finished_ ? -1 : follower_.fd(); }

 private:
  Result<> print(const engine::LogRange& range) {
    std::string block(kBlock, '\0');
    for (std::uint64_t done = 0; done < range.size && !context_.out.closed();) {
      const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kBlock, range.size - done));
      const ssize_t count = ::pread(range.fd, block.data(), wanted, static_cast<off_t>(range.offset + done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return fail_errno("read a log", errno);
      if (count == 0) break;
      for (const char c : std::string_view(block).substr(0, static_cast<std::size_t>(count))) {
        if (c == '\n') {
          print_line();
        } else {
          line_ += c;
        }
      }
      done += static_cast<std::uint64_t>(count);
    }
    return {};
  }

  void print_line() {
    if (context_.json) {
      context_.print({{"type", "log"}, {"rank", rank_}, {"attempt", attempt_}, {"text", line_}});
    } else {
      context_.out.line(prefix_ + (context_.out.is_terminal() ? filter_.filter(line_) : line_));
    }
    line_.clear();
  }

  Context& context_;
  engine::Follower follower_;
  TerminalFilter filter_;
  int rank_;
  int attempt_ = 0;
  bool finished_ = false;
  std::string prefix_;
  std::string line_;
};

Result<std::vector<RankLines>> open_logs(Context& context, const format::RunPaths& run, std::optional<int> attempt) {
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  const int count = host::world_size(plan);
  const std::size_t width = std::to_string(count - 1).size();
  std::vector<RankLines> logs;
  for (int rank = 0; rank < count; ++rank) {
    TRY_ASSIGN(auto follower, engine::Follower::open(run, {.rank = rank, .attempt = attempt}));
    logs.emplace_back(context, std::move(follower), rank, width);
  }
  return logs;
}

void wait_for_growth(const std::vector<RankLines>& logs) {
  std::vector<pollfd> sources;
  for (const RankLines& log : logs) {
    if (log.fd() >= 0) sources.push_back({log.fd(), POLLIN, 0});
  }
  ::poll(sources.data(), sources.size(), kWaitMs);
}

}  // namespace

int show_all_ranks(Context& context, const format::RunPaths& run, std::optional<int> attempt, bool follow) {
  auto logs = open_logs(context, run, attempt);
  if (!logs) return report(context, logs.error());
  for (;;) {
    bool more = false;
    for (RankLines& log : *logs) {
      do {
        if (const auto advanced = log.advance(); !advanced) return report(context, advanced.error());
      } while (!follow && log.more() && !context.out.closed());
      if (!follow) log.flush();
      more = more || log.more();
    }
    context.out.flush();
    const bool ended = std::all_of(logs->begin(), logs->end(), [](const RankLines& log) { return log.finished(); });
    if (!follow || ended || context.out.closed()) return 0;
    if (!more) wait_for_growth(*logs);
  }
}

}  // namespace trainctl::cli
