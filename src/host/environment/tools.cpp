// SPDX-License-Identifier: Apache-2.0
#include "host/environment/tools.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/interpreter.hpp"
#include "host/environment/request.hpp"
#include "host/environment/requirements.hpp"
#include "host/environment/resolver_errors.hpp"
#include "host/environment/step.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace fs = std::filesystem;

namespace {

// ${VAR} from our environment, so that a password is in no request, file or argv. Unknown names stay as they are.
std::string expand(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t open = text.find("${", at);
    const std::size_t close = open == std::string::npos ? open : text.find('}', open);
    if (close == std::string::npos) return out + text.substr(at);
    out += text.substr(at, open - at);
    const std::string name = text.substr(open + 2, close - open - 2);
    out += base::get_env(name.c_str()).value_or(text.substr(open, close - open + 1));
    at = close + 1;
  }
  return out;
}

void add_tool_variables(const BuildContext& context, Step& step) {
  // PYTHONDONTWRITEBYTECODE would leave every run compiling its imports again (three times slower starts, measured).
  step.unset = {"PYTHONDONTWRITEBYTECODE",
                "PYTHONHOME",
                "PYTHONPATH",
                "VIRTUAL_ENV",
                "CONDA_PREFIX",
                "UV_PYTHON",
                "UV_SYSTEM_PYTHON",
                "UV_PROJECT_ENVIRONMENT",
                "PIP_TARGET",
                "PIP_USER",
                "PIP_PREFIX",
                "PIP_REQUIRE_VIRTUALENV",
                "PIP_REQUIRE_HASHES"};
  for (const auto& [name, value] : context.setup) {
    if (value) {
      std::erase(step.unset, name);
      step.variables.emplace_back(name, *value);
    } else {
      step.unset.push_back(name);
    }
  }
  step.variables.insert(step.variables.end(), {{"UV_PYTHON_DOWNLOADS", "never"},
                                               {"UV_NO_PROGRESS", "1"},
                                               {"NO_COLOR", "1"},
                                               {"PIP_NO_INPUT", "1"},
                                               {"PIP_NO_COLOR", "1"},
                                               {"PIP_PROGRESS_BAR", "off"},
                                               {"PIP_DISABLE_PIP_VERSION_CHECK", "1"}});
  if (const std::size_t equals = context.lock_mark.find('='); equals != std::string::npos) {
    step.variables.emplace_back(context.lock_mark.substr(0, equals), context.lock_mark.substr(equals + 1));
  }
  if (!context.request.torch_backend.empty())
    step.variables.emplace_back("UV_TORCH_BACKEND", context.request.torch_backend);
  if (context.request.index_urls.empty()) return;
  std::string urls;
  for (const std::string& url : context.request.index_urls) urls += (urls.empty() ? "" : " ") + expand(url);
  for (const char* name : {"UV_INDEX", "PIP_EXTRA_INDEX_URL"}) {
    std::string wanted = urls;
    if (const auto own = base::get_env(name); own && !own->empty()) wanted.append(" ").append(*own);
    step.variables.emplace_back(name, std::move(wanted));
  }
}

// The newest version not above and the oldest not below the missing one, and the newest of all.
std::string hint_from_uv(BuildContext& context, const fs::path& uv, const MissingVersion& missing) {
  std::vector<std::string> found;
  const auto ask = [&](const std::string& requirement, const char* resolution) {
    Step step = tool_step(context, {uv.string(), "pip", "compile", "-", "--no-deps", "--no-header", "--no-annotate",
                                    "--resolution", resolution, "-p", context.python.path.string()});
    const fs::path file = context.work / "near.txt";
    if (!base::write_file_atomic(file, requirement + "\n")) return;
    step.argv[3] = file.string();
    step.capture_output = true;
    step.log_fd = -1;
    step.deadline = std::chrono::seconds(20);
    const auto result = run_step(step);
    const std::size_t at = result && result->exit_code == 0 ? result->out.find("==") : std::string::npos;
    if (at == std::string::npos) return;
    const std::string version(result->out.substr(at + 2, result->out.find_first_of(" \n\\", at) - at - 2));
    if (std::find(found.begin(), found.end(), version) == found.end()) found.push_back(version);
  };
  ask(missing.name + "<" + missing.version, "highest");
  ask(missing.name + ">" + missing.version, "lowest-direct");
  ask(missing.name, "highest");
  if (found.empty()) return {};
  return missing.name + " has " + base::join(near_versions(missing.version, found), ", ") + " for python " +
         context.python.version.text();
}

