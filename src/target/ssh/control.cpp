// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/control.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/private_directory.hpp"
#include "base/process.hpp"
#include "base/text.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLongestPath = 90;  // ssh adds 17 bytes of its own; a socket's path ends at 108
constexpr std::size_t kHexOfC = 40;       // %C
constexpr std::size_t kKeyDigits = 8;
constexpr int kLooks = 200;  // at what has been killed, one second in all
constexpr std::chrono::milliseconds kLookEvery{5};
constexpr std::uint64_t kMaxCommandBytes = 64U << 10U;

/// Where a runtime folder may be, the best place first.
std::vector<fs::path> candidates() {
  std::vector<fs::path> places;
  if (const auto runtime = base::get_env("XDG_RUNTIME_DIR"); runtime && runtime->starts_with("/"))
    places.push_back(fs::path(*runtime) / "trainctl");
  const std::string own = "trainctl-" + std::to_string(::geteuid());
  std::error_code problem;
  if (const fs::path temporary = fs::temp_directory_path(problem); !problem) places.push_back(temporary / own);
  places.push_back(fs::path("/tmp") / own);
  return places;
}

bool fits(const fs::path& folder) {
  return folder.string().size() + 1 + kHexOfC <= kLongestPath;
}

/// A master calls itself "ssh: <its socket> [mux]"; one that was started without a session keeps its command line. By
/// the folder, not by the socket: that comes when the host has let it in, and may be gone.
bool is_master(std::string_view pid, const fs::path& folder) {
  const auto command = base::read_file("/proc/" + std::string(pid) + "/cmdline", kMaxCommandBytes);
  if (!command) return false;
  const auto words = base::split(*command, '\0');
  if (words.front().starts_with("ssh: " + folder.string() + "/") && words.front().ends_with(" [mux]")) return true;
  const auto has = [&words](const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  return has("-N") && has("ControlPath=" + (folder / "%C").string());
}

std::vector<std::string> find_masters(const fs::path& folder) {
  auto names = base::list_directory("/proc");
  if (!names) return {};
  std::erase_if(*names, [&folder](const std::string& name) {
    return name.find_first_not_of("0123456789") != std::string::npos || !is_master(name, folder);
  });
  return std::move(*names);
}

/// Beside the folder: in it there are sockets only.
fs::path note_of(const fs::path& folder) {
  return folder.string() + ".note";
}

}  // namespace

std::optional<fs::path> runtime_folder() {
  for (const fs::path& place : candidates()) {
    if (base::make_private_directory(place)) return place;
  }
  return std::nullopt;
}

bool sockets_fit(const fs::path& runtime) {
  return fits(runtime / "trainctl" / std::string(kKeyDigits, '0'));
}

std::optional<fs::path> control_folder(const std::string& key) {
  const std::string name = base::sha256_hex(key).substr(0, kKeyDigits);
  for (const fs::path& place : candidates()) {
    fs::path folder = place / name;
    if (!fits(folder)) continue;
    if (base::make_private_directory(place) && base::make_private_directory(folder)) return folder;
  }
  return std::nullopt;
}

bool has_master(const fs::path& folder) {
  const auto sockets = base::list_directory(folder);
  return sockets && !sockets->empty();
}

std::string read_note(const fs::path& folder) {
  return base::read_file(note_of(folder), kMaxCommandBytes).value_or("");
}

void write_note(const fs::path& folder, std::string_view note) {
  if (note.empty()) {
    ::unlink(note_of(folder).c_str());
  } else if (read_note(folder) != note) {
    (void)base::write_file_atomic(note_of(folder), note);
  }
}

int end_masters(const fs::path& folder) {
  std::vector<std::string> left = find_masters(folder);
  // First the sockets: as soon as a master is dead, a command that was cut off may have made the next one.
  if (const auto sockets = base::list_directory(folder)) {
    for (const std::string& name : *sockets) ::unlink((folder / name).c_str());
  }
  int ended = 0;
  for (const std::string& name : left) {
    pid_t pid = 0;
    const auto read = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (read.ec == std::errc() && ::kill(pid, SIGKILL) == 0) ++ended;
  }
  for (int look = 0; look < kLooks && !left.empty(); ++look) {
    std::erase_if(left, [&folder](const std::string& name) { return !is_master(name, folder); });
    if (!left.empty()) std::this_thread::sleep_for(kLookEvery);
  }
  return ended;
}

}  // namespace trainctl::target
