// SPDX-License-Identifier: Apache-2.0
// What an estimator preset may contain.
#include <string_view>

#include "spec/bind.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/schema.hpp"

namespace trainctl::spec {
namespace {
void not_empty(Type& type) {
  type.not_empty = true;
}
template <class Struct, class Member>
Field required(std::string_view name, Member Struct::* member, std::string_view doc) {
  Field made = field(name, member, doc, not_empty);
  made.required = true;
  return made;
}
}  // namespace

template <>
const Table& table_of<PresetVersions>() {
  using T = PresetVersions;
  static const Table table{
      .name = "versions",
      .doc = "What is installed for a range of versions. \"{version}\" stands for the version.",
      .fields = {field("from", &T::from, "The first version of the range; default: the oldest."),
                 field("until", &T::until, "The first version after the range; default: none."),
                 field("python", &T::python, "Versions of Python it works with: \">=3.9,<3.13\"."),
                 field("packages", &T::packages, "Packages, as pip writes them: \"torch=={version}\"."),
                 field("cpu", &T::cpu, "More packages without GPUs."),
                 field("gpu", &T::gpu, "More packages with GPUs."),
                 field("build_constraints", &T::build_constraints,
                       "Versions of what packages without a wheel are built with."),
                 field("variables", &T::variables, "Variables of the script, where it does not set them itself."),
                 field("known", &T::known, "Releases there are: others get a \"did you mean\".")}};
  return table;
}

template <>
const Table& table_of<PresetDistribution>() {
  using T = PresetDistribution;
  static const Table table{
      .name = "preset distribution",
      .doc = "A way of training in several processes, and what it needs.",
      .fields = {field("packages", &T::packages, "More packages."),
                 field("variables", &T::variables, "Variables of the script, where it does not set them itself.")}};
  return table;
}

template <>
const Table& table_of<PresetCondition>() {
  using T = PresetCondition;
  static const Table table{.name = "condition",
                           .doc = "One thing to be true of an estimator.",
                           .fields = {[] {
                                        Field made = field("field", &T::field, "What is looked at.", [](Type& type) {
                                          type.kind = Type::Kind::word;
                                          type.words = {"framework_version", "distribution", "gpu", "nodes",
                                                        "processes_per_node"};
                                        });
                                        made.required = true;
                                        return made;
                                      }(),
                                      field("above", &T::above, "The number is greater than this."),
                                      field("is", &T::is, "The text is one of these; gpu is \"true\" or \"false\"."),
                                      field("from", &T::from, "The version is this one or later."),
                                      field("until", &T::until, "The version is before this one.")}};
  return table;
}

template <>
const Table& table_of<PresetRule>() {
  using T = PresetRule;
  static const Table table{
      .name = "rule",
      .doc = "Something to be said when all conditions hold.",
      .fields = {field("when", &T::when, "The conditions."), required("say", &T::say, "What is said."),
                 field("instead", &T::instead, "What to do about it.")}};
  return table;
}

template <>
const Table& table_of<PresetTorch>() {
  using T = PresetTorch;
  static const Table table{.name = "torch backend",
                           .doc = "Which build of PyTorch: auto, cpu or a CUDA version such as cu124.",
                           .fields = {field("cpu", &T::cpu, "Without GPUs."), field("gpu", &T::gpu, "With GPUs.")}};
  return table;
}

template <>
const Table& table_of<EstimatorPreset>() {
  using T = EstimatorPreset;
  static const Table table{
      .name = "estimator-preset",
      .doc = "What trainctl knows about a framework. The file's name is the framework's.",
      .fields = {bare_field("$schema", Type{}, "For editors; not used."),
                 bare_field("extends", Type{.not_empty = true},
                            "A preset this one builds on; its own name means the one it takes the place of."),
                 field("title", &T::title, "The framework's name as people write it."),
                 field("description", &T::description, "One sentence for `trainctl estimator ls`."),
                 field("aliases", &T::aliases, "Other names."),
                 field("package", &T::package, "The package whose version framework_version is."),
                 field("default_version", &T::default_version, "The version that is taken when none is asked for."),
                 field("versions", &T::versions, "What is installed, by version; the first range that fits counts."),
                 named_items(
                     "distributions", &T::distributions,
                     "How it can train in several processes: mpi, pytorch, gloo, nccl, parameter_server, multi_worker, "
                     "processes."),
                 field("default_distribution", &T::default_distribution,
                       "For several processes of no said kind; default: the first of distributions."),
                 field("torch_backend", &T::torch_backend, "Which build of PyTorch."),
                 field("variables", &T::variables, "Variables of the script, where it does not set them itself."),
                 field("metric_patterns", &T::metric_patterns,
                       "metrics.patterns of its runs, where an estimator has none of its own."),
                 field("checks", &T::checks, "Mistakes: the estimator is refused."),
                 field("hints", &T::hints, "Advice: the run starts, and says it.")}};
  return table;
}

const Table& estimator_preset_table() {
  return table_of<EstimatorPreset>();
}

}  // namespace trainctl::spec