Result<std::vector<std::string>> constraint_arguments(const BuildContext& context) {
  std::vector<std::string> arguments;
  if (!context.request.build_constraints.empty()) {
    const fs::path file = context.work / "build-constraints.txt";
    TRY(base::write_file_atomic(file, base::join(context.request.build_constraints, "\n") + "\n"));
    arguments.insert(arguments.end(), {"--build-constraint", file.string()});
  }
  return arguments;
}

Result<> make_uv_venv(const BuildContext& context, const fs::path& uv, const fs::path& folder) {
  const Step step =
      tool_step(context, {uv.string(), "venv", "--no-project", "-p", context.python.path.string(), folder.string()});
  TRY(run_tool(context, step, "uv", "making the virtual environment"));
  return {};
}

std::string uv_version(const fs::path& uv) {
  const auto output = base::run_command({.argv = {uv.string(), "--version"}});
  const std::string text = output ? std::string(base::trim(output->out)) : "uv";
  return text.substr(0, text.find(" ("));
}

}  // namespace

void report(const EnsureOptions& options, const std::string& phase) {
  if (options.log_fd >= 0) (void)base::write_all(options.log_fd, "== " + phase + "\n");
  if (options.progress) options.progress(phase);
}

std::optional<fs::path> find_uv(const Surroundings& surroundings) {
  if (auto uv = base::find_program("uv", surroundings.path)) return uv;
  if (surroundings.home.empty()) return std::nullopt;
  return base::find_program("uv", surroundings.home + "/.local/bin:" + surroundings.home + "/.cargo/bin");
}

std::optional<fs::path> find_conda(const Surroundings& surroundings) {
  for (const char* name : {"micromamba", "mamba", "conda"}) {
    if (auto program = base::find_program(name, surroundings.path)) return program;
  }
  return std::nullopt;
}

Step tool_step(const BuildContext& context, std::vector<std::string> argv) {
  Step step{.argv = std::move(argv)};
  add_tool_variables(context, step);
  step.directory = context.work;  // no project file of the current folder is picked up
  step.log_fd = context.options.log_fd;
  step.cancel_fd = context.options.cancel_fd;
  step.inherit_fd = context.lock_fd;
  return step;
}

Result<StepResult> run_tool(const BuildContext& context, const Step& step, const std::string& tool,
                            const std::string& doing) {
  if (context.options.log_fd >= 0) {
    std::string shown = "$";
    for (const std::string& word : step.argv) shown += " " + base::shell_quote(word);
    (void)base::write_all(context.options.log_fd, shown + "\n");
  }
  TRY_ASSIGN(StepResult result, run_step(step));
  if (result.exit_code == 0) return result;
  const std::string output = step.capture_output ? result.out + "\n" + result.tail : result.tail;
  return fail(explain_failure({.tool = tool, .doing = doing, .exit_code = result.exit_code, .output = output}));
}

bool is_hashed(const std::string& lock) {
  const auto lines = base::split(lock, '\n');
  return std::none_of(lines.begin(), lines.end(), [](const std::string& line) {
    const bool requirement = !line.empty() && line.front() != '-' && line.front() != '#' && line.front() != ' ';
    return requirement && line.find("--hash=") == std::string::npos && !line.ends_with('\\');
  });
}

Result<std::string> resolve_packages(BuildContext& context) {
  if (count_requirements(wanted_text(context.request)) == 0) return std::string();
  if (const auto uv = find_uv(context.surroundings)) return resolve_with_uv(context, *uv);
  return resolve_with_pip(context);
}

Result<> build_packages(BuildContext& context, const std::string& lock, const fs::path& folder) {
  if (const auto uv = find_uv(context.surroundings)) return build_with_uv(context, *uv, lock, folder);
  return build_with_pip(context, lock, folder);
}

Result<std::string> resolve_with_uv(BuildContext& context, const fs::path& uv) {
  const std::string wanted = wanted_text(context.request);
  const std::string doing = "resolving " + std::to_string(count_requirements(wanted)) + " requirements";
  report(context.options, doing);
  TRY(base::write_file_atomic(context.work / "requirements.in", wanted));
  std::vector<std::string> argv = {uv.string(),
                                   "pip",
                                   "compile",
                                   (context.work / "requirements.in").string(),
                                   "--no-header",
                                   "--no-annotate",
                                   "--generate-hashes",
                                   "-p",
                                   context.python.path.string()};
  if (!context.request.constraints.empty()) {
    TRY(base::write_file_atomic(context.work / "constraints.txt", context.request.constraints));
    argv.insert(argv.end(), {"-c", (context.work / "constraints.txt").string()});
  }
  TRY_ASSIGN(const auto more, constraint_arguments(context));
  argv.insert(argv.end(), more.begin(), more.end());
  Step step = tool_step(context, std::move(argv));
  step.capture_output = true;
  auto result = run_tool(context, step, "uv", doing);
  if (!result) {
    Error error = std::move(result).error();
    const auto missing = missing_version(error.message);
    if (missing && error.code == Errc::cannot_start) {
      if (const std::string hint = hint_from_uv(context, uv, *missing); !hint.empty()) error.hint = hint;
    }
    return fail(std::move(error));
  }
  return index_options(wanted) + result->out;
}

