// SPDX-License-Identifier: Apache-2.0
#include "target/ssh/runner_files.hpp"

#include <sys/utsname.h>

#include <system_error>
#include <utility>

#include "base/file.hpp"
#include "base/hash.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kNamedDigits = 16;

std::string own_architecture() {
  utsname names{};
  return ::uname(&names) == 0 ? names.machine : "";
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
      TRY_ASSIGN(std::string hash, base::sha256_file_hex(path));
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
