// SPDX-License-Identifier: Apache-2.0
// The programs that resolve and install: uv, else pip in a virtual environment, and conda's family. Internal to
// ensure().
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/environment/environment.hpp"
#include "host/environment/interpreter.hpp"
#include "host/environment/step.hpp"

namespace trainctl::host {

/// Everything a builder needs; made once per ensure().
struct BuildContext {
  const EnvironmentRequest& request;
  const EnsureOptions& options;
  Surroundings surroundings;                                              // after the setup lines
  std::vector<std::pair<std::string, std::optional<std::string>>> setup;  // what the setup lines set and unset
  Interpreter python;                                                     // empty path for conda
  std::filesystem::path work;  // a folder for this build's files, removed afterwards
  int lock_fd = -1;            // inherited by the tools
  std::string lock_mark;       // "NAME=value" the tools are started with
  std::string tool;            // set by the builder: "uv 0.13.9"
};

void report(const EnsureOptions& options, const std::string& phase);

/// uv on PATH, in ~/.local/bin or ~/.cargo/bin.
std::optional<std::filesystem::path> find_uv(const Surroundings& surroundings);
/// micromamba, mamba or conda on PATH.
std::optional<std::filesystem::path> find_conda(const Surroundings& surroundings);

/// A step with the tools' variables, the log, the cancel descriptor and the build lock.
Step tool_step(const BuildContext& context, std::vector<std::string> argv);
/// Runs it; a non-zero exit becomes the explained error.
Result<StepResult> run_tool(const BuildContext& context, const Step& step, const std::string& tool,
                            const std::string& doing);

/// Hashed requirements text: index options, then exact versions. uv, else pip >= 22.2; an older pip locks nothing and
/// the text is what was asked for.
Result<std::string> resolve_packages(BuildContext& context);

/// Makes the environment in `folder`, which does not exist.
Result<> build_packages(BuildContext& context, const std::string& lock, const std::filesystem::path& folder);
Result<> build_project(BuildContext& context, const std::filesystem::path& folder);
Result<> build_conda(BuildContext& context, const std::filesystem::path& folder);

/// Internal to the two package tools.
Result<std::string> resolve_with_uv(BuildContext& context, const std::filesystem::path& uv);
Result<std::string> resolve_with_pip(BuildContext& context);
Result<> build_with_uv(BuildContext& context, const std::filesystem::path& uv, const std::string& lock,
                       const std::filesystem::path& folder);
Result<> build_with_pip(BuildContext& context, const std::string& lock, const std::filesystem::path& folder);

/// True when every requirement of the lock carries a hash.
bool is_hashed(const std::string& lock);

}  // namespace trainctl::host
