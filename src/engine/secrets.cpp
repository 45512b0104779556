// SPDX-License-Identifier: Apache-2.0
#include "engine/secrets.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/process.hpp"
#include "spec/load.hpp"
#include "spec/run_configuration.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {
namespace {

constexpr std::uint64_t kMostBytes = 64U << 10U;

std::string without_last_newline(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

Result<std::string> from_command(const spec::Secret& secret) {
  TRY_ASSIGN(const auto output, base::run_command({.argv = secret.command, .max_output = kMostBytes}));
  if (output.exit_code != 0) {
    return fail(Errc::cannot_start,
                "the command of secret " + secret.name + " ended with exit code " + std::to_string(output.exit_code));
  }
  return without_last_newline(output.out);
}

Result<std::string> value_of(const spec::LoadedRun& run, const spec::Secret& secret, bool read) {
  if (secret.file) {
    const std::filesystem::path path = run.base_directory / *secret.file;
    TRY_ASSIGN(std::string text, base::read_file(path, kMostBytes));
    return without_last_newline(std::move(text));
  }
  if (!secret.command.empty()) return read ? from_command(secret) : std::string();
  const std::string variable = secret.env.value_or(secret.name);
  const auto value = base::get_env(variable.c_str());
  if (!value) {
    return fail(Errc::cannot_start, "secret " + secret.name + ": the variable " + variable + " is not set",
                "export " + variable + "=…");
  }
  return *value;
}

}  // namespace

ResultAll<std::vector<std::pair<std::string, std::string>>> read_secrets(const spec::LoadedRun& run, bool read) {
  std::vector<std::pair<std::string, std::string>> values;
  Errors errors;
  for (const spec::Secret& secret : run.config.secrets) {
    auto value = value_of(run, secret, read);
    if (value) {
      values.emplace_back(secret.name, std::move(*value));
    } else {
      errors.push_back(std::move(value).error());
    }
  }
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  return values;
}

}  // namespace trainctl::engine
