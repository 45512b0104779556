// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/runners.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/ulid.hpp"
#include "host/container/engine.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host::slurm {
namespace {

namespace fs = std::filesystem;

/// Cheap to tell, and another one for every build.
Result<std::string> key_of(const fs::path& program) {
  struct stat file{};
  if (::stat(program.c_str(), &file) != 0) return fail_errno("look at " + program.string(), errno);
  const std::string identity = std::to_string(file.st_dev) + ":" + std::to_string(file.st_ino) + ":" +
                               std::to_string(file.st_size) + ":" + std::to_string(file.st_mtim.tv_sec) + ":" +
                               std::to_string(file.st_mtim.tv_nsec);
  return base::sha256_hex(identity).substr(0, 16);
}

}  // namespace

Result<fs::path> provide_runner(const fs::path& store) {
  TRY_ASSIGN(fs::path program, runner_program());
  if (program.parent_path() == store.parent_path() / "bin") return program;
  TRY_ASSIGN(const std::string key, key_of(program));
  fs::path place = store / "bin" / ("trainctl-runner-" + key);
  if (base::exists(place)) return place;
  TRY(base::make_directories(place.parent_path()));
  const fs::path draft = place.parent_path() / (".runner-" + base::new_ulid());
  std::error_code problem;
  fs::copy_file(program, draft, problem);
  if (problem) return fail(Errc::store, "cannot copy the runner to " + place.string() + ": " + problem.message());
  TRY_ASSIGN(const auto fd, base::open_file(draft, O_RDONLY));
  TRY(base::sync_file(fd.get()));
  if (::chmod(draft.c_str(), 0700) != 0 || ::rename(draft.c_str(), place.c_str()) != 0)
    return fail_errno("put the runner to " + place.string(), errno);
  return place;
}

}  // namespace trainctl::host::slurm
