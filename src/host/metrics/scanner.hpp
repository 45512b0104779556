// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "format/metric.hpp"
#include "host/metrics/keras_bars.hpp"
#include "host/metrics/patterns.hpp"

namespace trainctl::host {

inline constexpr std::size_t kMaxScannedLine = std::size_t{64} << 10U;  ///< longer lines are skipped

/// Turns the bytes of a log into metric points, however they are cut. A line ends at \n, and at \r or backspaces too,
/// which progress bars use; terminal escapes are removed before matching. How the bytes are cut does not change what is
/// found.
class PatternScanner {
 public:
  /// `patterns` are shared by the scanners of several logs and outlive them.
  PatternScanner(const PatternSet& patterns, int rank);

  void feed(std::string_view bytes, base::WallTime now, std::vector<format::MetricPoint>& points);
  /// The log has ended: what stands behind the last line end is a line as well.
  void finish(base::WallTime now, std::vector<format::MetricPoint>& points);

  /// Bytes since the start whose lines are done: behind the last line end.
  [[nodiscard]] std::uint64_t consumed() const { return consumed_; }
  /// The step that values get in lines that name none.
  [[nodiscard]] std::optional<std::int64_t> step() const { return step_; }
  /// Goes on where another scanner of the same log was: at its consumed() and its step().
  void resume(std::uint64_t consumed, std::optional<std::int64_t> step);

  /// Things worth saying, each once: a line too long, a pattern that takes too long. Emptied by the call.
  std::vector<std::string> take_warnings() { return std::exchange(warnings_, {}); }

 private:
  void end_line(base::WallTime now, std::vector<format::MetricPoint>& points);
  void scan_line(std::string_view line, base::WallTime now, std::vector<format::MetricPoint>& points);
  void add_points(const Preset* preset, base::WallTime now, std::vector<format::MetricPoint>& points);
  void add_to_line(std::string_view part);
  void count_limit(std::size_t pattern);

  const PatternSet& patterns_;
  int rank_;
  std::vector<int> limits_hit_;  ///< per pattern
  std::string line_;             ///< the beginning of the current line
  bool too_long_ = false;
  bool said_too_long_ = false;
  std::uint64_t consumed_ = 0;
  std::uint64_t pending_ = 0;  ///< bytes behind consumed_
  std::optional<std::int64_t> step_ = {};
  std::string clean_;
  PatternMatch match_;
  bool keeps_previous_ = false;  ///< a preset needs it
  std::string previous_ = {};    ///< the line before, when the next one may belong to it; it is not consumed yet
  KerasBars bars_ = {};
  std::vector<std::string> warnings_;
};

/// `line` without terminal escapes (CSI, OSC and the other string sequences, two-character ones), written to `out`.
void strip_escapes(std::string_view line, std::string& out);

}  // namespace trainctl::host
