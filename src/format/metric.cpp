// SPDX-License-Identifier: Apache-2.0
#include "format/metric.hpp"

#include <stdint.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"

namespace trainctl::format {
namespace {

constexpr double kMaxSeconds = 9e12;  // microseconds of it still fit into 64 bits
constexpr std::string_view kLineStart = "{\"t\":";

base::WallTime from_seconds(double seconds) {
  return base::WallTime(std::chrono::microseconds(std::llround(seconds * 1e6)));
}

/// Reads a line of exactly the shape that encode_metric and trainctl.py write; anything else is left to the JSON
/// parser.
class FastReader {
 public:
  explicit FastReader(std::string_view line) : at_(line.data()), end_(line.data() + line.size()) {}

  bool read(MetricPoint& point) {
    return literal(kLineStart) && time(point.t) && literal(",\"step\":") && step(point.step) &&
           literal(",\"name\":\"") && name(point.name) && literal(",\"value\":") && value(point.value) &&
           literal(",\"rank\":") && number(point.rank) && point.rank >= 0 && literal("}") && at_ == end_;
  }

 private:
  bool literal(std::string_view text) {
    if (static_cast<std::size_t>(end_ - at_) < text.size() || std::string_view(at_, text.size()) != text) return false;
    at_ += text.size();
    return true;
  }

  template <class T>
  bool number(T& out) {
    if (at_ == end_ || (*at_ != '-' && (*at_ < '0' || *at_ > '9'))) return false;  // from_chars also reads inf and nan
    const auto [next, error] = std::from_chars(at_, end_, out);
    if (error != std::errc()) return false;
    at_ = next;
    return true;
  }

  bool time(base::WallTime& out) {
    // Seconds with six digits are read as two whole numbers: exact, and twice as fast as a double.
    std::int64_t seconds = 0;
    const char* const start = at_;
    if (!number(seconds)) return false;
    if (end_ - at_ > 7 && *at_ == '.' && at_[7] == ',' && seconds >= 0 && seconds < INT64_C(9'000'000'000'000)) {
      std::int64_t micros = 0;
      const auto [next, error] = std::from_chars(at_ + 1, at_ + 7, micros);
      if (error == std::errc() && next == at_ + 7 && micros >= 0) {
        at_ += 7;
        out = base::WallTime(std::chrono::microseconds(seconds * 1'000'000 + micros));
        return true;
      }
    }
    at_ = start;
    double value = 0;
    if (!number(value) || !(std::fabs(value) < kMaxSeconds)) return false;
    out = from_seconds(value);
    return true;
  }

  bool step(std::optional<std::int64_t>& out) {
    if (literal("null")) {
      out.reset();
      return true;
    }
    return number(out.emplace());
  }

  /// Plain ASCII without escapes up to the quote.
  bool name(std::string& out) {
    const char* scan = at_;
    while (scan != end_ && *scan != '"') {
      const auto byte = static_cast<unsigned char>(*scan);
      if (byte < 0x20 || byte >= 0x7f || byte == '\\') return false;
      ++scan;
    }
    const auto size = static_cast<std::size_t>(scan - at_);
    if (scan == end_ || size == 0 || size > kMaxMetricName) return false;
    out.assign(at_, size);
    at_ = scan + 1;
    return true;
  }

  bool value(double& out) {
    if (at_ != end_ && *at_ == '"') {
      constexpr double infinity = std::numeric_limits<double>::infinity();
      if (literal("\"NaN\""))
        out = std::numeric_limits<double>::quiet_NaN();
      else if (literal("\"Infinity\""))
        out = infinity;
      else if (literal("\"-Infinity\""))
        out = -infinity;
      else
        return false;
      return true;
    }
    return number(out);
  }

