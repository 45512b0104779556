// SPDX-License-Identifier: Apache-2.0
#include "snapshot/git_state.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxPatch = 1U << 20U;

bool in_repository(const fs::path& directory) {
  std::error_code error;
  for (fs::path at = fs::canonical(directory, error); !error; at = at.parent_path()) {
    if (base::exists(at / ".git")) return true;
    if (!at.has_relative_path()) break;
  }
  return false;
}

/// Ours without the variables that point git elsewhere or make it run programs.
std::vector<std::string> environment() {
  std::vector<std::string> variables;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view variable(*entry);
    if (!variable.starts_with("GIT_") && !variable.starts_with("LC_") && !variable.starts_with("LANGUAGE=")) {
      variables.emplace_back(variable);
    }
  }
  for (const char* variable : {"GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_PAGER=cat", "LC_ALL=C"}) {
    variables.emplace_back(variable);
  }
  return variables;
}

class Git {
 public:
  Git(const fs::path& directory, std::chrono::milliseconds deadline) : directory_(directory), deadline_(deadline) {}

  [[nodiscard]] Result<base::CommandOutput> run(std::vector<std::string> arguments, std::size_t max_output) const {
    base::Command command;
    command.argv = {
        "git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.untrackedCache=false"};
    command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
    command.directory = directory_;
    command.environment = environment();
    command.deadline = deadline_;
    command.max_output = max_output;
    return base::run_command(command);
  }

 private:
  const fs::path& directory_;
  std::chrono::milliseconds deadline_;
};

void read_status(std::string_view text, GitState& state) {
  // Porcelain v2, records ended by NUL: "# branch.oid X", "1 …", "2 …" (followed by the old path), "u …", "? path".
  while (!text.empty()) {
    const std::size_t end = text.find('\0');
    const std::string_view row = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    constexpr std::string_view kOid = "# branch.oid ";
    constexpr std::string_view kHead = "# branch.head ";
    if (row.starts_with(kOid)) {
      const std::string_view oid = row.substr(kOid.size());
      if (oid != "(initial)") state.commit = oid;
    } else if (row.starts_with(kHead)) {
      const std::string_view head = row.substr(kHead.size());
      if (head != "(detached)") state.branch = base::to_utf8(head);
    } else if (row.starts_with("1 ") || row.starts_with("u ")) {
      ++state.changed;
    } else if (row.starts_with("? ")) {
      ++state.untracked;
    }
  }
}

void read_patch(const Git& git, GitState& state) {
  if (state.changed == 0 || state.commit.empty()) return;
  auto diff = git.run({"diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", "--no-renames",
                       "--ignore-submodules=dirty", "--relative", "--", "."},
                      kMaxPatch);
  if (diff && diff->exit_code == 0) {
    state.patch = std::move(diff->out);
  } else {
    state.patch_truncated = true;
  }
}

std::string first_line(std::string_view text) {
  return base::to_utf8(base::trim(text.substr(0, text.find('\n'))));
}

}  // namespace

std::string without_credentials(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) {  // host:path or a local path; only "user:password@host:path" hides something
    const std::size_t at = url.find('@');
    const std::size_t colon = url.find(':');
    if (at != std::string_view::npos && colon < at && url.find('/') > at) return std::string(url.substr(at + 1));
    return std::string(url);
  }
  std::string_view rest = url.substr(scheme + 3);
  rest = rest.substr(0, rest.find_first_of("?#"));
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  const std::size_t at = rest.substr(0, slash).rfind('@');
  if (at == std::string_view::npos) return std::string(url.substr(0, scheme + 3)) + std::string(rest);
  const std::string_view user = rest.substr(0, at);
  const bool ssh = url.starts_with("ssh://") || url.starts_with("git+ssh://");
  const std::string kept = ssh ? std::string(user.substr(0, user.find(':'))) + "@" : std::string();
  return std::string(url.substr(0, scheme + 3)) + kept + std::string(rest.substr(at + 1));
}

GitAnswer git_state(const fs::path& directory, std::chrono::milliseconds deadline) {
  GitAnswer answer;
  if (!in_repository(directory)) return answer;
  const Git git(directory, deadline);
  const auto status = git.run({"status", "--porcelain=v2", "--branch", "-z", "--no-renames",
                               "--ignore-submodules=dirty", "--untracked-files=normal", "--", "."},
                              64U << 20U);
  if (!status) {
    answer.why_not = status.error().code == Errc::not_found ? "git is not installed" : status.error().message;
    return answer;
  }
  if (status->exit_code != 0) {
    answer.why_not = first_line(status->err);
    return answer;
  }
  GitState state;
  read_status(status->out, state);
  read_patch(git, state);
  const auto remote = git.run({"config", "--get", "remote.origin.url"}, 64U << 10U);
  if (remote && remote->exit_code == 0) state.remote_url = without_credentials(first_line(remote->out));
  answer.state = std::move(state);
  return answer;
}

}  // namespace trainctl::snapshot
