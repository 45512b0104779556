// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/control.hpp"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
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

/// A master calls itself "ssh: <its socket> [mux]"; one that was started without a session keeps its command line.
bool is_master(const std::string& pid, const fs::path& socket) {
  const auto command = base::read_file("/proc/" + pid + "/cmdline", kMaxCommandBytes);
  if (!command) return false;
  const auto words = base::split(*command, '\0');
  if (words.front() == "ssh: " + socket.string() + " [mux]") return true;
  const auto has = [&words](const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  };
  return has("-N") && has("ControlPath=" + (socket.parent_path() / "%C").string());
}

int end_master(const fs::path& socket) {
  const auto entries = base::list_directory("/proc");
  if (!entries) return 0;
  int ended = 0;
  for (const std::string& name : *entries) {
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc() && end == name.data() + name.size() && is_master(name, socket) &&
        ::kill(pid, SIGKILL) == 0)
      ++ended;
  }
  ::unlink(socket.c_str());
  return ended;
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
  const auto sockets = base::list_directory(folder);
  if (!sockets) return 0;
  int ended = 0;
  for (const std::string& name : *sockets) ended += end_master(folder / name);
  return ended;
}

}  // namespace trainctl::target
