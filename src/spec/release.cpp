// SPDX-License-Identifier: Apache-2.0
#include "spec/release.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.hpp"

namespace trainctl::spec {
namespace {

constexpr std::size_t kMostNear = 4;

std::vector<int> numbers(std::string_view release) {
  std::vector<int> parts;
  for (const std::string& part : base::split(release, '.')) {
    int number = 0;
    std::from_chars(part.data(), part.data() + part.size(), number);
    parts.push_back(number);
  }
  return parts;
}

std::string prefix_of(std::string_view release, std::size_t count) {
  std::vector<std::string> parts = base::split(release, '.');
  parts.resize(std::min(parts.size(), count));
  return base::join(parts, ".");
}

/// How far a release is from what was asked for, in the numbers that were asked for; the first one counts most.
long distance(std::string_view release, std::string_view asked) {
  std::vector<int> left = numbers(release);
  std::vector<int> right = numbers(asked);
  const std::size_t said = std::min<std::size_t>(right.size(), 3);
  left.resize(3);
  right.resize(3);
  long sum = 0;
  for (std::size_t i = 0; i < said; ++i) sum = sum * 1000 + std::labs(static_cast<long>(left[i]) - right[i]);
  return sum;
}

std::vector<std::string> nearest(const std::string& asked, std::span<const std::string> known) {
  std::vector<std::string> all(known.begin(), known.end());
  std::stable_sort(all.begin(), all.end(), [&](const std::string& a, const std::string& b) {
    return std::pair(distance(a, asked), compare_releases(b, a)) < std::pair(distance(b, asked), 0);
  });
  all.resize(std::min(all.size(), kMostNear));
  return all;
}

}  // namespace

bool is_release(std::string_view text) {
  const auto parts = base::split(text, '.');
  return !text.empty() && parts.size() <= 4 && std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
    return !part.empty() && part.size() <= 6 && part.find_first_not_of("0123456789") == std::string::npos;
  });
}

int compare_releases(std::string_view a, std::string_view b) {
  std::vector<int> left = numbers(a);
  std::vector<int> right = numbers(b);
  const std::size_t size = std::max(left.size(), right.size());
  left.resize(size);
  right.resize(size);
  return left < right ? -1 : left > right ? 1 : 0;
}

bool has_release_prefix(std::string_view release, std::string_view prefix) {
  const std::vector<int> whole = numbers(release);
  const std::vector<int> part = numbers(prefix);
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

std::string pinned_release(const std::string& release) {
  return std::count(release.begin(), release.end(), '.') >= 2 ? release : release + ".*";
}

ReleaseAdvice advise(const std::string& asked, std::span<const std::string> known) {
  ReleaseAdvice advice{.effective = asked};
  if (known.empty()) return advice;
  // A third number that is not listed may well exist: the lists are not kept up to every correction.
  const std::string minor = prefix_of(asked, 2);
  std::string newest = known.front();
  std::string fitting;
  for (const std::string& release : known) {
    if (compare_releases(release, newest) > 0) newest = release;
    if (!has_release_prefix(release, minor)) continue;
    if (fitting.empty() || compare_releases(release, fitting) > 0) fitting = release;
  }
  if (!fitting.empty()) {
    if (has_release_prefix(fitting, asked)) advice.effective = fitting;
    return advice;
  }
  if (compare_releases(asked, newest) > 0) {
    advice.state = ReleaseState::newer;
    return advice;
  }
  advice.state = ReleaseState::unknown;
  advice.near = nearest(asked, known);
  return advice;
}

}  // namespace trainctl::spec
