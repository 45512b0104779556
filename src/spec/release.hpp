// SPDX-License-Identifier: Apache-2.0
// Version numbers of frameworks: comparing, pinning, and which ones are near.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl::spec {

/// "2.3", "2.3.1": numbers with dots, up to four. False for anything else.
bool is_release(std::string_view text);

/// <0, 0, >0; missing numbers count as 0.
int compare_releases(std::string_view a, std::string_view b);

/// Whether `release` begins with the numbers of `prefix`: 2.3.1 with 2.3, not 2.31 with 2.3.
bool has_release_prefix(std::string_view release, std::string_view prefix);

/// What a package is pinned to: 2.3.1 as it is, 2.3 as 2.3.*.
std::string pinned_release(const std::string& release);

enum class ReleaseState { known, newer, unknown };

/// What is known of a version a person asked for.
struct ReleaseAdvice {
  ReleaseState state = ReleaseState::known;
  std::string effective = {};          ///< the newest known release that fits, else the version itself
  std::vector<std::string> near = {};  ///< unknown: up to four releases close to it, the closest first
};
/// `known` in any order. Everything is known when the list is empty. A third number that is not in the list is fine
/// when the first two are.
ReleaseAdvice advise(const std::string& asked, std::span<const std::string> known);

}  // namespace trainctl::spec
