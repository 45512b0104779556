// SPDX-License-Identifier: Apache-2.0
#include "host/environment/setup_lines.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/step.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace fs = std::filesystem;

namespace {

// $1 is the folder for the results, the rest are the lines. eval keeps them in this shell; a line's output is shown
// when it has ended. The names are unlikely to meet a user's.
constexpr const char* kScript = R"SH(
trainctl_setup_dir=$1; shift
env -0 > "$trainctl_setup_dir/before" || exit 97
for trainctl_setup_line in "$@"; do
  printf '$ %s\n' "$trainctl_setup_line" >&2
  eval "$trainctl_setup_line" > "$trainctl_setup_dir/output" 2>&1 < /dev/null
  trainctl_setup_code=$?
  cat "$trainctl_setup_dir/output" >&2
  if [ "$trainctl_setup_code" -ne 0 ]; then
    printf '%s' "$trainctl_setup_line" > "$trainctl_setup_dir/failed"
    exit "$trainctl_setup_code"
  fi
done
unset trainctl_setup_line trainctl_setup_code
env -0 > "$trainctl_setup_dir/after"
)SH";

constexpr std::array<std::string_view, 6> kShellsOwn = {"_", "SHLVL", "PWD", "OLDPWD", "BASH_ENV", "COLUMNS"};

bool is_name(std::string_view name) {
  const auto good = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  return !name.empty() && std::all_of(name.begin(), name.end(), good) &&
         std::find(kShellsOwn.begin(), kShellsOwn.end(), name) == kShellsOwn.end() &&
         !name.starts_with("trainctl_setup_");
}

std::map<std::string, std::string> read_environment(std::string_view text) {
  std::map<std::string, std::string> variables;
  for (const std::string& entry : base::split(text, '\0')) {
    const std::size_t equals = entry.find('=');
    if (equals != std::string::npos && is_name(std::string_view(entry).substr(0, equals))) {
      variables[entry.substr(0, equals)] = entry.substr(equals + 1);
    }
  }
  return variables;
}

fs::path cache_file(const std::vector<std::string>& lines, const fs::path& root) {
  base::Sha256 hash;
  for (const std::string& line : lines) hash.update(std::to_string(line.size()) + ":" + line);
  return root / "setup" / (hash.finish_hex().substr(0, 32) + ".json");
}

Result<std::vector<VariableChange>> run_lines(const std::vector<std::string>& lines, const fs::path& work,
                                              const EnsureOptions& options) {
  const auto bash = base::find_program("bash");
  if (!bash)
    return fail(Errc::cannot_start, "setup lines need bash, which is not installed here", "apt-get install bash");
  Step step{.argv = {bash->string(), "-l", "-c", kScript, "setup", work.string()}};
  step.argv.insert(step.argv.end(), lines.begin(), lines.end());
  step.log_fd = options.log_fd;
  step.cancel_fd = options.cancel_fd;
  step.deadline = std::chrono::minutes(30);
  TRY_ASSIGN(const StepResult result, run_step(step));
  if (result.exit_code != 0) {
    TRY_ASSIGN(const auto line, base::read_file_if_exists(work / "failed"));
    const auto output = base::read_range(work / "output", 0, 4096);
    const std::string said = output ? base::to_utf8(base::trim(*output)) : "";
    Error error{.code = Errc::cannot_start, .message = {}};
    error.message = "setup line failed (exit " + std::to_string(result.exit_code) + "): " + line.value_or("?") +
                    (said.empty() ? "" : "\n" + said);
    return fail(std::move(error));
  }
  TRY_ASSIGN(const std::string before, base::read_file(work / "before"));
  auto after = base::read_file(work / "after");
  if (!after) {
    return fail(Errc::cannot_start, "a setup line ended the shell",
                "leave out exit and exec: the lines share one shell");
  }
  return diff_environments(before, *after);
}

}  // namespace

