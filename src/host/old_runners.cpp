// SPDX-License-Identifier: Apache-2.0
#include "host/old_runners.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <system_error>

#include "base/file.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

namespace fs = std::filesystem;

constexpr std::time_t kDay = std::time_t{24} * 60 * 60;

Result<bool> all_ended(const format::StorePaths& store) {
  TRY_ASSIGN(const auto runs, base::list_directory(store.runs()));
  for (const std::string& run : runs) {
    TRY_ASSIGN(const auto state, format::fold_run(store.run(run)));
    if (!format::is_terminal(state.state)) return false;
  }
  return true;
}

/// Programs that processes of this machine execute.
std::set<fs::path> executed() {
  std::set<fs::path> programs;
  const auto entries = base::list_directory("/proc");
  if (!entries) return programs;
  for (const std::string& name : *entries) {
    std::error_code problem;
    const fs::path program = fs::read_symlink("/proc/" + name + "/exe", problem);
    if (!problem) programs.insert(program);
  }
  return programs;
}

bool is_old(const fs::path& file) {
  struct stat status{};
  return ::lstat(file.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         std::time(nullptr) - status.st_mtim.tv_sec > kDay;
}

bool is_runner(std::string_view name) {
  return name.starts_with("trainctl-runner-") || name.starts_with(".trainctl-runner-");
}

}  // namespace

Result<std::size_t> remove_old_runners(const fs::path& folder, const format::StorePaths& store) {
  TRY_ASSIGN(const bool idle, all_ended(store));
  if (!idle) return 0;
  TRY_ASSIGN(const auto names, base::list_directory(folder));
  const std::set<fs::path> used = executed();
  std::error_code problem;
  const fs::path real = fs::canonical(folder, problem);
  std::size_t removed = 0;
  for (const std::string& name : names) {
    if (!is_runner(name) || used.contains(real / name) || !is_old(folder / name)) continue;
    if (::unlink((folder / name).c_str()) == 0) ++removed;
  }
  return removed;
}

}  // namespace trainctl::host
