// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/runner_files.hpp"

#include <sys/stat.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "target/ssh/control.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNamedDigits = 16;
constexpr std::size_t kHashDigits = 64;

std::string own_architecture() {
  utsname names{};
  return ::uname(&names) == 0 ? names.machine : "";
}

/// The hash of a file, kept from an earlier command while the file is the same: reading a runner takes longer than
/// starting one.
Result<std::string> kept_hash(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return fail_errno("read " + path.string(), errno);
  std::string identity = path.string();
  for (const std::int64_t part : {std::int64_t{status.st_ctim.tv_sec}, std::int64_t{status.st_ctim.tv_nsec},
                                  static_cast<std::int64_t>(status.st_ino), std::int64_t{status.st_size}}) {
    identity += " " + std::to_string(part);
  }
  const auto folder = runtime_folder();
  const fs::path kept =
      folder ? *folder / ("runner-" + base::sha256_hex(identity).substr(0, kNamedDigits)) : fs::path();
  if (folder) {
    const auto known = base::read_file(kept, kHashDigits);
    if (known && known->size() == kHashDigits) return *known;
  }
  TRY_ASSIGN(std::string hash, base::sha256_file_hex(path));
  if (folder) (void)base::write_file_atomic(kept, hash);  // only a help
  return hash;
}

}  // namespace

std::vector<fs::path> runner_places(std::string_view architecture) {
  std::error_code problem;
  const fs::path folder = fs::read_symlink("/proc/self/exe", problem).parent_path();
  std::vector<fs::path> places;
  const std::string name = "trainctl-runner-" + std::string(architecture);
  if (architecture == own_architecture()) places.push_back(folder / "trainctl-runner");
  places.push_back(folder / name);
  for (const char* other : {"libexec", "share"}) places.push_back(folder.parent_path() / other / "trainctl" / name);
  return places;
}

Result<std::vector<RunnerFile>> find_runner_files() {
  std::vector<RunnerFile> files;
  for (const char* architecture : {"x86_64", "aarch64"}) {
    for (const fs::path& path : runner_places(architecture)) {
      const auto size = base::file_size(path);
      if (!size) continue;
      TRY_ASSIGN(std::string hash, kept_hash(path));
      files.push_back({.architecture = architecture, .path = path, .hash = std::move(hash), .size = *size});
      break;
    }
  }
  return files;
}

std::string runner_name(const RunnerFile& file) {
  return "trainctl-runner-" + file.hash.substr(0, kNamedDigits);
}

}  // namespace trainctl::target