std::vector<VariableChange> diff_environments(std::string_view before_text, std::string_view after_text) {
  const auto before = read_environment(before_text);
  const auto after = read_environment(after_text);
  std::vector<VariableChange> changes;
  for (const auto& [name, value] : after) {
    const auto old = before.find(name);
    if (old != before.end() && old->second == value) continue;
    VariableChange change{.name = name, .value = value, .suffix = {}};
    const std::size_t at = old == before.end() || old->second.empty() ? std::string::npos : value.find(old->second);
    const bool starts = at == 0 || (at != std::string::npos && value[at - 1] == ':');
    const std::size_t end = at == std::string::npos ? 0 : at + old->second.size();
    if (starts && (end == value.size() || value[end] == ':')) {
      change.how = VariableChange::How::around;
      change.value = value.substr(0, at);
      change.suffix = value.substr(end);
    }
    changes.push_back(std::move(change));
  }
  for (const auto& [name, value] : before) {
    if (!after.contains(name)) changes.push_back({name, VariableChange::How::unset, {}, {}});
  }
  std::sort(changes.begin(), changes.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return changes;
}

std::optional<std::string> apply_change(const VariableChange& change, const std::optional<std::string>& current) {
  if (change.how == VariableChange::How::unset) return std::nullopt;
  if (change.how == VariableChange::How::set) return change.value;
  if (current && !current->empty()) return change.value + *current + change.suffix;
  std::string value = change.value + change.suffix;
  if (value.ends_with(':')) value.pop_back();
  if (value.starts_with(':')) value.erase(0, 1);
  return value;
}

Json changes_to_json(const std::vector<VariableChange>& changes) {
  Json list = Json::array();
  for (const VariableChange& change : changes) {
    Json entry = {{"name", change.name}};
    if (change.how == VariableChange::How::set) entry["value"] = change.value;
    if (change.how == VariableChange::How::unset) entry["unset"] = true;
    if (change.how == VariableChange::How::around) {
      entry["before"] = change.value;
      entry["after"] = change.suffix;
    }
    list.push_back(std::move(entry));
  }
  return list;
}

Result<std::vector<VariableChange>> changes_from_json(const Json& json) {
  std::vector<VariableChange> changes;
  const auto damaged = [] { return fail(Errc::store, "a record of setup lines is damaged"); };
  if (!json.is_array()) return damaged();
  for (const Json& entry : json) {
    const auto text = [&](const char* key) -> std::optional<std::string> {
      const auto field = entry.find(key);
      if (field == entry.end() || !field->is_string()) return std::nullopt;
      return field->get<std::string>();
    };
    if (!entry.is_object() || !text("name")) return damaged();
    VariableChange change{.name = *text("name"), .value = {}, .suffix = {}};
    if (const auto value = text("value")) {
      change.value = *value;
    } else if (text("before") && text("after")) {
      change.how = VariableChange::How::around;
      change.value = *text("before");
      change.suffix = *text("after");
    } else {
      change.how = VariableChange::How::unset;
    }
    changes.push_back(std::move(change));
  }
  return changes;
}

std::optional<std::vector<VariableChange>> cached_setup(const std::vector<std::string>& lines, const fs::path& root) {
  if (lines.empty()) return std::vector<VariableChange>{};
  const auto text = base::read_file_if_exists(cache_file(lines, root), base::kMaxJsonBytes);
  if (!text || !*text) return std::nullopt;
  const auto json = base::parse_json(**text);
  if (!json || !json->is_object() || !json->contains("changes")) return std::nullopt;
  auto changes = changes_from_json((*json)["changes"]);
  return changes ? std::optional(*std::move(changes)) : std::nullopt;
}

Result<std::vector<VariableChange>> setup_changes(const std::vector<std::string>& lines, const EnsureOptions& options) {
  if (!options.upgrade) {
    if (auto known = cached_setup(lines, options.root)) return *std::move(known);
  }
  const fs::path file = cache_file(lines, options.root);
  TRY(base::make_directories(file.parent_path()));
  const fs::path work = file.parent_path() / ("tmp-" + base::random_hex(8));
  TRY(base::make_directories(work));
  if (options.progress) options.progress("running " + std::to_string(lines.size()) + " setup lines");
  auto changes = run_lines(lines, work, options);
  (void)base::remove_tree(work);
  if (!changes) return changes;
  const Json record = {{"format", 1}, {"lines", lines}, {"changes", changes_to_json(*changes)}};
  TRY(base::write_file_atomic(file, base::pretty_json(record)));
  return changes;
}

}  // namespace trainctl::host