  const char* at_;
  const char* end_;
};

std::optional<std::int64_t> whole_number(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) return std::nullopt;
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = std::floor(value.get<double>());
  if (!(std::fabs(number) < 9.2e18)) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

std::optional<base::WallTime> read_time(const Json& value) {
  if (value.is_string()) return base::parse_utc(value.get_ref<const std::string&>());
  if (!value.is_number()) return std::nullopt;
  const auto seconds = value.get<double>();
  if (!(std::fabs(seconds) < kMaxSeconds)) return std::nullopt;
  return from_seconds(seconds);
}

std::optional<double> read_value(const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  if (value.is_string()) return parse_special_number(value.get_ref<const std::string&>());
  return std::nullopt;
}

/// Empty when it is none; left out it is 0.
std::optional<int> read_rank(const Json& line) {
  const auto rank = line.find("rank");
  if (rank == line.end()) return 0;
  const auto whole = whole_number(*rank);
  if (!whole || *whole < 0 || *whole > std::numeric_limits<int>::max()) return std::nullopt;
  return static_cast<int>(*whole);
}

/// The same line in another spelling: other order, spaces, escapes, a time as text, members we do not know.
bool decode_json(std::string_view line, MetricPoint& point) {
  const auto parsed = base::parse_json(line);
  if (!parsed || !parsed->is_object() || parsed->contains("type")) return false;
  const Json& json = *parsed;
  const auto t = json.find("t");
  const auto name = json.find("name");
  const auto value = json.find("value");
  if (t == json.end() || name == json.end() || value == json.end() || !name->is_string()) return false;
  const auto time = read_time(*t);
  const auto number = read_value(*value);
  const auto rank = read_rank(json);
  const auto& text = name->get_ref<const std::string&>();
  if (!time || !number || !rank || text.empty() || text.size() > kMaxMetricName) return false;
  const auto step = json.find("step");
  point.step = step == json.end() ? std::nullopt : whole_number(*step);
  point.rank = *rank;
  point.t = *time;
  point.name = text;
  point.value = *number;
  return true;
}

void append_escaped(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    } else {
      out += c;
    }
  }
}

void append_name(std::string_view name, std::string& out) {
  // Escaped, a byte takes up to six: names of control characters are cut shorter so that the line stays in its limit.
  constexpr std::size_t kRoom = kMaxMetricLine - 160;
  const std::string clean = base::is_utf8(name) ? std::string(name) : base::to_utf8(name);
  std::string_view rest = clean;
  if (rest.size() > kMaxMetricName) {
    std::size_t size = kMaxMetricName;
    while (size > 0 && (static_cast<unsigned char>(rest[size]) & 0xc0U) == 0x80U) --size;
    rest = rest.substr(0, size);
  }
  const std::size_t begin = out.size();
  append_escaped(rest.empty() ? std::string_view("_") : rest, out);
  while (out.size() - begin > kRoom) {
    rest.remove_suffix(rest.size() / 2);
    while (!rest.empty() && !base::is_utf8(rest)) rest.remove_suffix(1);
    out.resize(begin);
    append_escaped(rest, out);
  }
}

template <class T>
void append_number(T value, std::string& out) {
  char digits[40];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  out.append(digits, end);
}

void append_seconds(base::WallTime t, std::string& out) {
  auto micros = t.time_since_epoch().count();
  if (micros < 0) micros = 0;  // no clock of ours is before 1970
  append_number(micros / 1'000'000, out);
  out += '.';
  char digits[6];
  auto rest = micros % 1'000'000;
  for (int i = 5; i >= 0; --i, rest /= 10) digits[i] = static_cast<char>('0' + rest % 10);
  out.append(digits, sizeof digits);
}

/// "-r3" or "-n3" at the end of `stem`; cut off when it was there.
bool take_suffix(std::string_view& stem, char kind, int& out) {
  const auto dash = stem.rfind('-');
  if (dash == std::string_view::npos || dash + 2 >= stem.size() || stem[dash + 1] != kind) return false;
  int number = 0;
  const char* const end = stem.data() + stem.size();
  const auto [next, error] = std::from_chars(stem.data() + dash + 2, end, number);
  if (error != std::errc() || next != end || number < 0) return false;
  out = number;
  stem = stem.substr(0, dash);
  return true;
}

}  // namespace

