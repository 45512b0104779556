// SPDX-License-Identifier: Apache-2.0
// The tables of the run configuration: the one place that knows its fields.
#include "spec/run_tables.hpp"

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "spec/bind.hpp"
#include "spec/run_configuration.hpp"
#include "spec/schema.hpp"
#include "spec/table_parts.hpp"
#include "spec/target.hpp"

namespace trainctl::spec {

template <>
const Table& table_of<Environment>();  // environment_tables.cpp
template <>
const Table& table_of<Distribution>();  // distribution_tables.cpp

namespace {
void path(Type& type) {
  type.path = true;
}
void path_or_name(Type& type) {
  type.path = type.needs_slash = type.not_empty = true;
}
void not_empty(Type& type) {
  type.not_empty = true;
}

auto range(std::int64_t minimum, std::int64_t maximum) {
  return [=](Type& type) {
    type.minimum = minimum;
    type.maximum = maximum;
  };
}

void numbers_too(Type& list) {
  Type element = *list.element;
  element.from_integer = true;
  list.element = std::make_shared<Type>(element);
}
}  // namespace

template <>
const Table& table_of<Secret>() {
  using T = Secret;
  static const Table table{
      .name = "secret",
      .doc =
          "A variable whose value is never written down. Without env, file or command the submitter's variable of the "
          "same name.",
      .fields =
          {
              [] {
                Field name = field("name", &T::name, "The variable the script sees.");
                name.required = true;
                return name;
              }(),
              field("env", &T::env, "Take the value from this variable of the submitter."),
              field("file", &T::file, "Take the value from this file (its last newline is dropped).", path),
              field("command", &T::command, "Take the value from the output of this command.", not_empty),
          },
      .shorthand = "name"};
  return table;
}

template <>
const Table& table_of<Input>() {
  using T = Input;
  static const Table table{
      .name = "input",
      .doc = "Data the script reads, seen as TRAINCTL_INPUT_<NAME>.",
      .fields =
          {
              [] {
                Field source =
                    field("source", &T::source,
                          "A local path, \"host:/path\", \"data:digits@3\", \"run:digits-42/model\" or a URL.", path);
                source.required = true;
                return source;
              }(),
              word_field("mode", &T::mode,
                         {{"link", InputMode::link}, {"copy", InputMode::copy}, {"download", InputMode::download}},
                         "How it gets to the run; default: link where it is already there, else copy or download."),
          },
      .aliases = {{"path", "source"}},
      .shorthand = "source"};
  return table;
}

template <>
const Table& table_of<Output>() {
  using T = Output;
  static const Table table{
      .name = "output",
      .doc = "A file or folder the script writes, seen as TRAINCTL_OUTPUT_<NAME>.",
      .fields = {field("path", &T::path, "Where, relative to outputs/; default: the output's name."),
                 field("register_model", &T::register_model,
                       "The model it is a version of: recorded with the run, nothing is registered yet.")},
      .shorthand = "path"};
  return table;
}

template <>
const Table& table_of<Resources>() {
  using T = Resources;
  static const Table table{
      .name = "resources",
      .doc = "What the run needs, per node. What is not stated is not reserved.",
      .fields = {field("nodes", &T::nodes, "Machines; default 1.", range(1, 100000)),
                 field("cpus", &T::cpus, "CPUs per node; fractions are fine.", range(0, 100000)),
                 field("memory", &T::memory,
                       "Memory per node: \"4GiB\". A reservation, and a limit where the host can."),
                 field("gpus", &T::gpus, "GPUs per node; 0 hides them; unstated leaves CUDA_VISIBLE_DEVICES alone.",
                       range(0, 1024))},
      .aliases = {{"node_count", "nodes"}, {"instance_count", "nodes"}}};
  return table;
}

template <>
const Table& table_of<Limits>() {
  using T = Limits;
  static const Table table{
      .name = "limits",
      .doc = "When the run is ended.",
      .fields = {field("timeout", &T::timeout, "Longest time from the start of the script, per attempt: \"2h\"."),
                 field("queue_timeout", &T::queue_timeout, "Longest wait for resources."),
                 field("start_timeout", &T::start_timeout, "Longest time to prepare: snapshot, environment, inputs."),
                 field("idle", &T::idle, "Longest time without a line of output or a metric.")},
      .aliases = {{"max_run_duration_seconds", "timeout", Conversion::seconds}, {"idle_timeout", "idle"}}};
  return table;
}

template <>
const Table& table_of<Retry>() {
  using T = Retry;
  static const Table table{
      .name = "retry",
      .doc = "Trying again after a failure.",
      .fields =
          {
              field("max", &T::max, "Further attempts; default 0.", range(0, 1000)),
              field("on", &T::on,
                    "After what: a cause (failed, exit, signal, memory_limit, preempted, node, start, lost …), "
                    "\"exit:137\" or "
                    "\"signal:SIGKILL\"."),
              field("backoff", &T::backoff, "Wait before the next attempt, doubled each time; default 30s."),
              field("resume", &T::resume,
                    "Start each further attempt with the outputs/ of the last one, so that the script can go on; "
                    "TRAINCTL_RESUME_FROM names them then; default false."),
          },
      .aliases = {{"max_retries", "max"}}};
  return table;
}

template <>
const Table& table_of<Stop>() {
  using T = Stop;
  static const Table table{
      .name = "stop",
      .doc = "How a run is ended early.",
      .fields = {
          field("signal", &T::signal, "First signal to each process group; default SIGINT."),
          field("grace", &T::grace, "Time until the whole tree is killed; SIGTERM comes at half of it; default 30s."),
          field("warn", &T::warn, "Send warn_signal this long before limits.timeout."),
          field("warn_signal", &T::warn_signal, "Sent only to processes that handle it; default SIGUSR2.")}};
  return table;
}

template <>
const Table& table_of<SystemMetrics>() {
  using T = SystemMetrics;
  static const Table table{.name = "system metrics",
                           .doc = "CPU, memory, IO and GPU use of the run.",
                           .fields = {field("enabled", &T::enabled, "Default true."),
                                      field("interval", &T::interval, "Time between samples; default 5s.")},
                           .shorthand = "enabled"};
  return table;
}

template <>
const Table& table_of<MetricSources>() {
  using T = MetricSources;
  static const Table table{
      .name = "metric sources",
      .doc = "What metrics are taken from by themselves; each is true unless it is turned off.",
      .fields = {
          field("mlflow", &T::mlflow, "The tracking endpoint of the run; false: MLflow does what it does without."),
          field("azureml", &T::azureml, "The stand-in for azureml-core, and what the real one prints."),
          field("tensorboard", &T::tensorboard, "Event files below the working directory."),
          field("chainer", &T::chainer, "LogReport's file named log."),
          field("lightning", &T::lightning, "CSVLogger's metrics.csv.")}};
  return table;
}

template <>
const Table& table_of<Metrics>() {
  using T = Metrics;
  static const Table table{
      .name = "metrics",
      .doc = "What is measured.",
      .fields =
          {field("primary", &T::primary, "The metric runs are compared by."),
           word_field(
               "goal", &T::goal, {{"maximize", Goal::maximize}, {"minimize", Goal::minimize}},
               "Whether more or less of it is better; default by its name (loss, error: minimize), else maximize."),
           field("patterns", &T::patterns,
                 "Metrics in the script's output: \"epoch {step}: loss {loss}\", or a PCRE with named groups."),
           field("sources", &T::sources, "What else metrics are taken from; all of it unless turned off here."),
           field("system", &T::system, "Sampling of the machine; false turns it off.")},
      .aliases = {{"primary_metric", "primary"}}};
  return table;
}

template <>
const Table& table_of<Logs>() {
  using T = Logs;
  static const Table table{
      .name = "logs",
      .doc = "How output gets into the log.",
      .fields = {word_field(
          "via", &T::via, {{"file", LogVia::file}, {"pipe", LogVia::pipe}, {"pty", LogVia::pty}},
          "file (default): the script writes the log itself; pipe; pty: the script sees a terminal.")},
      .shorthand = "via"};
  return table;
}

namespace {
Field target_field() {
  return {.name = "target",
          .type = std::make_shared<Type>(Type{.table = &compute_target_table, .not_empty = true}),
          .doc = "Where it runs: local, a target's name, user@host, or an object that describes it.",
          .store = [](void* object, const Json& value) {
            auto& run = *static_cast<RunConfiguration*>(object);
            if (value.is_object()) {
              run.target_object = value;
              run.target = unnamed_target_name(read_target(value));
            } else {
              read(value, run.target);
            }
          }};
}
}  // namespace

template <>
const Table& table_of<Collect>() {
  using T = Collect;
  static const Table table{
      .name = "collect",
      .doc = "Which outputs of a run on another machine are copied home, and when.",
      .fields = {word_field("when", &T::when,
                            {{"always", CollectWhen::always},
                             {"on_success", CollectWhen::on_success},
                             {"never", CollectWhen::never}},
                            "always (default; of a failed run up to 1 GiB), on_success or never."),
                 field("patterns", &T::patterns, "Only these of the outputs: \"*.pt\", \"checkpoints/**\", a folder.")},
      .shorthand = "when"};
  return table;
}

std::vector<Field> program_fields() {
  using T = RunConfiguration;
  return {
      field("name", &T::name,
            "Name of the run: runs are called <name>-1, <name>-2 …; default: the file's or script's name."),
      field("experiment", &T::experiment, "Groups runs that belong together."),
      field("description", &T::description, "Anything worth remembering."),
      field("script", &T::script, "Python script, relative to the source directory.", not_empty),
      field("module", &T::module, "Python module, run as python -m.", not_empty),
      field("command", &T::command, "Any program: a list of arguments, or a text for the shell."),
      word_field("shell", &T::shell, {{"bash", Shell::bash}, {"sh", Shell::sh}}, "Which shell a command text is for."),
      field("source_directory", &T::source_directory, "The folder that is frozen and given to the run; default \".\".",
            path),
      field("working_directory", &T::working_directory, "Where the script starts, relative to the source directory."),
      field("parameters", &T::parameters,
            "The script's parameters in order: texts, numbers, true, false, null, or lists of them. Recorded and "
            "compared."),
      word_field("parameter_style", &T::parameter_style,
                 {{"--k v", ParameterStyle::dashes_space},
                  {"--k=v", ParameterStyle::dashes_equals},
                  {"k=v", ParameterStyle::equals},
                  {"env", ParameterStyle::env},
                  {"none", ParameterStyle::none}},
                 "How parameters reach the script; default \"--k v\". With \"env\" only as TRAINCTL_PARAM_<NAME>."),
      field("arguments", &T::arguments,
            "More arguments, after the parameters. ${{inputs.x}} and the like are replaced.", numbers_too),
      target_field(),
  };
}

std::vector<Field> surroundings_fields() {
  using T = RunConfiguration;
  return {
      field("environment", &T::environment,
            "Python and packages, container, setup lines; a text refers to a JSON file."),
      field("environment_variables", &T::environment_variables, "Variables of the script."),
      field("secrets", &T::secrets, "Variables whose values are never written down."),
      named_items("inputs", &T::inputs, "Data the script reads."),
      named_items("outputs", &T::outputs, "What the script writes and is kept by name. outputs/ is kept always."),
      field("keep", &T::keep, "Patterns of files outside outputs/ that are kept too: \"checkpoints/**\"."),
      field("collect", &T::collect,
            "Which outputs of a run on another machine are copied home, and when; a text is when."),
      field("resources", &T::resources, "What it needs, per node."),
      field("distribution", &T::distribution, "Several processes that train together; a text is the type."),
      field("resume_from", &T::resume_from,
            "Earlier outputs to go on from, seen as TRAINCTL_RESUME_FROM: a run (\"digits-42\", "
            "\"run:digits-42/checkpoints\") or a path (\"./checkpoints\").",
            path_or_name),
      field("limits", &T::limits, "When it is ended."),
      field("retry", &T::retry, "Trying again."),
      field("stop", &T::stop, "How it is ended early."),
      field("metrics", &T::metrics, "What is measured."),
      field("logs", &T::logs, "How output gets into the log."),
      field("tags", &T::tags, "Labels to find runs by."),
      field("priority", &T::priority, "Order among waiting runs, higher first; default 0.", range(-1000, 1000)),
      field("in_place", &T::in_place, "Run in the source directory itself instead of a frozen copy; default false."),
  };
}

std::vector<Alias> run_aliases() {
  return {{"entry_script", "script"},
          {"script_params", "parameters", Conversion::script_params},
          {"compute_target", "target"},
          {"compute", "target"},
          {"code", "source_directory"},
          {"env", "environment_variables"},
          {"variables", "environment_variables"},
          {"experiment_name", "experiment"},
          {"environment_definition", "environment"},
          {"node_count", "resources.nodes"},
          {"instance_count", "resources.nodes"},
          {"process_count_per_node", "distribution.processes_per_node"},
          {"distributed_training", "distribution"},
          {"distributed_job_config", "distribution"},
          {"max_run_duration_seconds", "limits.timeout", Conversion::seconds},
          {"timeout", "limits.timeout"},
          {"pip_packages", "environment.python.packages"},
          {"pip_requirements_file", "environment.python.requirements_file"},
          {"conda_dependencies_file", "environment.python.conda_file"},
          {"primary_metric", "metrics.primary"}};
}

void append(std::vector<Field>& to, std::vector<Field> from) {
  for (Field& one : from) to.push_back(std::move(one));
}

Field schema_field() {
  return bare_field("$schema", Type{}, "For editors; not used.");
}

Field type_field(std::string_view word) {
  return field("type", &RunConfiguration::type, "What kind of file this is.", [word](Type& type) {
    type.kind = Type::Kind::word;
    type.words = {word};
  });
}

void append_composition(std::vector<Field>& to, const Table& (*fragment)()) {
  const auto fragments = [&](std::string_view name, std::string_view doc) {
    auto element = std::make_shared<Type>(Type{.kind = Type::Kind::object, .table = fragment});
    return bare_field(name, Type{.kind = Type::Kind::map, .element = std::move(element)}, doc);
  };
  to.push_back(fragments("profiles", "Variants by name, used with --profile."));
  to.push_back(fragments("on", "What changes when this is the target, by target."));
}

Field extends_field(std::string_view doc) {
  return bare_field("extends", Type{.path = true, .not_empty = true}, doc);
}

const Table& fragment_table() {
  static const Table table = [] {
    Table made{.name = "fragment", .doc = "Part of a run configuration.", .fields = program_fields()};
    append(made.fields, surroundings_fields());
    made.aliases = run_aliases();
    return made;
  }();
  return table;
}

const Table& run_table() {
  static const Table table = [] {
    Table made{.name = "run", .doc = "A run configuration.", .fields = {}};
    made.fields.push_back(schema_field());
    made.fields.push_back(type_field("run"));
    append(made.fields, program_fields());
    append(made.fields, surroundings_fields());
    made.fields.push_back(extends_field("A run configuration this one builds on, relative to this file."));
    append_composition(made.fields, &fragment_table);
    made.aliases = run_aliases();
    return made;
  }();
  return table;
}

const Table& settings_table() {
  static const Table table = [] {
    Table made{.name = "settings", .doc = "Defaults for the runs of a project or a user.", .fields = {}};
    made.fields.push_back(schema_field());
    append(made.fields, program_fields());
    append(made.fields, surroundings_fields());
    append_composition(made.fields, &fragment_table);
    made.aliases = run_aliases();
    return made;
  }();
  return table;
}

void read_run_configuration(const Json& checked, RunConfiguration& out) {
  for (const Field& one : run_table().fields) {
    const auto found = checked.find(one.name);
    if (one.store && found != checked.end() && !found->is_null()) one.store(&out, *found);
  }
}

}  // namespace trainctl::spec
