// SPDX-License-Identifier: Apache-2.0
// A named place where runs go, as a person writes it.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "spec/complaints.hpp"
#include "spec/run_configuration.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {

/// How jobs are given to Slurm. What a run needs (nodes, cpus, memory, gpus, its time) comes from the run; what stands
/// here is for what a run leaves open.
struct SlurmOptions {
  std::optional<std::string> partition, account, qos, constraint, gres, dependency, licenses, reservation;
  std::optional<std::string> nodelist, exclude;
  bool exclusive = false;
  std::optional<Duration> time;
  std::optional<ByteSize> memory;
  std::optional<std::int64_t> cpus;
  std::vector<std::string> options;  ///< more words for sbatch
  BuildOn environment_build = BuildOn::submit_host;
  enum class Unpack { shared, node_local };
  Unpack unpack = Unpack::shared;
  bool requeue = true;
  std::optional<Duration> evidence_after;
};

enum class TargetKindWord { unstated, ssh, slurm, local, scripted };
enum class LauncherWord { unstated, process, slurm };

struct TargetSpec {
  TargetKindWord kind = TargetKindWord::unstated;
  std::optional<std::string> host;
  std::vector<std::string> hosts;
  std::vector<std::string> addresses;  ///< by host, numeric: where the other machines reach it
  std::optional<std::string> ssh_config;
  std::optional<std::string> directory;
  LauncherWord launcher = LauncherWord::unstated;
  Json slurm = nullptr;  ///< SlurmOptions in canonical spelling; null when it is not written
  std::optional<std::string> scenario;
  bool accept_new_host_keys = false;
};

/// A target file.
const Table& target_table();
/// What "target" of a run may be instead of a name: a target file's fields, without its defaults.
const Table& compute_target_table();
/// The options of Slurm, wherever they are written.
const Table& slurm_table();

/// Fill the structs from checked objects in canonical spelling (see check.hpp).
TargetSpec read_target(const Json& checked);
SlurmOptions read_slurm(const Json& checked);

/// Every contradiction: several kinds at once, a field that this kind does not have, a host that cannot be one.
/// `pointer` leads to the target in its document ("" or "/target").
void validate_target(const TargetSpec& target, const std::string& pointer, Complaints& out);

/// ssh for what has a host, slurm for Slurm on this machine; never unstated.
TargetKindWord target_kind(const TargetSpec& target);

/// The definition that a plan keeps: {"name", "type", "hosts", "addresses", "ssh_config", "directory", "launcher",
/// "slurm", "accept_new_host_keys"}, each only where it says something. Of a valid target. A scripted one still names
/// its "scenario" by the file.
Json target_definition(std::string_view name, const TargetSpec& target);

/// What a target without a name of its own is called: its first host, else its kind.
std::string unnamed_target_name(const TargetSpec& target);

/// What a target file may be called: letters, digits, "-", "_", ".", at most 63, a letter or digit first.
bool is_target_name(std::string_view text);

}  // namespace trainctl::spec
