// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/ciphers.hpp"

#include <glob.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFirst = "^aes256-gcm@openssh.com,aes128-gcm@openssh.com";
constexpr std::uint64_t kLongestConfig = 1U << 20U;
constexpr int kDeepest = 16;  // as in OpenSSH's readconf.c

bool has_aes_instructions() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("aes") != 0 && __builtin_cpu_supports("pclmul") != 0;
#elif defined(__aarch64__)
  return (::getauxval(AT_HWCAP) & HWCAP_AES) != 0;
#else
  return false;
#endif
}

/// Another build may read another system configuration, a script in its place may say anything.
bool is_of_the_system() {
  const auto ssh = base::find_program("ssh");
  return ssh && (*ssh == "/usr/bin/ssh" || *ssh == "/bin/ssh");
}

/// As ssh finds it: not by HOME.
std::optional<fs::path> home_of_user() {
  std::array<char, 16U << 10U> buffer;  // NOLINT: filled by getpwuid_r
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return std::nullopt;
  return fs::path(found->pw_dir);
}

class Search {
 public:
  Search(const fs::path& folder, const fs::path& home) : folder_(folder), home_(home) {}

  [[nodiscard]] bool names_ciphers(const fs::path& file, int depth) const {
    const auto text = base::read_file(file, kLongestConfig);
    if (!text) return text.error().code != Errc::not_found;
    const auto lines = base::split(base::to_lower(*text), '\n');
    const auto as_written = base::split(*text, '\n');
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const std::string_view line = base::trim(lines[i]);
      if (line.starts_with('#')) continue;
      if (line.find("ciphers") != std::string_view::npos) return true;
      if (line.find("include") != std::string_view::npos && includes_ciphers(as_written[i], depth)) return true;
    }
    return false;
  }

 private:
  /// Include FILE…; quotes, variables and the like are left to ssh.
  [[nodiscard]] bool includes_ciphers(std::string line, int depth) const {
    std::replace(line.begin(), line.end(), '\t', ' ');
    std::vector<std::string> words = base::split(base::trim(line), ' ');
    std::erase(words, "");
    const bool plain = line.find_first_of("\"'$%\\=") == std::string::npos;
    if (!plain || base::to_lower(words.front()) != "include" || depth >= kDeepest) return true;
    return std::any_of(words.begin() + 1, words.end(),
                       [this, depth](const std::string& word) { return any_names_ciphers(word, depth); });
  }

  [[nodiscard]] bool any_names_ciphers(const std::string& word, int depth) const {
    fs::path pattern = word;
    if (word.starts_with("~/")) {
      pattern = home_ / word.substr(2);
    } else if (word.starts_with('~')) {
      return true;
    } else if (pattern.is_relative()) {
      pattern = folder_ / word;
    }
    glob_t matches{};
    // Only GLOB_TILDE, which looks users up, makes it unsafe among threads.
    const int found = ::glob(pattern.c_str(), 0, nullptr, &matches);  // NOLINT(concurrency-mt-unsafe)
    bool named = found != 0 && found != GLOB_NOMATCH;
    for (std::size_t i = 0; i < matches.gl_pathc && !named; ++i) named = names_ciphers(matches.gl_pathv[i], depth + 1);
    ::globfree(&matches);
    return named;
  }

  const fs::path& folder_;
  const fs::path& home_;
};

}  // namespace

bool may_name_ciphers(const fs::path& file, const fs::path& folder, const fs::path& home) {
  return Search(folder, home).names_ciphers(file, 0);
}

std::optional<std::string> preferred_ciphers(const std::optional<fs::path>& config) {
  if (!has_aes_instructions() || !is_of_the_system()) return std::nullopt;
  const auto home = home_of_user();
  if (!home) return std::nullopt;
  const fs::path own = *home / ".ssh";
  // With -F ssh reads that file alone.
  const bool said = config ? may_name_ciphers(*config, own, *home)
                           : may_name_ciphers(own / "config", own, *home) ||
                                 may_name_ciphers("/etc/ssh/ssh_config", "/etc/ssh", *home);
  if (said) return std::nullopt;
  return std::string(kFirst);
}

bool is_refusal_of_ciphers(std::string_view errors) {
  return errors.find("Bad SSH2 cipher spec") != std::string_view::npos;
}

}  // namespace trainctl::target
