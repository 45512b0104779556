// SPDX-License-Identifier: Apache-2.0
// metrics/<source>-r<rank>.jsonl: one line a point, at most 4,096 bytes.
//   {"t":1795400881.123456,"step":1,"name":"loss","value":0.3,"rank":0}
// t: seconds since 1970, UTC; step: a whole number or null; value: a number, "NaN", "Infinity" or "-Infinity".
// Lines with a "type" are other records of the script (param, text, file). docs/metrics.md is the reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/json.hpp"

namespace trainctl::format {

inline constexpr std::size_t kMaxMetricLine = 4096;  ///< bytes, with the newline
inline constexpr std::size_t kMaxMetricName = 1024;  ///< bytes of UTF-8

struct MetricPoint {
  base::WallTime t = {};
  std::optional<std::int64_t> step = {};
  std::string name;
  double value = 0;  ///< may be NaN or infinite
  int rank = 0;
  std::string source = {};  ///< script, pattern, system …: from the file's name, not in the line
};

/// What a metrics file's name says: "script-r3.jsonl" is {script, 3, -1}, "system-n1.jsonl" {system, -1, 1}.
struct MetricFile {
  std::string source;
  int rank = -1;
  int node = -1;
};
std::optional<MetricFile> parse_metric_file(std::string_view file_name);
std::string metric_file_name(std::string_view source, int rank);

/// Appends the line of `point` with its newline to `out`. A name longer than kMaxMetricName is cut at a character and
/// malformed UTF-8 becomes U+FFFD, so the line is always whole, valid JSON and at most kMaxMetricLine long.
void encode_metric(const MetricPoint& point, std::string& out);

/// Reads one line (without its newline) into `point`; source is left as it is. False: not a metric (another type of
/// line, damaged, empty). A torn line with a whole one glued to it (a full disk, SIGKILL) yields the whole one. Lines
/// of the published shape are read without a JSON parser; other spellings of the same JSON are understood too, then
/// slower.
bool decode_metric(std::string_view line, MetricPoint& point);

/// The points of all whole lines of `text` appended to `points`, with `source`. Returns the offset behind the last
/// newline: read on from there. `records`, when given, gets what decode_script_record makes of the other lines.
std::size_t decode_metrics(std::string_view text, std::string_view source, std::vector<MetricPoint>& points,
                           std::vector<Json>* records = nullptr);

/// "NaN", "Infinity", "-Infinity" (also nan, inf, +inf in any case), else empty.
std::optional<double> parse_special_number(std::string_view text);
/// A double as the JSON of a metric line: the shortest digits that read back the same, or the quoted special.
void append_metric_value(double value, std::string& out);

/// A line {"type":"param"|"tag"|"text"|"file","name":…} of a metrics file, for what is not a point; empty for all else.
std::optional<Json> decode_script_record(std::string_view line);

}  // namespace trainctl::format
