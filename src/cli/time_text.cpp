// SPDX-License-Identifier: Apache-2.0
#include "cli/time_text.hpp"

#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.hpp"
#include "base/text.hpp"
#include "cli/output.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

std::string broken_down(std::time_t seconds, bool utc) {
  std::tm parts{};
  if (utc) {
    ::gmtime_r(&seconds, &parts);
  } else {
    ::localtime_r(&seconds, &parts);
  }
  std::array<char, 32> text{};
  const std::size_t length =
      std::strftime(text.data(), text.size(), utc ? "%Y-%m-%d %H:%M:%SZ" : "%Y-%m-%d %H:%M:%S", &parts);
  return {text.data(), length};
}

std::optional<base::WallTime> parse_local(const std::string& text) {
  for (const char* format :
       {"%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d"}) {
    std::tm parts{};
    parts.tm_isdst = -1;
    const char* end = ::strptime(text.c_str(), format, &parts);
    if (end == nullptr || *end != '\0') continue;
    const std::time_t seconds = std::mktime(&parts);
    if (seconds != -1) return base::WallTime(std::chrono::seconds(seconds));
  }
  return std::nullopt;
}

}  // namespace

std::string time_text(const Context& context, base::WallTime time) {
  if (time == base::WallTime{}) return "-";
  return broken_down(std::chrono::system_clock::to_time_t(time), context.utc);
}

std::string time_text(const Context& context, std::string_view utc) {
  const auto time = base::parse_utc(utc);
  return time ? time_text(context, *time) : "-";
}

std::string relative_text(base::WallTime time, base::WallTime now) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - time).count();
  if (seconds < 0) return "in the future";
  if (seconds < 5) return "just now";
  if (seconds < 60) return std::to_string(seconds) + " s ago";
  if (seconds < 3600) return std::to_string(seconds / 60) + " min ago";
  if (seconds < 172'800) return std::to_string(seconds / 3600) + " h ago";
  return std::to_string(seconds / 86400) + " d ago";
}

std::string span_text(base::WallTime from, base::WallTime to) {
  return base::format_duration(std::chrono::duration_cast<std::chrono::milliseconds>(std::max(to, from) - from));
}

std::string running_text(std::optional<base::WallTime> created, base::WallTime started, base::WallTime now) {
  const bool possible = !created || (*created <= started && started <= now);
  return span_text(possible ? started : *created, now);
}

Result<base::WallTime> parse_since(std::string_view text) {
  if (const auto duration = base::parse_duration(text)) return base::wall_now() - *duration;
  if (const auto utc = base::parse_utc(text)) return *utc;
  if (const auto local = parse_local(std::string(text))) return *local;
  return fail(Errc::invalid, "\"" + std::string(text) + "\" is no time",
              "write 10m, 2h, 7d, 2026-11-23, \"2026-11-23 14:30\" or RFC 3339");
}

}  // namespace trainctl::cli
