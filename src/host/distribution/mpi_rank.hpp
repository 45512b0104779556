// SPDX-License-Identifier: Apache-2.0
// The process between mpiexec and a rank: `RUNNER exec-rank --attempt DIR --node K -- PROGRAM ARG…`. It gives the rank
// its own log and its variables, hands signals on, and records start and exit, so that the rank that failed first can
// be named. The records are nodes/<k>/mpi-<rank>.jsonl, with the lines of rank_record.hpp; this process is their
// writer.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "format/paths.hpp"
#include "host/distribution/layout.hpp"
#include "host/waiter/rank_record.hpp"

namespace trainctl::host {

/// Words in front of the program on the command line of mpiexec.
std::vector<std::string> mpi_rank_command(const format::AttemptPaths& attempt, int node);

/// The body of `exec-rank`: waits for the program and returns its exit code (128 + n for a signal).
int mpi_rank_main(const std::vector<std::string>& arguments);

/// The place of this process from the variables of an MPI ("OMPI_COMM_WORLD_RANK", "PMI_RANK" …).
std::optional<RankPlace> mpi_place(int node);
/// How many ranks there are, by the same variables; 0 when they do not say.
int mpi_world_size();

/// The records of the MPI ranks, by rank; what is missing has `exists` false.
std::vector<RankRecord> read_mpi_ranks(const format::AttemptPaths& attempt, int node, int count);

}  // namespace trainctl::host
