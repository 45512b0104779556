// SPDX-License-Identifier: Apache-2.0
#include "cli/explain_script.hpp"

#include <string_view>

#include "base/text.hpp"
#include "cli/explain_distribution.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/request.hpp"

namespace trainctl::cli {
namespace {

/// A word for a shell, with the folders that only an attempt knows as variables.
std::string script_word(const std::string& word) {
  std::string text;
  std::string plain;
  const auto flush = [&] {
    if (!plain.empty()) text += base::shell_quote(plain);
    plain.clear();
  };
  for (std::size_t at = 0; at < word.size();) {
    const std::string_view rest = std::string_view(word).substr(at);
    if (rest.starts_with(format::kOutputsMark)) {
      flush();
      text += "\"$TRAINCTL_OUTPUTS\"";
      at += format::kOutputsMark.size();
    } else if (rest.starts_with(format::kResumeMark)) {
      flush();
      text += "\"$TRAINCTL_RESUME_FROM\"";
      at += format::kResumeMark.size();
    } else {
      plain += word[at++];
    }
  }
  flush();
  return text.empty() ? base::shell_quote("") : text;
}

std::string environment_lines(const engine::Prepared& prepared) {
  if (!prepared.environment) return {};
  const host::EnvironmentRequest& request = prepared.environment->request;
  std::string text = "# environment: " + prepared.environment->description + "\n";
  for (const std::string& line : request.setup) text += line + "\n";
  switch (request.kind) {
    case host::EnvironmentKind::interpreter:
    case host::EnvironmentKind::system:
      return text + "python=" + base::shell_quote(request.path.empty() ? "python3" : request.path) + "\n";
    case host::EnvironmentKind::venv:
      return text + ". " + base::shell_quote(request.path + "/bin/activate") + "\npython=python\n";
    case host::EnvironmentKind::project:
      return text + "uv sync --frozen\npython=.venv/bin/python\n";
    case host::EnvironmentKind::conda:
      return text + "cat > \"$work/environment.yml\" <<'END_OF_CONDA'\n" + request.conda +
             "\nEND_OF_CONDA\nconda env create -p \"$work/env\" -f "
             "\"$work/environment.yml\"\npython=\"$work/env/bin/python\"\n";
    case host::EnvironmentKind::packages:
      break;
  }
  text += "python" + request.python + " -m venv \"$work/env\"\n";
  if (!request.requirements.empty()) {
    text += "cat > \"$work/requirements.txt\" <<'END_OF_REQUIREMENTS'\n" + request.requirements +
            "\nEND_OF_REQUIREMENTS\n\"$work/env/bin/pip\" install -r \"$work/requirements.txt\"\n";
  }
  if (!request.packages.empty()) {
    text += "\"$work/env/bin/pip\" install";
    for (const std::string& package : request.packages) text += " " + base::shell_quote(package);
    text += "\n";
  }
  return text + "python=\"$work/env/bin/python\"\n";
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
    for (const auto& [mark, variable] : {std::pair{format::kOutputsMark, "$TRAINCTL_OUTPUTS"},
                                         std::pair{format::kResumeMark, "$TRAINCTL_RESUME_FROM"}}) {
      for (std::size_t at = word.find(mark); at != std::string::npos; at = word.find(mark)) {
        word.replace(at, mark.size(), variable);
      }
    }
    argv.push_back(std::move(word));
  }
  return argv;
}

namespace {

/// The program with its arguments, for the script.
std::string command_text(const format::Plan& plan) {
  const auto argv = explained_command(plan);
  const bool python = plan.command.kind == format::CommandKind::python_script ||
                      plan.command.kind == format::CommandKind::python_module;
  std::string command = python ? "\"$python\"" : argv.empty() ? ":" : base::shell_quote(argv.front());
  if (plan.command.kind == format::CommandKind::python_module || plan.command.kind == format::CommandKind::shell)
    command += " " + argv.at(1);
  const bool first_is_program = plan.command.kind == format::CommandKind::exec;
  for (std::size_t i = first_is_program ? 1 : 0; i < plan.command.argv.size(); ++i)
    command += " " + script_word(plan.command.argv[i]);
  return command;
}

}  // namespace

std::string shell_script(const engine::Prepared& prepared, const EnvironmentState& environment) {
  const format::Plan& plan = prepared.plan;
  std::string text =
      "#!/usr/bin/env bash\n# What trainctl would run, by hand" +
      (environment.request_key.empty() ? "" : "; environment request " + environment.request_key.substr(0, 16)) +
      ".\nset -euo pipefail\n";
  text += "work=$(mktemp -d)\n";
  const std::string source = base::shell_quote(plan.source.value("directory", "."));
  if (plan.in_place()) {
    text += "cd " + source + "\n";
  } else {
    text += "mkdir -p \"$work/source\"\n";
    text += "while IFS= read -r file; do\n  mkdir -p \"$work/source/$(dirname \"$file\")\"\n  cp -P " + source +
            "/\"$file\" \"$work/source/$file\"\ndone <<'END_OF_FILES'\n";
    for (const snapshot::Sized& file : prepared.preview) text += file.path + "\n";
    text += "END_OF_FILES\ncd \"$work/source\"\n";
  }
  text += environment_lines(prepared);
  text += "export TRAINCTL_OUTPUTS=\"$work/outputs\"\nmkdir -p \"$TRAINCTL_OUTPUTS\"\n";
  if (!plan.in_place()) text += "ln -sfn \"$TRAINCTL_OUTPUTS\" outputs\n";
  text += "export PYTHONUNBUFFERED=1\n";
  if (plan.resume_from) text += "export TRAINCTL_RESUME_FROM=" + base::shell_quote(plan.resume_from->path) + "\n";
  for (const format::PlanInput& input : plan.inputs)
    text += "export TRAINCTL_INPUT_" + base::to_upper(input.name) + "=" + base::shell_quote(input.path) + "\n";
  for (const format::PlanOutput& output : plan.outputs)
    text += "export TRAINCTL_OUTPUT_" + base::to_upper(output.name) + "=\"$TRAINCTL_OUTPUTS\"/" +
            base::shell_quote(output.path) + "\n";
  for (const auto& [name, value] : plan.variables) text += "export " + name + "=" + script_word(value) + "\n";
  for (const std::string& secret : plan.secrets)
    text += ": \"${" + secret + ":?set this secret}\"; export " + secret + "\n";
  if (plan.working_directory != ".") text += "cd " + base::shell_quote(plan.working_directory) + "\n";
  return text + by_hand(plan, command_text(plan)) + "\necho \"outputs: $TRAINCTL_OUTPUTS\" >&2\n";
}

}  // namespace trainctl::cli
