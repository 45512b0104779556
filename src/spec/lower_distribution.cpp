// SPDX-License-Identifier: Apache-2.0
// distributed_training, use_gpu and the counts as distribution and resources of a run configuration.
#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/distribution_styles.hpp"
#include "spec/estimator.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/lower_parts.hpp"

namespace trainctl::spec {
namespace {

constexpr const char* kTraining = "/distributed_training";
constexpr const char* kProcesses = "/distribution/processes_per_node";
constexpr const char* kNodes = "/resources/nodes";

class DistributionLowering {
 public:
  DistributionLowering(LoweredRun& run, Facts& facts)
      : run_(run), facts_(facts), training_(run.estimator.distributed_training.value_or(DistributedTraining{})) {}

  void lower() {
    counts();
    style();
    if (facts_.style) block();
    gpus();
  }

 private:
  void complain(const std::string& pointer, std::string field, std::string message, std::string hint) {
    run_.complaints.add(pointer, std::move(field), std::move(message), std::move(hint));
  }

  /// One number that may be said in two places.
  std::optional<std::int64_t> agree(const std::string& pointer, const std::string& field,
                                    std::optional<std::int64_t> own, const std::string& own_name) {
    const auto outer = run_.number(pointer);
    if (outer && own && *outer != *own) {
      const std::string inner = std::string(kTraining) + "/" + own_name;
      complain(inner, "distributed_training." + own_name,
               "\"" + field + "\" is " + std::to_string(*outer) + ", here it is " + std::to_string(*own),
               "keep one of them");
    }
    return own ? own : outer;
  }

  void counts() {
    const auto nodes = agree(kNodes, "resources.nodes", training_.node_count, "node_count");
    facts_.nodes = nodes.value_or(1);
    if (training_.node_count) run_.set(kNodes, facts_.nodes, std::string(kTraining) + "/node_count");
    processes_ = agree(kProcesses, "distribution.processes_per_node", training_.process_count_per_node,
                       "process_count_per_node");
    if (training_.process_count && processes_ && *training_.process_count != *processes_ * facts_.nodes) {
      complain(std::string(kTraining) + "/process_count", "distributed_training.process_count",
               std::to_string(*training_.process_count) + " processes are not " + std::to_string(*processes_) +
                   " on each of " + std::to_string(facts_.nodes) + " nodes",
               "keep one of them");
    } else if (training_.process_count && *training_.process_count % facts_.nodes != 0) {
      complain(std::string(kTraining) + "/process_count", "distributed_training.process_count",
               std::to_string(*training_.process_count) + " processes cannot be spread evenly over " +
                   std::to_string(facts_.nodes) + " nodes",
               "use a multiple of the nodes");
    } else if (training_.process_count) {
      processes_ = *training_.process_count / facts_.nodes;
    }
    facts_.processes_per_node = processes_.value_or(1);
  }

  [[nodiscard]] std::vector<std::string> allowed() const {
    std::vector<std::string> names;
    if (run_.preset() == nullptr) return names;
    for (const PresetDistribution& one : run_.preset()->distributions) names.push_back(one.name);
    return names;
  }

  [[nodiscard]] std::string allowed_text() const {
    std::string text;
    for (const std::string& name : allowed()) text += (text.empty() ? "" : ", ") + name;
    return text;
  }

  /// What kind of distribution is meant, and whether the framework can do it.
  void style() {
    const bool direct = run_.value("/distribution/type") != nullptr;
    if (direct && run_.value(kTraining) != nullptr) {
      complain(kTraining, "distributed_training", "\"distributed_training\" and \"distribution\" exclude each other",
               "keep \"distributed_training\"");
    }
    if (run_.value(kTraining) != nullptr) {
      asked_style();
    } else if (direct) {
      facts_.style = find_style(run_.value("/distribution/type")->get<std::string>());
      if (facts_.style && facts_.style->type.empty()) facts_.style.reset();
    } else if (facts_.nodes > 1 || facts_.processes_per_node > 1) {
      default_style();
    }
    if (!facts_.style || run_.preset() == nullptr) return;
    const auto names = allowed();
    if (std::find(names.begin(), names.end(), facts_.style->name) != names.end()) return;
    const std::string name(facts_.style->name);
    complain(direct ? "/distribution/type" : type_pointer(), direct ? "distribution.type" : "distributed_training",
             run_.title() + " cannot train with " + name,
             names.empty() ? "it trains in one process: remove it" : "it can with " + allowed_text());
    facts_.style.reset();
  }

  [[nodiscard]] std::string type_pointer() const {
    const std::string type = std::string(kTraining) + "/type";
    return run_.wrote(type) ? type : std::string(kTraining);
  }

  void asked_style() {
    std::string type = training_.type.value_or("");
    if (type.empty() && (training_.worker_count || training_.parameter_server_count)) type = "tensorflow";
    if (type.empty() && training_.backend) type = "pytorch";
    if (type.empty()) return default_style();
    auto found = find_style(type);
    if (!found) {
      const auto near = suggest_style(type);
      complain(type_pointer(), "distributed_training.type",
               "\"" + type + "\" is no way of distributing" + (near ? ", did you mean \"" + *near + "\"?" : ""),
               near ? "" : "there are: " + style_names());
      return;
    }
    // TensorflowConfiguration says by its counts which of the two it means.
    if (found->name == "multi_worker" && training_.parameter_server_count.value_or(0) > 0) {
      found = find_style("parameter_server");
    }
    if (!found->type.empty()) {
      facts_.style = found;
    } else if (facts_.nodes > 1 || facts_.processes_per_node > 1) {
      complain(kTraining, "distributed_training", "\"none\" is one process, but several are asked for",
               "remove one of them");
    }
  }

