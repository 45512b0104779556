// SPDX-License-Identifier: Apache-2.0
#include "target/host/gang_files.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/text.hpp"
#include "format/plan.hpp"
#include "host/distribution/layout.hpp"

namespace trainctl::target {
namespace {

/// The number behind the last `mark` of a name, up to '-', '.' or the end: 3 of "system-r2-n3.jsonl" for "-n".
std::optional<int> number_behind(std::string_view name, std::string_view mark) {
  const auto at = name.rfind(mark);
  if (at == std::string_view::npos) return std::nullopt;
  const char* begin = name.data() + at + mark.size();
  const char* end = name.data() + name.size();
  int number = 0;
  const auto [behind, problem] = std::from_chars(begin, end, number);
  if (problem != std::errc() || (behind != end && *behind != '.' && *behind != '-')) return std::nullopt;
  return number;
}

}  // namespace

GangFiles::GangFiles(const format::Plan& plan) : nodes_(std::max(1, plan.resources.nodes)) {
  for (const host::RankPlace& place : host::layout(plan)) node_of_rank_.push_back(place.node);
}

int GangFiles::node_of_rank(int rank) const {
  return rank >= 0 && static_cast<std::size_t>(rank) < node_of_rank_.size()
             ? node_of_rank_[static_cast<std::size_t>(rank)]
             : 0;
}

int GangFiles::node_of(std::string_view file) const {
  const std::vector<std::string> parts = base::split(file, '/');
  if (parts.size() < 4 || parts[0] != "attempts") return 0;
  if (parts[2] == "nodes") return number_behind("/" + parts[3], "/").value_or(0);
  const std::string& name = parts.back();
  if (const auto node = number_behind(name, "-n")) return *node;
  if (parts[2] == "metrics") return node_of_rank(number_behind(name, "-r").value_or(0));
  return node_of_rank(number_behind(name, "rank-").value_or(0));
}

}  // namespace trainctl::target
