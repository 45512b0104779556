// SPDX-License-Identifier: Apache-2.0
// The log of a run on stdout, as it grows: raw, filtered for a terminal, as JSON or with times. Each byte is shown
// once, whether it comes from the copy here or, while there is no room for one, straight from the run's target.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/attach.hpp"
#include "cli/output.hpp"
#include "cli/status_line.hpp"
#include "cli/timed_lines.hpp"
#include "engine/follow.hpp"
#include "engine/live_view.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {

class LogScreen {
 public:
  /// All of them must outlive it.
  LogScreen(Context& context, const format::RunPaths& run, const AttachOptions& options, StatusLine& status);

  /// What of the log has come. What cannot be read yet is given back to `follower`.
  Result<> show(engine::Follower& follower, const engine::Growth& growth);
  /// What came while there was no room for its copy.
  void show_live(const std::vector<engine::LivePiece>& pieces);
  /// What has come of the log of building the environment: on stderr, beside the run's own.
  void show_environment(const format::RunState& state);
  /// Lines that wait for their times.
  Result<> finish();

  /// For why there is another attempt: what the caller tells of a state is not told again.
  void hear_of_state(const format::RunState& state);
  /// Times and a chosen attempt are shown from the copy alone.
  [[nodiscard]] bool shows_live() const { return !options_.environment && !timed_ && !options_.attempt; }
  [[nodiscard]] bool has_read_all() const { return unread_since_ == 0; }
  [[nodiscard]] bool in_gust() const { return gust_; }

 private:
  Result<std::uint64_t> show_range(const engine::LogRange& range);
  Result<std::uint64_t> show_json(const engine::LogRange& range);
  Result<std::uint64_t> show_filtered(const engine::LogRange& range);
  std::uint64_t send_raw(const engine::LogRange& range);
  void show_bytes(int attempt, std::uint64_t offset, std::string_view bytes);
  void print_log(const std::filesystem::path& log, int attempt, int epoch, std::uint64_t offset,
                 const std::string& bytes);
  void write_shown(const std::string& text);
  void announce_attempt(int attempt);
  void tell_retry(int attempt);
  void leave_for_later(engine::Follower& follower, const engine::LogRange& range, std::uint64_t size);
  [[nodiscard]] engine::LogRange behind_live(engine::LogRange range) const;
  [[nodiscard]] std::filesystem::path shown_log(int attempt) const;

  Context& context_;
  const format::RunPaths& run_;
  const AttachOptions& options_;
  StatusLine& status_;
  TerminalFilter filter_;
  std::optional<TimedLines> timed_;  ///< when lines are shown with their times
  int live_attempt_ = 0;             ///< up to here the log was shown, from its copy or without
  std::uint64_t live_offset_ = 0;
  int shown_attempt_ = 1;
  int first_seen_ = 0;  ///< the attempt that was the last one when this began
  int told_retry_ = 0;  ///< … of which it was told that another one follows
  int environment_attempt_ = 0;
  std::uint64_t environment_offset_ = 0;
  std::uint64_t unread_since_ = 0;  ///< there is nothing yet where the log should go on; 0 = all could be read
  bool gust_ = false;               ///< much came at once
};

}  // namespace trainctl::cli