  void default_style() {
    if (run_.preset() == nullptr) return;
    const auto names = allowed();
    if (!names.empty()) {
      facts_.style = find_style(run_.preset()->default_distribution.value_or(names.front()));
      return;
    }
    if (facts_.nodes > 1) {
      complain(kNodes, "resources.nodes",
               run_.title() + " trains on one machine, it cannot use " + std::to_string(facts_.nodes) + " nodes",
               "remove it; to start the script on several nodes yourself: \"framework\": \"generic\"");
    }
    if (facts_.processes_per_node > 1) {
      complain(kProcesses, "distribution.processes_per_node",
               run_.title() + " trains in one process, it cannot use " + std::to_string(facts_.processes_per_node),
               "remove it; to start the script several times: \"framework\": \"generic\"");
    }
  }

  void block() {
    DistributionBlock made{.style = *facts_.style,
                           .backend = base::to_lower(training_.backend.value_or("")),
                           .processes_per_node = processes_,
                           .worker_count = training_.worker_count,
                           .parameter_server_count = training_.parameter_server_count};
    check_backend(made);
    if (made.style.type == "tensorflow") {
      tensorflow_counts(made);
    } else {
      refuse_counts();
    }
    if (run_.value("/distribution/type") != nullptr) return;  // it is the run configuration's own already
    const Json json = to_json(made);
    const std::string from = run_.value(kTraining) != nullptr ? kTraining
                             : run_.wrote(kProcesses)         ? kProcesses
                                                              : kNodes;
    for (const auto& [key, item] : json.items()) {
      const std::string pointer = "/distribution/" + key;
      if (pointer == kProcesses && run_.number(kProcesses)) continue;
      const std::string inner = std::string(kTraining) + "/" + key;
      run_.set(pointer, item, run_.wrote(inner) ? inner : from);
    }
  }

  void check_backend(const DistributionBlock& made) {
    if (made.backend.empty()) return;
    const std::string pointer = std::string(kTraining) + "/backend";
    if (made.style.type != "pytorch") {
      complain(pointer, "distributed_training.backend", "only PyTorch's processes have a backend", "remove it");
    } else if (made.backend != "gloo" && made.backend != "nccl") {
      complain(pointer, "distributed_training.backend",
               "expected \"gloo\" or \"nccl\", found text \"" + made.backend + "\"", "nccl for GPUs, gloo without");
    } else if (!made.style.backend.empty() && made.style.backend != made.backend) {
      complain(pointer, "distributed_training.backend",
               "\"type\" says " + std::string(made.style.backend) + ", \"backend\" says " + made.backend,
               "keep one of them");
    }
  }

  /// Workers are counted on all nodes together or by processes per node, never by both.
  void tensorflow_counts(DistributionBlock& made) {
    if (made.style.name == "parameter_server") {
      made.parameter_server_count = made.parameter_server_count.value_or(1);
      if (!processes_) made.worker_count = made.worker_count.value_or(1);
    } else {
      made.parameter_server_count.reset();
    }
    if (!made.worker_count || !processes_) return;
    const bool same = made.style.name == "multi_worker" && *made.worker_count == *processes_ * facts_.nodes;
    if (!same) {
      complain(std::string(kTraining) + "/worker_count", "distributed_training.worker_count",
               "\"worker_count\" and \"process_count_per_node\" both say how many processes there are",
               "keep \"worker_count\"");
    }
    made.processes_per_node.reset();
    run_.remove(kProcesses);
  }

  void refuse_counts() {
    for (const char* name : {"worker_count", "parameter_server_count"}) {
      if (!run_.wrote(std::string(kTraining) + "/" + name)) continue;
      complain(std::string(kTraining) + "/" + name, "distributed_training." + std::string(name),
               "only TensorFlow's parameter_server and multi_worker count workers", "write \"process_count_per_node\"");
    }
  }

  /// use_gpu reserves a GPU for each process; a number that is written stays.
  void gpus() {
    const auto reserved = run_.number("/resources/gpus");
    const auto& asked = run_.estimator.use_gpu;
    facts_.gpu = asked.value_or(reserved.value_or(0) > 0);
    if (!asked) return;
    if (*asked && reserved == 0) {
      complain("/use_gpu", "use_gpu", "\"use_gpu\" is true, but \"resources.gpus\" is 0", "remove one of them");
    } else if (!*asked && reserved.value_or(0) > 0) {
      complain("/use_gpu", "use_gpu", "\"use_gpu\" is false, but \"resources.gpus\" is " + std::to_string(*reserved),
               "remove one of them");
    } else if (*asked && !reserved) {
      run_.set("/resources/gpus", facts_.processes_per_node, "/use_gpu");
    }
  }

  LoweredRun& run_;
  Facts& facts_;
  const DistributedTraining training_;
  std::optional<std::int64_t> processes_;
};

}  // namespace

void lower_distribution(LoweredRun& run, Facts& facts) {
  DistributionLowering(run, facts).lower();
}

}  // namespace trainctl::spec
