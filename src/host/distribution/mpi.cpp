// SPDX-License-Identifier: Apache-2.0
#include "host/distribution/mpi.hpp"

#include <array>
#include <cctype>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/process.hpp"
#include "format/plan.hpp"
#include "host/distribution/layout.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

/// Red Hat and SUSE keep MPI off the PATH until a module is loaded.
constexpr std::array<const char*, 6> kOtherPlaces = {
    "/usr/lib64/openmpi/bin", "/usr/lib64/mpich/bin", "/usr/lib64/mpi/gcc/openmpi4/bin",
    "/usr/local/openmpi/bin", "/opt/openmpi/bin",     "/opt/intel/oneapi/mpi/latest/bin"};

/// The first "1.2" or "1.2.3" of a text.
std::string first_version(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(text[i])) == 0) continue;
    std::size_t end = i;
    while (end < text.size() && (std::isdigit(static_cast<unsigned char>(text[end])) != 0 || text[end] == '.')) ++end;
    std::string found(text.substr(i, end - i));
    while (found.ends_with('.')) found.pop_back();
    if (found.find('.') != std::string::npos) return found;
    i = end;
  }
  return {};
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

MpiLauncher read_mpi_version(std::string path, std::string_view text) {
  MpiLauncher launcher{.path = std::move(path)};
  if (contains(text, "Open MPI") || contains(text, "OpenRTE") || contains(text, "PRRTE") || contains(text, "prte")) {
    launcher.kind = MpiKind::open_mpi;
  } else if (contains(text, "HYDRA") || contains(text, "Intel(R) MPI") || contains(text, "MVAPICH")) {
    launcher.kind = MpiKind::hydra;
  }
  launcher.version = first_version(text);
  return launcher;
}

Result<MpiLauncher> find_mpi(const std::string& search_path, const std::vector<std::string>& environment) {
  std::optional<std::string> found;
  for (const char* name : {"mpiexec", "mpirun", "mpiexec.openmpi", "mpiexec.mpich", "mpiexec.hydra"}) {
    if (!found) found = base::find_program(name, search_path);
  }
  for (const char* folder : kOtherPlaces) {
    const std::string candidate = std::string(folder) + "/mpiexec";
    if (!found && base::exists(candidate)) found = candidate;
  }
  if (!found) {
    return fail(
        Errc::cannot_start, "there is no mpiexec in the environment or on this machine",
        "add \"mpi4py\" and \"openmpi\" to environment.python.packages, or install openmpi-bin (Debian, Ubuntu), "
        "openmpi (Fedora, RHEL) or mpich");
  }
  const auto output = base::run_command({.argv = {*found, "--version"}, .environment = environment});
  if (!output) {
    return fail(Errc::cannot_start, *found + " does not work: " + output.error().message);
  }
  return read_mpi_version(*found, output->out + output->err);
}

std::vector<std::string> mpi_command(const MpiLauncher& launcher, const format::Plan& plan) {
  const bool alone = plan.resources.nodes <= 1;
  std::vector<std::string> argv = {launcher.path};
  switch (launcher.kind) {
    case MpiKind::open_mpi:
      if (alone) argv.insert(argv.end(), {"--host", "localhost:" + std::to_string(plan.processes_per_node)});
      // Open MPI pins a process to one core by default, which ruins programs that have threads.
      argv.insert(argv.end(), {"--bind-to", "none"});
      break;
    case MpiKind::hydra:
      if (alone) argv.insert(argv.end(), {"-launcher", "fork"});
      break;
    case MpiKind::other:
      break;
  }
  argv.insert(argv.end(), {"-n", std::to_string(world_size(plan))});
  return argv;
}

std::vector<std::pair<std::string, std::string>> mpi_variables(const MpiLauncher& launcher, bool root, bool one_host) {
  std::vector<std::pair<std::string, std::string>> made;
  if (launcher.kind != MpiKind::open_mpi) return made;
  if (root) {
    for (const char* name : {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "PRTE_ALLOW_RUN_AS_ROOT",
                             "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM"}) {
      made.emplace_back(name, "1");
    }
  }
  // Up to 4 it refuses to start on a machine without ssh, even when it needs none.
  if (one_host && launcher.version.starts_with("4.")) made.emplace_back("OMPI_MCA_plm", "isolated");
  return made;
}

}  // namespace trainctl::host
