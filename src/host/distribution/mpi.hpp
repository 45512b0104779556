// SPDX-License-Identifier: Apache-2.0
// Finding mpiexec and its command line. Open MPI and the Hydra family (MPICH, Intel MPI, MVAPICH) are told apart by
// what `mpiexec --version` prints.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/distribution/layout.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

enum class MpiKind { open_mpi, hydra, other };

struct MpiLauncher {
  std::string path;
  MpiKind kind = MpiKind::other;
  std::string version = {};  ///< "4.1.4"
};

/// What the text of `mpiexec --version` says.
MpiLauncher read_mpi_version(std::string path, std::string_view text);

/// mpiexec (or mpirun) on `search_path`, else where distributions put it. `environment` ("K=V") is what it runs with.
/// Errc::cannot_start with the package to install.
Result<MpiLauncher> find_mpi(const std::string& search_path, const std::vector<std::string>& environment);

/// mpiexec with the number of processes; the program follows. On one machine it starts them itself; on several it asks
/// the scheduler whose job this is for the nodes and their slots, and to start its helpers there.
std::vector<std::string> mpi_command(const MpiLauncher& launcher, const format::Plan& plan);

/// What mpiexec needs in its environment: as root, and without a remote shell when it is alone.
std::vector<std::pair<std::string, std::string>> mpi_variables(const MpiLauncher& launcher, bool root, bool one_host);

}  // namespace trainctl::host
