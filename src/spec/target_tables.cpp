// SPDX-License-Identifier: Apache-2.0
// The tables of targets: what a target file and a run's "target" object may say.
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "spec/bind.hpp"
#include "spec/run_configuration.hpp"
#include "spec/run_tables.hpp"
#include "spec/schema.hpp"
#include "spec/table_parts.hpp"
#include "spec/target.hpp"

namespace trainctl::spec {
namespace {

void path(Type& type) {
  type.path = true;
}
void not_empty(Type& type) {
  type.not_empty = true;
}
void at_least_one(Type& type) {
  type.minimum = 1;
  type.maximum = 100000;
}

std::vector<Field> slurm_fields() {
  using T = SlurmOptions;
  return {
      field("partition", &T::partition, "Partition, or several with commas.", not_empty),
      field("account", &T::account, "Account that is charged.", not_empty),
      field("qos", &T::qos, "Quality of service.", not_empty),
      field("constraint", &T::constraint, "Features the nodes must have.", not_empty),
      field("gres", &T::gres,
            "Generic resources per node as Slurm writes them, e.g. \"gpu:a100:2\"; default: from "
            "resources.gpus.",
            not_empty),
      field("exclusive", &T::exclusive, "Share no node with another job; default false."),
      field("dependency", &T::dependency, "Jobs to wait for: \"afterok:123\".", not_empty),
      field("licenses", &T::licenses, "Licences: \"matlab:1\".", not_empty),
      field("reservation", &T::reservation, "Reservation to use.", not_empty),
      field("nodelist", &T::nodelist, "Nodes to use.", not_empty),
      field("exclude", &T::exclude, "Nodes to keep away from.", not_empty),
      field("time", &T::time, "Time limit of a job whose run has no limits.timeout; default: the partition's."),
      field("memory", &T::memory, "Memory per node of a run without resources.memory; default: the partition's."),
      field("cpus", &T::cpus, "CPUs per node of a run without resources.cpus; default: the partition's.", at_least_one),
      field("options", &T::options, "More options of sbatch, one a text: \"--mail-type=END\"."),
      word_field("environment_build", &T::environment_build,
                 {{"submit_host", BuildOn::submit_host}, {"job", BuildOn::job}},
                 "Where Python environments are built: on the submit host (default; compute nodes often have no "
                 "network) or in the job. A run's environment.build goes before it."),
      word_field(
          "unpack", &T::unpack, {{"shared", T::Unpack::shared}, {"node_local", T::Unpack::node_local}},
          "Where the source is unpacked: in the run's folder, which all nodes see (default), or by each node on a "
          "disk of its own (TMPDIR of the job, else /tmp); outputs stay in the run's folder."),
      field("requeue", &T::requeue,
            "Slurm may put a job back into its queue; false: the next attempt is another job. Default true."),
      field("evidence_after", &T::evidence_after,
            "How long a job that Slurm has forgotten may be without an end before its run is lost; default 2m."),
  };
}

std::vector<Field> place_fields() {
  using T = TargetSpec;
  using Kind = TargetKindWord;
  Field slurm = bare_field("slurm", Type{.kind = Type::Kind::object, .table = &slurm_table},
                           "How jobs are given to Slurm; launcher is slurm then.");
  slurm.store = [](void* object, const Json& value) { static_cast<T*>(object)->slurm = value; };
  return {
      word_field("kind", &T::kind,
                 {{"ssh", Kind::ssh}, {"slurm", Kind::slurm}, {"local", Kind::local}, {"scripted", Kind::scripted}},
                 "ssh: a host; slurm: Slurm on this machine, or behind `host`; local: this machine; scripted: a played "
                 "scenario. Default: ssh with a host, else slurm or scripted by what is written."),
      field("host", &T::host, "user@box, or a host of the ssh configuration.", not_empty),
      field("hosts", &T::hosts, "Several hosts, for runs with as many nodes; the first one leads.", not_empty),
      field(
          "addresses", &T::addresses,
          "Where the hosts reach each other when it is not the address by which node 0 is reached: one numeric address "
          "for each of `hosts`.",
          not_empty),
      field("ssh_config", &T::ssh_config, "An ssh configuration file to use instead of the user's.", path),
      field("directory", &T::directory,
            "Where trainctl keeps its things on the host: an absolute path or \"~/…\"; default ~/.trainctl.",
            not_empty),
      word_field("launcher", &T::launcher, {{"process", LauncherWord::process}, {"slurm", LauncherWord::slurm}},
                 "process: runs start at once, or wait for free cpus, memory and gpus of the host; slurm: as jobs. "
                 "Default: process."),
      std::move(slurm),
      field("scenario", &T::scenario, "The file with what a scripted target plays.", path),
      field("accept_new_host_keys", &T::accept_new_host_keys,
            "Accept the key of a host that was never seen (ssh's accept-new); a changed key is always refused. "
            "Default false."),
  };
}

}  // namespace

template <>
const Table& table_of<SlurmOptions>() {
  static const Table table{.name = "slurm",
                           .doc = "How jobs are given to Slurm.",
                           .fields = slurm_fields(),
                           .aliases = {{"mem", "memory"}, {"cpus_per_task", "cpus"}, {"time_limit", "time"}}};
  return table;
}

template <>
const Table& table_of<TargetSpec>() {
  static const Table table{
      .name = "compute target", .doc = "A target that has no name: a target file's fields.", .fields = place_fields()};
  return table;
}

const Table& slurm_table() {
  return table_of<SlurmOptions>();
}

const Table& compute_target_table() {
  return table_of<TargetSpec>();
}

const Table& target_table() {
  static const Table table = [] {
    Table made{.name = "target", .doc = "A named place where runs go.", .fields = {schema_field()}};
    made.fields.push_back(type_field("target"));
    append(made.fields, place_fields());
    made.fields.push_back(bare_field("defaults", Type{.kind = Type::Kind::object, .table = &fragment_table},
                                     "What holds for runs on this target, below everything they say themselves."));
    return made;
  }();
  return table;
}

TargetSpec read_target(const Json& checked) {
  TargetSpec target;
  read_struct(checked, target);
  return target;
}

SlurmOptions read_slurm(const Json& checked) {
  SlurmOptions options;
  if (checked.is_object()) read_struct(checked, options);
  return options;
}

}  // namespace trainctl::spec
