// SPDX-License-Identifier: Apache-2.0
#include "base/process.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include "base/file.hpp"
#include "base/text.hpp"

namespace trainctl::base {

namespace {

bool is_executable_file(const std::filesystem::path& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

/// Anyone could have put a program there (a sticky /tmp as well: it keeps others from replacing, not from adding).
bool is_trusted_directory(const std::string& directory) {
  struct stat info{};
  return !directory.empty() && directory[0] == '/' && ::stat(directory.c_str(), &info) == 0 && S_ISDIR(info.st_mode) &&
         (info.st_mode & S_IWOTH) == 0;
}

}  // namespace

std::optional<std::filesystem::path> find_program(const std::string& program, std::optional<std::string> path) {
  if (program.empty()) return std::nullopt;
  if (program.find('/') != std::string::npos) {
    if (!is_executable_file(program)) return std::nullopt;
    std::error_code error;
    auto absolute = std::filesystem::absolute(program, error);
    if (error) return std::nullopt;
    return absolute;
  }
  const std::string list = path ? *path : get_env("PATH").value_or("/usr/local/bin:/usr/bin:/bin");
  for (const std::string& directory : split(list, ':')) {
    if (!is_trusted_directory(directory)) continue;
    std::filesystem::path candidate = std::filesystem::path(directory) / program;
    if (is_executable_file(candidate)) return candidate;
  }
  return std::nullopt;
}

std::optional<std::string> get_env(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here sets variables
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

std::optional<std::uint64_t> process_start_time(pid_t pid) {
  constexpr std::uint64_t kMaxStatBytes = 64U << 10U;
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat", kMaxStatBytes);
  if (!text) return std::nullopt;
  // Field 2 is the name in parentheses and may hold anything, ")" and spaces included; field 3 follows the last ")".
  const std::size_t close = text->rfind(')');
  if (close == std::string::npos || close + 2 > text->size()) return std::nullopt;
  const auto fields = split(std::string_view(*text).substr(close + 2), ' ');
  constexpr std::size_t kStartTime = 22 - 3;
  if (fields.size() <= kStartTime) return std::nullopt;
  const std::string& word = fields[kStartTime];
  std::uint64_t ticks = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), ticks);
  if (error != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return ticks;
}

}  // namespace trainctl::base