std::optional<MetricFile> parse_metric_file(std::string_view file_name) {
  constexpr std::string_view kEnd = ".jsonl";
  if (!file_name.ends_with(kEnd)) return std::nullopt;
  std::string_view stem = file_name.substr(0, file_name.size() - kEnd.size());
  MetricFile file;
  const bool node = take_suffix(stem, 'n', file.node);
  const bool rank = take_suffix(stem, 'r', file.rank);
  if ((!rank && !node) || stem.empty() || stem.front() == '.') return std::nullopt;
  file.source = stem;
  return file;
}

std::string metric_file_name(std::string_view source, int rank) {
  return std::string(source) + "-r" + std::to_string(rank) + ".jsonl";
}

void append_metric_value(double value, std::string& out) {
  if (std::isnan(value)) {
    out += "\"NaN\"";
  } else if (std::isinf(value)) {
    out += value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
  } else if (value == 0 && std::signbit(value)) {
    out += "-0.0";  // "-0" is an integer to a JSON parser, which has no sign
  } else {
    append_number(value, out);
  }
}

void encode_metric(const MetricPoint& point, std::string& out) {
  out += kLineStart;
  append_seconds(point.t, out);
  out += ",\"step\":";
  if (point.step)
    append_number(*point.step, out);
  else
    out += "null";
  out += ",\"name\":\"";
  append_name(point.name, out);
  out += "\",\"value\":";
  append_metric_value(point.value, out);
  out += ",\"rank\":";
  append_number(point.rank < 0 ? 0 : point.rank, out);
  out += "}\n";
}

bool decode_metric(std::string_view line, MetricPoint& point) {
  if (FastReader(line).read(point)) return true;
  line = base::trim(line);
  if (line.size() < 2 || line.size() > kMaxMetricLine) return false;
  if (decode_json(line, point)) return true;
  // Unescaped, {"t": stands nowhere inside a JSON string: the last one begins a line that was glued to a torn one.
  const auto glued = line.rfind(kLineStart);
  if (glued == std::string_view::npos || glued == 0) return false;
  line.remove_prefix(glued);
  return FastReader(line).read(point) || decode_json(line, point);
}

std::size_t decode_metrics(std::string_view text, std::string_view source, std::vector<MetricPoint>& points,
                           std::vector<Json>* records) {
  std::size_t begin = 0;
  MetricPoint point;
  for (std::size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', begin)) {
    const std::string_view line = text.substr(begin, end - begin);
    if (decode_metric(line, point)) {
      point.source = source;
      points.push_back(std::move(point));
    } else if (records != nullptr) {
      if (auto record = decode_script_record(line)) records->push_back(std::move(*record));
    }
    begin = end + 1;
  }
  return begin;
}

std::optional<double> parse_special_number(std::string_view text) {
  bool negative = false;
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  const std::string word = base::to_lower(text);
  if (word == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (word != "inf" && word != "infinity") return std::nullopt;
  return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
}

std::optional<Json> decode_script_record(std::string_view line) {
  constexpr std::string_view kStart = "{\"type\":\"";
  if (!line.starts_with(kStart)) return std::nullopt;
  const auto kind = line.substr(kStart.size(), line.find('"', kStart.size()) - kStart.size());
  if (kind != "param" && kind != "tag" && kind != "text" && kind != "file") return std::nullopt;
  auto parsed = base::parse_json(line);
  if (!parsed || !parsed->is_object()) return std::nullopt;
  const auto name = parsed->find("name");
  if (name == parsed->end() || !name->is_string()) return std::nullopt;
  return std::move(*parsed);
}

}  // namespace trainctl::format
