// SPDX-License-Identifier: Apache-2.0
// From what a person types to a ULID.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::archive {
namespace {

constexpr std::size_t kShortId = 6;
constexpr std::size_t kMostListed = 8;

std::optional<std::size_t> to_index(std::string_view text) {
  if (text.empty()) return 1;
  std::size_t number = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc() || end != text.data() + text.size() || number == 0) return std::nullopt;
  return number;
}

/// names/<base>/<n> → ULID; missing is empty.
std::optional<std::string> claimed(const std::filesystem::path& file) {
  const auto text = base::read_file_if_exists(file, 256);
  if (!text || !*text) return std::nullopt;
  std::string id(base::trim(**text));
  return base::is_ulid(id) ? std::optional(id) : std::nullopt;
}

/// One without a plan was never said to exist: whoever makes it is at work, or was killed.
bool is_said(const format::StorePaths& paths, const std::string& id) {
  return base::exists(paths.run(id).plan());
}

/// Highest number in names/<base> whose run is still there.
std::optional<std::string> last_of(const format::StorePaths& paths, const std::string& base) {
  const auto names = base::list_directory(paths.names() / base);
  if (!names) return std::nullopt;
  std::vector<std::size_t> numbers;
  for (const std::string& name : *names) {
    if (const auto number = to_index(name); number && !name.empty()) numbers.push_back(*number);
  }
  std::sort(numbers.rbegin(), numbers.rend());
  for (const std::size_t number : numbers) {
    auto id = claimed(paths.names() / base / std::to_string(number));
    if (id && is_said(paths, *id)) return id;
  }
  return std::nullopt;
}

std::optional<std::string> by_name(const format::StorePaths& paths, std::string_view text) {
  const std::size_t dash = text.rfind('-');
  if (dash != std::string_view::npos && to_index(text.substr(dash + 1)) && dash + 1 < text.size()) {
    auto id = claimed(paths.names() / text.substr(0, dash) / text.substr(dash + 1));
    if (id && is_said(paths, *id)) return id;
  }
  return is_valid_name(text) ? last_of(paths, std::string(text)) : std::nullopt;
}

/// What people call the run: its name, where its plan can be read.
std::string called(const format::StorePaths& paths, const std::string& id) {
  const auto plan = format::read_plan(paths.run(id).plan());
  return plan ? plan->name : id;
}

Error ambiguous(const format::StorePaths& paths, std::string_view text, const std::vector<std::string>& matches) {
  std::string message = "\"" + std::string(text) + "\" may mean " + std::to_string(matches.size()) + " runs:";
  for (std::size_t i = 0; i < std::min(matches.size(), kMostListed); ++i) message += " " + called(paths, matches[i]);
  if (matches.size() > kMostListed) message += " …";
  return {.code = Errc::invalid, .message = message, .hint = "type more of the id"};
}

Error unknown(const format::StorePaths& paths, std::string_view text) {
  Error error{.code = Errc::not_found, .message = "no run \"" + std::string(text) + "\""};
  const auto names = base::list_directory(paths.names());
  error.hint = "trainctl ls lists the runs";
  if (!names) return error;
  const std::size_t dash = text.rfind('-');
  const std::string_view stem = dash == std::string_view::npos ? text : text.substr(0, dash);
  const std::vector<std::string_view> candidates(names->begin(), names->end());
  if (const auto near = base::suggest(stem, candidates); near && *near != stem) {
    error.hint = "did you mean " + *near + "? trainctl ls lists the runs";
  }
  return error;
}

/// "@2": the `back`-th run from the end.
Result<std::string> from_the_end(const format::StorePaths& paths, const std::vector<std::string>& ids,
                                 std::size_t back) {
  if (ids.empty()) return fail(Errc::not_found, "there are no runs yet", "trainctl run SCRIPT starts one");
  std::size_t seen = 0;
  for (auto id = ids.rbegin(); id != ids.rend(); ++id) {
    if (is_said(paths, *id) && ++seen == back) return *id;
  }
  return fail(Errc::not_found,
              "there are only " + std::to_string(seen) + " runs, @" + std::to_string(back) + " names none");
}

}  // namespace

Result<std::string> Store::recent(std::string_view text) const {
  const auto back = to_index(text.substr(1));
  if (!back)
    return fail(Errc::invalid, "\"" + std::string(text) + "\" names no run", "@ is your last run, @2 the one before");
  TRY_ASSIGN(const auto ids, run_ids());
  return from_the_end(paths_, ids, *back);
}

Result<std::string> Store::resolve(std::string_view text) const {
  if (text.empty()) return fail(Errc::invalid, "an empty text names no run", "@ is your last run");
  if (text.front() == '@') return recent(text);
  std::string lower = base::to_lower(text);
  if (base::is_ulid(lower)) {
    if (base::exists(paths_.run(lower).root)) return lower;
    return fail(unknown(paths_, text));
  }
  if (text.find('/') != std::string_view::npos) return fail(unknown(paths_, text));
  if (auto id = by_name(paths_, text)) return *id;
  TRY_ASSIGN(const auto ids, run_ids());
  std::vector<std::string> matches;
  for (const std::string& id : ids) {
    if (id.starts_with(lower) || (lower.size() == kShortId && id.ends_with(lower))) matches.push_back(id);
  }
  if (matches.size() == 1) return matches.front();
  if (matches.size() > 1) return fail(ambiguous(paths_, text, matches));
  return fail(unknown(paths_, text));
}

ResultAll<std::vector<std::string>> Store::resolve_all(const std::vector<std::string>& names) const {
  std::vector<std::string> ids;
  Errors errors;
  for (const std::string& name : names) {
    auto id = resolve(name);
    if (id) {
      ids.push_back(std::move(*id));
    } else {
      errors.push_back(std::move(id).error());
    }
  }
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  return ids;
}

}  // namespace trainctl::archive
