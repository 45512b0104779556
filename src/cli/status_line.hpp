// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "cli/output.hpp"
#include "cli/run_metrics.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"

namespace trainctl::cli {

/// The last line of an attached terminal: what the run is doing, for how long, and its newest values. Drawn on stderr,
/// only when stdout and stderr are terminals, and only while the script's output is at the start of a line.
class StatusLine {
 public:
  StatusLine(Context& context, const format::RunPaths& run);

  void state(const format::RunState& state) { state_ = state; }
  void line_open(bool open) { line_open_ = open; }
  /// "gpubox does not answer for 12 s, trying again" instead of values that may be old; empty when all is well.
  void trouble(std::string text) { trouble_ = std::move(text); }
  void draw();
  void clear();
  /// Ends a line of the script that has no newline, so that our words begin on a line of their own.
  void finish_line();
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  Context& context_;
  format::RunPaths run_;
  std::string name_;
  std::optional<base::WallTime> created_;
  format::RunState state_;
  std::string trouble_;
  bool enabled_ = false;
  bool drawn_ = false;
  bool line_open_ = false;
  std::uint64_t began_ns_ = 0;
  std::optional<MetricReader> reader_;
  int reader_attempt_ = 0;
};

}  // namespace trainctl::cli