Result<> build_with_uv(BuildContext& context, const fs::path& uv, const std::string& lock, const fs::path& folder) {
  context.tool = uv_version(uv);
  TRY(make_uv_venv(context, uv, folder));
  if (count_requirements(lock) == 0) return {};
  const std::string doing = "installing " + std::to_string(count_requirements(lock)) + " packages";
  report(context.options, doing + " (" + context.tool + ")");
  TRY(base::write_file_atomic(context.work / "requirements.lock", lock));
  std::vector<std::string> argv = {uv.string(),
                                   "pip",
                                   "sync",
                                   "-p",
                                   (folder / "bin/python").string(),
                                   "--compile-bytecode",
                                   (context.work / "requirements.lock").string()};
  if (is_hashed(lock)) argv.emplace_back("--require-hashes");
  TRY_ASSIGN(const auto more, constraint_arguments(context));
  argv.insert(argv.end(), more.begin(), more.end());
  TRY(run_tool(context, tool_step(context, std::move(argv)), "uv", doing));
  return {};
}

Result<> build_project(BuildContext& context, const fs::path& folder) {
  const auto uv = find_uv(context.surroundings);
  if (!uv) {
    return fail(Errc::cannot_start, "a uv project needs uv, which is not installed here",
                "python3 -m pip install --user uv, or name a requirements_file");
  }
  context.tool = uv_version(*uv);
  report(context.options, "installing the locked project (" + context.tool + ")");
  TRY(base::write_file_atomic(context.work / "pyproject.toml", context.request.pyproject));
  TRY(base::write_file_atomic(context.work / "uv.lock", context.request.uv_lock));
  std::vector<std::string> argv = {uv->string(),
                                   "sync",
                                   "--frozen",
                                   "--no-install-project",
                                   "--no-install-workspace",
                                   "--compile-bytecode",
                                   "-p",
                                   context.python.path.string()};
  std::string name;
  for (const std::string& line : base::split(context.request.uv_lock, '\n')) {
    if (line.starts_with("name = \"")) name = line.substr(8, line.size() - 9);
    const bool local = line.starts_with("source = { editable") || line.starts_with("source = { directory") ||
                       line.starts_with("source = { virtual");
    if (local && line.find("\".\"") == std::string::npos) argv.insert(argv.end(), {"--no-install-package", name});
  }
  for (const std::string& group : context.request.groups) argv.insert(argv.end(), {"--group", group});
  for (const std::string& extra : context.request.extras) argv.insert(argv.end(), {"--extra", extra});
  Step step = tool_step(context, std::move(argv));
  step.variables.emplace_back("UV_PROJECT_ENVIRONMENT", folder.string());
  std::erase(step.unset, "UV_PROJECT_ENVIRONMENT");
  TRY(run_tool(context, step, "uv", "installing the project"));
  return {};
}

Result<> build_conda(BuildContext& context, const fs::path& folder) {
  const auto conda = find_conda(context.surroundings);
  if (!conda) {
    return fail(Errc::cannot_start, "this environment needs conda, mamba or micromamba; none is on PATH",
                "install micromamba, or list packages of the Python package index instead");
  }
  context.tool = conda->filename().string();
  report(context.options, "creating the conda environment (" + context.tool + ")");
  const fs::path file = context.work / "environment.yml";
  TRY(base::write_file_atomic(file, context.request.conda));
  std::vector<std::string> argv = {conda->string()};
  if (context.tool == "micromamba") {
    argv.insert(argv.end(), {"create", "-y", "-p", folder.string(), "-f", file.string()});
  } else {
    argv.insert(argv.end(), {"env", "create", "-p", folder.string(), "-f", file.string()});
  }
  TRY(run_tool(context, tool_step(context, std::move(argv)), context.tool, "creating the conda environment"));
  if (!base::exists(folder / "bin/python")) {
    return fail(Errc::cannot_start, "the conda environment has no Python", "add python to its dependencies");
  }
  return {};
}

}  // namespace trainctl::host
