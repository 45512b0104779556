// SPDX-License-Identifier: Apache-2.0
#include "host/linux/process_tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"

namespace trainctl::host {
namespace {

std::string proc_file(pid_t pid, const char* name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

/// /proc files have no size: read until the end. Empty when the process is gone.
std::string read_proc(const std::string& path) {
  const base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!fd) return text;
  std::array<char, 4096> buffer{};
  for (ssize_t count = ::read(fd.get(), buffer.data(), buffer.size()); count > 0;
       count = ::read(fd.get(), buffer.data(), buffer.size())) {
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return text;
}

template <class T>
T number_at(std::string_view text, int base = 10) {
  T value{};
  std::from_chars(text.data(), text.data() + text.size(), value, base);
  return value;
}

/// The text behind "NAME:" with blanks skipped.
std::string_view field_of(std::string_view text, std::string_view name) {
  const auto at = text.find(name);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + name.size());
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return text;
}

}  // namespace

std::optional<ProcessStatus> read_process(pid_t pid) {
  if (pid <= 0) return std::nullopt;
  const std::string text = read_proc(proc_file(pid, "stat"));
  // The name is in parentheses and may hold anything, so fields count from the last one.
  const auto close = text.rfind(')');
  if (close == std::string::npos || close + 2 >= text.size()) return std::nullopt;
  std::vector<std::string_view> fields;
  std::string_view rest = std::string_view(text).substr(close + 2);
  while (!rest.empty() && fields.size() < 20) {
    const auto space = std::min(rest.find(' '), rest.size());
    fields.push_back(rest.substr(0, space));
    rest.remove_prefix(std::min(space + 1, rest.size()));
  }
  if (fields.size() < 20 || fields[0].empty()) return std::nullopt;
  return ProcessStatus{.pid = pid,
                       .parent = number_at<pid_t>(fields[1]),
                       .group = number_at<pid_t>(fields[2]),
                       .session = number_at<pid_t>(fields[3]),
                       .state = fields[0][0],
                       .start_time = number_at<std::uint64_t>(fields[19])};
}

std::vector<ProcessStatus> list_processes() {
  std::vector<ProcessStatus> all;
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return all;
  while (const dirent* entry = ::readdir(directory)) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    if (const auto status = read_process(number_at<pid_t>(entry->d_name))) all.push_back(*status);
  }
  ::closedir(directory);
  return all;
}

std::vector<ProcessStatus> descendants(const std::vector<ProcessStatus>& all, std::span<const pid_t> roots) {
  std::set<pid_t> members(roots.begin(), roots.end());
  // A child may be listed before its parent (pids wrap), so repeat until nothing is added.
  for (bool grown = true; grown;) {
    grown = false;
    for (const ProcessStatus& process : all) {
      if (members.contains(process.parent) && members.insert(process.pid).second) grown = true;
    }
  }
  std::vector<ProcessStatus> found;
  for (const ProcessStatus& process : all) {
    const bool is_root = std::find(roots.begin(), roots.end(), process.pid) != roots.end();
    if (!is_root && members.contains(process.pid) && process.state != 'Z' && process.state != 'X') {
      found.push_back(process);
    }
  }
  return found;
}

bool handles_signal(pid_t pid, int number) {
  const std::string text = read_proc(proc_file(pid, "status"));
  const auto mask = number_at<std::uint64_t>(field_of(text, "SigCgt:"), 16);
  return (mask >> static_cast<unsigned>(number - 1) & 1U) != 0;
}

bool is_fresh_copy(pid_t pid) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  static const auto ticks = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
  const auto status = read_process(pid);
  if (!status || base::mono_ns() > (status->start_time + ticks) * (kSecond / ticks)) return false;
  return read_proc(proc_file(pid, "cmdline")) == read_proc(proc_file(status->parent, "cmdline"));
}

bool has_variable(pid_t pid, std::string_view assignment) {
  std::string text(1, '\0');
  text += read_proc(proc_file(pid, "environ"));
  std::string wanted(1, '\0');
  wanted += assignment;
  wanted += '\0';
  return text.find(wanted) != std::string::npos;
}

}  // namespace trainctl::host
