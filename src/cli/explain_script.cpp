// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_script.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/text.hpp"
#include "cli/explain_distribution.hpp"
#include "cli/explain_environment.hpp"
#include "engine/prepare.hpp"
#include "format/plan.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/request.hpp"
#include "host/supervisor/helper_module.hpp"
#include "snapshot/scan.hpp"

namespace trainctl::cli {
namespace {

struct Mark {
  std::string_view mark;
  std::string_view variable;
};
constexpr std::array<Mark, 3> kMarks = {{{format::kOutputsMark, "$TRAINCTL_OUTPUTS"},
                                         {format::kInputsMark, "$work/inputs"},
                                         {format::kResumeMark, "$TRAINCTL_RESUME_FROM"}}};

/// A word for a shell, with the attempt's folders as variables.
std::string script_word(const std::string& word) {
  std::string_view rest = word;
  std::string text;
  while (!rest.empty()) {
    std::size_t next = rest.size();
    const Mark* found = nullptr;
    for (const Mark& mark : kMarks) {
      const std::size_t at = rest.find(mark.mark);
      if (at >= next) continue;
      next = at;
      found = &mark;
    }
    if (next > 0) text += base::shell_quote(std::string(rest.substr(0, next)));
    if (found != nullptr) text.append("\"").append(found->variable).append("\"");
    rest.remove_prefix(next + (found == nullptr ? 0 : found->mark.size()));
  }
  return text.empty() ? "''" : text;
}

bool uses_python(const format::Plan& plan) {
  using Kind = format::CommandKind;
  return plan.command.kind == Kind::python_script || plan.command.kind == Kind::python_module;
}

std::string source_lines(const engine::Prepared& prepared) {
  const format::Plan& plan = prepared.plan;
  const std::string source = base::shell_quote(plan.source.value("directory", "."));
  if (plan.in_place()) return "cd " + source + "\n";
  std::string text = "source=" + source + "\nmkdir -p \"$work/source\"\n";
  text += "take() { mkdir -p \"$(dirname \"$work/source/$1\")\"; cp -P \"$source/$1\" \"$work/source/$1\"; }\n";
  for (const snapshot::Sized& file : prepared.preview) text += "take " + base::shell_quote(file.path) + "\n";
  return text + "cd \"$work/source\"\n";
}

std::string variable_lines(const format::Plan& plan) {
  std::string text = "export TRAINCTL_OUTPUTS=\"$work/outputs\"\nmkdir -p \"$TRAINCTL_OUTPUTS\"\n";
  if (!plan.in_place()) text += "ln -sfn \"$TRAINCTL_OUTPUTS\" outputs\n";
  text += "export PYTHONUNBUFFERED=1\n";
  if (plan.resume_from) text += "export TRAINCTL_RESUME_FROM=" + base::shell_quote(plan.resume_from->path) + "\n";
  for (const format::PlanInput& input : plan.inputs) {
    std::string value = base::shell_quote(input.path);
    if (input.is_copied()) {
      const std::string folder = "\"$work/inputs\"/" + base::shell_quote(input.name);
      text.append("mkdir -p ")
          .append(folder)
          .append("\ncp -aH ")
          .append(value)
          .append(" ")
          .append(folder)
          .append("/\n");
      value = "\"$work/inputs\"/" + base::shell_quote(input.copy_path());
    }
    text += "export TRAINCTL_INPUT_" + base::to_upper(input.name) + "=" + value + "\n";
  }
  for (const format::PlanOutput& output : plan.outputs)
    text += "export TRAINCTL_OUTPUT_" + base::to_upper(output.name) + "=\"$TRAINCTL_OUTPUTS\"/" +
            base::shell_quote(output.path) + "\n";
  for (const auto& [name, value] : plan.variables) text += "export " + name + "=" + script_word(value) + "\n";
  for (const std::string& secret : plan.secrets)
    text.append(": \"${").append(secret).append(":?set this secret}\"; export ").append(secret).append("\n");
  if (uses_python(plan)) text += "export PYTHONPATH=\"$work/modules${PYTHONPATH:+:$PYTHONPATH}\"\n";
  return text;
}

/// Scripts may import trainctl; outside a run its calls do nothing.
std::string module_lines(const format::Plan& plan) {
  if (!uses_python(plan)) return {};
  return "mkdir \"$work/modules\"\n" + file_lines("modules/trainctl.py", host::own_module());
}

std::string command_line(const format::Plan& plan) {
  using Kind = format::CommandKind;
  const auto argv = explained_command(plan);
  const Kind kind = plan.command.kind;
  std::string text = uses_python(plan) ? "\"$python\"" : argv.empty() ? ":" : base::shell_quote(argv.front());
  if (kind == Kind::python_module || kind == Kind::shell) text += " " + argv.at(1);
  for (std::size_t i = kind == Kind::exec ? 1 : 0; i < plan.command.argv.size(); ++i)
    text += " " + script_word(plan.command.argv[i]);
  return text;
}

std::string container_lines(const format::Plan& plan) {
  const format::PlanContainer& container = *plan.container;
  const std::string engine = container.engine.empty() ? "podman" : container.engine;
  const std::string image = container.image.empty()
                                ? "$(" + engine + " build -q -f " + base::shell_quote(container.dockerfile) + " " +
                                      base::shell_quote(container.context) + ")"
                                : base::shell_quote(container.image);
  return "python=" + base::shell_quote(container.python) + "\nimage=" + image + "\n";
}

/// The variables are exported by then: "--env NAME" takes their values along.
std::string container_by_hand(const format::Plan& plan, const std::string& command) {
  const format::PlanContainer& container = *plan.container;
  std::string text = container.engine.empty() ? "podman" : container.engine;
  text += " run --rm --network=host --ipc=host --user=\"$(id -u):$(id -g)\" --env HOME=\"$PWD\"";
  text += " --env TRAINCTL_OUTPUTS --env PYTHONUNBUFFERED";
  if (uses_python(plan)) text += " --env PYTHONPATH";
  for (const auto& [name, value] : plan.variables) text += " --env " + name;
  for (const std::string& name : plan.secrets) text += " --env " + name;
  for (const format::PlanInput& input : plan.inputs) {
    text += " --env TRAINCTL_INPUT_" + base::to_upper(input.name);
    if (!input.is_copied()) text += " --volume=" + base::shell_quote(input.path + ":" + input.path + ":ro");
  }
  for (const format::PlanOutput& output : plan.outputs) text += " --env TRAINCTL_OUTPUT_" + base::to_upper(output.name);
  text += " --volume=\"$work:$work\" --volume=\"$PWD:$PWD\"";
  for (const std::string& one : container.volumes) text += " --volume=" + base::shell_quote(one);
  text += " --workdir=\"$PWD\" --entrypoint=";
  for (const std::string& word : container.arguments) text += " " + base::shell_quote(word);
  return text + " \"$image\" " + command;
}

}  // namespace

EnvironmentState environment_state(const archive::Store& store, const engine::Prepared& prepared) {
  if (!prepared.environment) return {};
  const host::EnvironmentRequest& request = prepared.environment->request;
  EnvironmentState state{.description = prepared.environment->description,
                         .request_key = host::request_key(request, host::Platform::current()),
                         .state = "nothing to build"};
  using Kind = host::EnvironmentKind;
  if (request.kind == Kind::packages || request.kind == Kind::conda || request.kind == Kind::project) {
    const host::CacheState cache = host::cached(request, store.paths().environments());
    state.state = cache.built    ? "built, " + host::short_key(cache.key)
                  : cache.locked ? "locked, will be built"
                                 : "will be resolved and built";
  }
  return state;
}

std::vector<std::string> explained_command(const format::Plan& plan) {
  std::vector<std::string> argv;
  if (plan.command.kind == format::CommandKind::python_script) argv = {"python"};
  if (plan.command.kind == format::CommandKind::python_module) argv = {"python", "-m"};
  if (plan.command.kind == format::CommandKind::shell) argv = {plan.command.shell, "-c"};
  for (std::string word : plan.command.argv) {
    for (const Mark& mark : kMarks) {
      for (std::size_t at = word.find(mark.mark); at != std::string::npos; at = word.find(mark.mark))
        word.replace(at, mark.mark.size(), mark.variable);
    }
    argv.push_back(std::move(word));
  }
  return argv;
}

std::string shell_script(const engine::Prepared& prepared, const EnvironmentState& environment) {
  const format::Plan& plan = prepared.plan;
  std::string text =
      "#!/usr/bin/env bash\n# What trainctl would run, by hand" +
      (environment.request_key.empty() ? "" : "; environment request " + environment.request_key.substr(0, 16)) +
      ".\nset -euo pipefail\n";
  text += "work=$(mktemp -d)\n" + source_lines(prepared);
  if (prepared.environment) text += environment_lines(*prepared.environment);
  text += module_lines(plan) + variable_lines(plan);
  if (plan.working_directory != ".") text += "cd " + base::shell_quote(plan.working_directory) + "\n";
  if (plan.container) text += container_lines(plan);
  text += (plan.container ? container_by_hand(plan, command_line(plan)) : by_hand(plan, command_line(plan))) + "\n";
  return text + "echo \"outputs: $TRAINCTL_OUTPUTS\" >&2\n";
}

}  // namespace trainctl::cli
