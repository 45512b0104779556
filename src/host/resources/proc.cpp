// SPDX-License-Identifier: Apache-2.0
#include "host/resources/proc.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/fd.hpp"

namespace trainctl::host {
namespace {

// Numbers of fields as proc(5) counts them: pid, name and state are the first three.
constexpr int kFirstNumber = 4;
constexpr std::size_t kStatNumbers = 21;  // up to rss, field 24

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

/// A path below /proc/<pid> without allocations: the sampler reads dozens of them.
class ProcPath {
 public:
  ProcPath(pid_t pid, const char* name) {
    (void)std::snprintf(text_.data(), text_.size(), "/proc/%d/%s", static_cast<int>(pid), name);
  }
  ProcPath(pid_t pid, pid_t task, const char* name) {
    (void)std::snprintf(text_.data(), text_.size(), "/proc/%d/task/%d/%s", static_cast<int>(pid),
                        static_cast<int>(task), name);
  }
  [[nodiscard]] const char* get() const { return text_.data(); }

 private:
  std::array<char, 80> text_{};
};

std::vector<pid_t> numbered_entries(const char* path) {
  std::vector<pid_t> pids;
  const Directory directory(::opendir(path));
  if (!directory) return pids;
  while (const dirent* entry = ::readdir(directory.get())) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
    const std::string_view name = entry->d_name;
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc{} && end == name.data() + name.size() && pid > 0) pids.push_back(pid);
  }
  return pids;
}

template <class T>
bool next_number(std::string_view& text, T& value) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return false;
  text.remove_prefix(begin);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

std::optional<std::string> read_kernel_file(const char* path) {
  const base::UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::string text;
  std::array<char, 4096> buffer;  // NOLINT: filled by read
  for (;;) {
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(got));
    if (text.size() > (std::size_t{4} << 20U)) return text;  // an environment may be big, nothing else is
  }
}

std::optional<std::uint64_t> read_kernel_number(const std::string& path) {
  const auto text = read_kernel_file(path.c_str());
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  std::uint64_t value = 0;
  if (!next_number(rest, value)) return std::nullopt;
  return value;
}

int write_kernel_file(const std::string& path, std::string_view value) {
  const base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return errno;
  for (;;) {
    if (::write(fd.get(), value.data(), value.size()) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

std::optional<std::uint64_t> kernel_field(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    if (line.starts_with(':')) line.remove_prefix(1);
    if (!line.starts_with(' ') && !line.starts_with('\t')) continue;
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    std::uint64_t value = 0;
    if (next_number(line, value)) return value;
  }
  return std::nullopt;
}

std::optional<ProcessStat> read_process_stat(pid_t pid) {
  const auto text = read_kernel_file(ProcPath(pid, "stat").get());
  if (!text) return std::nullopt;
  // The program's name is in parentheses and may hold anything, parentheses too: the last one ends it.
  const std::size_t close = text->rfind(')');
  if (close == std::string::npos || close + 3 > text->size()) return std::nullopt;
  ProcessStat stat;
  stat.pid = pid;
  stat.state = (*text)[close + 2];
  std::string_view rest = std::string_view(*text).substr(close + 3);
  std::array<std::int64_t, kStatNumbers> numbers{};
  for (std::int64_t& number : numbers) {
    if (!next_number(rest, number)) return std::nullopt;
  }
  const auto at = [&](int field) { return numbers.at(static_cast<std::size_t>(field - kFirstNumber)); };
  const auto count = [&](int field) { return static_cast<std::uint64_t>(at(field)); };
  static const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  stat.parent = static_cast<pid_t>(at(4));
  stat.group = static_cast<pid_t>(at(5));
  stat.session = static_cast<pid_t>(at(6));
  stat.user = count(14);
  stat.system = count(15);
  stat.child_user = count(16);
  stat.child_system = count(17);
  stat.threads = static_cast<int>(at(20));
  stat.start_time = count(22);
  stat.resident = count(24) * page;
  return stat;
}

std::optional<std::vector<pid_t>> child_pids(pid_t pid) {
  std::vector<pid_t> children;
  for (const pid_t task : numbered_entries(ProcPath(pid, "task").get())) {
    const auto text = read_kernel_file(ProcPath(pid, task, "children").get());
    if (!text) {
      // A thread that has just gone has no file either: only a live main thread without one means "not supported".
      if (task == pid && errno == ENOENT && ::access(ProcPath(pid, task, "stat").get(), F_OK) == 0) return std::nullopt;
      continue;
    }
    std::string_view rest = *text;
    pid_t child = 0;
    while (next_number(rest, child)) children.push_back(child);
  }
  return children;
}

std::vector<pid_t> all_pids() {
  return numbered_entries("/proc");
}

bool started_with(pid_t pid, std::string_view entry) {
  const auto text = read_kernel_file(ProcPath(pid, "environ").get());
  if (!text) return false;
  for (std::size_t at = text->find(entry); at != std::string::npos; at = text->find(entry, at + 1)) {
    const std::size_t end = at + entry.size();
    if ((at == 0 || (*text)[at - 1] == '\0') && (end == text->size() || (*text)[end] == '\0')) return true;
  }
  return false;
}

std::optional<std::string> started_variable(pid_t pid, std::string_view name) {
  const auto text = read_kernel_file(ProcPath(pid, "environ").get());
  if (!text) return std::nullopt;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const std::string_view entry = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(rest.size(), entry.size() + 1));
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=')
      return std::string(entry.substr(name.size() + 1));
  }
  return std::nullopt;
}

std::string process_name(pid_t pid) {
  auto text = read_kernel_file(ProcPath(pid, "comm").get());
  if (!text) return "?";
  while (!text->empty() && text->back() == '\n') text->pop_back();
  return *text;
}

}  // namespace trainctl::host
