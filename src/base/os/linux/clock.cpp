// SPDX-License-Identifier: Apache-2.0
// What identifies this machine, this boot and this user.
#include "base/clock.hpp"

#include <stdint.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"

namespace trainctl::base {

namespace {

constexpr std::uint64_t kMaxIdBytes = 4096;
constexpr std::uint64_t kMaxPasswdBytes = UINT64_C(16) << 20U;

std::string first_line(const fs::path& path) {
  const auto text = read_file(path, kMaxIdBytes);
  return text ? std::string(trim(std::string_view(*text).substr(0, text->find('\n')))) : std::string();
}

/// The name of `uid` in /etc/passwd; the C library's lookup would load NSS modules, which a static program cannot.
std::optional<std::string> name_in_passwd(uid_t uid) {
  const auto text = read_file("/etc/passwd", kMaxPasswdBytes);
  if (!text) return std::nullopt;
  const std::string wanted = std::to_string(uid);
  for (const std::string& line : split(*text, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() >= 3 && fields[2] == wanted && !fields[0].empty()) return fields[0];
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t mono_ns() {
  struct timespec now{};
  // CLOCK_BOOTTIME came with Linux 2.6.39; a sandbox that lacks it still has CLOCK_MONOTONIC.
  if (::clock_gettime(CLOCK_BOOTTIME, &now) != 0) ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * UINT64_C(1'000'000'000) + static_cast<std::uint64_t>(now.tv_nsec);
}

std::string boot_id() {
  return first_line(get_env("TRAINCTL_BOOT_ID_FILE").value_or("/proc/sys/kernel/random/boot_id"));
}

std::string machine_id() {
  std::string id = first_line("/etc/machine-id");
  // systemd writes "uninitialized" into images before their first boot.
  if (id.empty() || id == "uninitialized") id = first_line("/var/lib/dbus/machine-id");
  return id.empty() ? host_name() : id;
}

std::string pid_namespace() {
  struct stat info{};
  return ::stat("/proc/self/ns/pid", &info) == 0 ? std::to_string(info.st_ino) : std::string();
}

std::string host_name() {
  std::array<char, 256> buffer{};
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0 || buffer[0] == '\0') return "localhost";
  return buffer.data();
}

std::string user_name() {
  for (const char* variable : {"LOGNAME", "USER"}) {
    if (auto name = get_env(variable); name && !name->empty()) return *name;
  }
  const uid_t uid = ::getuid();
  return name_in_passwd(uid).value_or("uid-" + std::to_string(uid));
}

}  // namespace trainctl::base
