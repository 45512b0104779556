// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/bootstrap.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <trainctl_embedded/bootstrap_sh.hpp>

#include "base/text.hpp"
#include "target/ssh/runner_files.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

constexpr std::size_t kMostNoise = 4U << 20U;
constexpr std::size_t kLongestWord = 800;  ///< of csh; what stands in quotes is one, too

/// No ' \ ! and line breaks: it stands in single quotes, which is what all login shells agree on. What bootstrap.sh
/// does for a runner in the first of its places; whatever is not as usual is left to that. Linux 6.1 and later say
/// their architecture in a file, which costs no process.
constexpr std::string_view kDirect =
    R"(d="@directory" n= m=; if [ -r /proc/sys/kernel/arch ]; then read m </proc/sys/kernel/arch; m="Linux $m"; )"
    R"(else m=$(uname -sm); fi; case $m in )"
    R"("Linux x86_64" | "Linux amd64") n=@x86_64;; "Linux aarch64" | "Linux arm64") n=@aarch64;; esac; )"
    R"(case $d in /*) ;; *) n=;; esac; if [ -L "$d/bin" ]; then n=; fi; )"
    R"(if [ -n "$n" ] && [ -O "$d/bin" ] && [ -x "$d/bin/$n" ] && [ -w "$d/store" ] && [ -x "$d/store" ]; then )"
    R"("$d/bin/$n" stdio --begin @nonce "$d/store" "$@"; c=$?; case $c in 126 | 127) ;; *) exit $c;; esac; fi; )"
    R"(echo; echo "TRAINCTL""-@nonce script"; exec /bin/sh -s)";

void replace_all(std::string& text, std::string_view mark, std::string_view with) {
  for (std::size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + with.size()))
    text.replace(at, mark.size(), with);
}

std::string missing_runner(std::string_view architecture) {
  std::string text = "looked for: ";
  for (const auto& place : runner_places(architecture)) text += (text.back() == ' ' ? "" : ", ") + place.string();
  return text;
}

}  // namespace

Result<> check_directory(std::string_view directory) {
  const bool good = directory == "~" || directory.starts_with("~/") || directory.starts_with("/");
  if (good && directory.find('\n') == std::string_view::npos && directory.find('\0') == std::string_view::npos)
    return {};
  return fail(Errc::invalid, "\"" + std::string(directory) + "\" cannot be the directory of a host",
              "write an absolute path, or one that begins with ~/");
}

std::string direct_command(std::string_view nonce, std::string_view directory, std::span<const RunnerFile> runners,
                           std::string_view carried) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-+@,: ";
  const bool at_home = directory.starts_with("~");
  const std::string_view below = directory.substr(at_home ? 1 : 0);
  if (below.find_first_not_of(kPlain) != std::string_view::npos) return {};
  std::string text(kDirect);
  replace_all(text, "@nonce", nonce);
  for (const char* architecture : {"x86_64", "aarch64"}) {
    const auto runner = std::find_if(runners.begin(), runners.end(),
                                     [&](const RunnerFile& one) { return one.architecture == architecture; });
    replace_all(text, "@" + std::string(architecture), runner == runners.end() ? "" : runner_name(*runner));
  }
  replace_all(text, "@directory", (at_home ? "$HOME" : "") + std::string(below));
  text = "exec /bin/sh -c '" + text + "' sh";
  for (; !carried.empty(); carried.remove_prefix(std::min(carried.size(), kLongestWord)))
    text += " " + std::string(carried.substr(0, kLongestWord));
  return text;
}

std::string bootstrap_script(std::string_view nonce, std::string_view directory, std::span<const RunnerFile> runners) {
  std::string script = "nonce=" + base::shell_quote(nonce) + "\ndirectory=" + base::shell_quote(directory) + "\n";
  script += "name_x86_64= hash_x86_64= size_x86_64=\nname_aarch64= hash_aarch64= size_aarch64=\n";
  for (const RunnerFile& runner : runners) {
    script += "name_" + runner.architecture + "=" + runner_name(runner) + " hash_" + runner.architecture + "=" +
              runner.hash + " size_" + runner.architecture + "=" + std::to_string(runner.size) + "\n";
  }
  return script + std::string(embedded::bootstrap_sh);
}

Result<> ScriptReader::feed(std::string_view bytes) {
  bytes_ += bytes;
  if (bytes_.size() <= kMostNoise) return {};
  return fail(Errc::cannot_start, "the host prints without end before anything of ours begins",
              "a login script there prints too much");
}

std::optional<ScriptLine> ScriptReader::next() {
  const std::size_t begin = bytes_.find(mark_);
  if (begin == std::string::npos) return std::nullopt;
  const std::size_t from = begin + mark_.size();
  const std::size_t end = bytes_.find('\n', from);
  if (end == std::string::npos) return std::nullopt;
  const std::string line = bytes_.substr(from, end - from);
  bytes_.erase(0, end + 1);
  const std::size_t space = line.find(' ');
  if (space == std::string::npos) return ScriptLine{.word = line, .rest = {}};
  return ScriptLine{.word = line.substr(0, space), .rest = line.substr(space + 1)};
}

Error script_error(std::string_view rest, const std::string& host, std::string_view directory) {
  const std::size_t space = rest.find(' ');
  const std::string_view kind = rest.substr(0, space);
  const std::string detail(space == std::string_view::npos ? "" : rest.substr(space + 1));
  const std::string where = " on " + host;
  Error error{.code = Errc::cannot_start, .message = "cannot begin" + where + ": " + std::string(rest)};
  if (kind == "home") {
    error.message = "there is no home folder" + where + " for " + std::string(directory) + " (" + detail + ")";
    error.hint = "set \"directory\" of the target to an absolute path";
  } else if (kind == "directory") {
    const bool full = detail.find("quota") != std::string::npos || detail.find("No space") != std::string::npos;
    error.message = "the folder for runs" + where + " cannot be used: " + detail;
    error.hint = full ? "free some disk space (or quota) there"
                      : "set \"directory\" of the target to a folder there that you may write to and that lasts";
  } else if (kind == "system") {
    error.message = host + " is not a Linux machine of a known kind (" + detail + ")";
    error.hint = "runs need Linux on x86_64 or aarch64";
  } else if (kind == "runner") {
    error.message = host + " is an " + detail + " machine, and the trainctl-runner for it is not installed here";
    error.hint = missing_runner(detail);
  } else if (kind == "full") {
    error.code = Errc::store;
    // "BYTES FOLDER"
    const std::size_t end = detail.find(' ');
    std::uint64_t bytes = 0;
    (void)std::from_chars(detail.data(), detail.data() + std::min(end, detail.size()), bytes);
    error.message = "the runner (" + base::format_size(bytes) + ") could not be written to " +
                    detail.substr(end == std::string::npos ? 0 : end + 1) + where;
    error.hint = "free some disk space (or quota) there";
  } else if (kind == "corrupt") {
    error.message = "the runner did not arrive whole in " + detail + where;
    error.hint = "try again; if it stays so, check the disk there";
  } else if (kind == "noexec") {
    error.message = "no folder" + where + " may hold programs; tried: " + detail;
    error.hint = "set \"directory\" of the target to a folder on a file system that is not mounted noexec";
  }
  return error;
}

}  // namespace trainctl::target
