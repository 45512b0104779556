// SPDX-License-Identifier: Apache-2.0
#include "spec/validate.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/complaints.hpp"
#include "spec/expand.hpp"
#include "spec/layer.hpp"
#include "spec/literal_secrets.hpp"
#include "spec/load.hpp"
#include "spec/references.hpp"
#include "spec/run_configuration.hpp"
#include "spec/target.hpp"
#include "spec/validate_parts.hpp"
#include "trainctl/error.hpp"

namespace trainctl::spec {
namespace {

bool is_control_free(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

/// What fits only a program of the other kind: arguments, parameter_style and shell.
void check_command_text(const RunConfiguration& config, bool any, Complaints& out) {
  const bool text = config.command && std::holds_alternative<std::string>(*config.command);
  if (!text) {
    if (any && out.written("/shell"))
      out.add("/shell", "shell", "only a command text is run by a shell", "write \"command\": \"…\", or remove it");
    return;
  }
  if (!config.arguments.empty()) {
    out.add("/arguments", "arguments", "a command text takes no arguments", "write them into the text");
  }
  if (out.written("/parameter_style") && config.parameter_style != ParameterStyle::env &&
      config.parameter_style != ParameterStyle::none) {
    out.add("/parameter_style", "parameter_style", "nothing is appended to a command text",
            "use ${{parameters.x}} in the text");
  }
}

void check_program(const RunConfiguration& config, bool complete, Complaints& out) {
  std::vector<std::string> given;
  if (config.script) given.emplace_back("script");
  if (config.module) given.emplace_back("module");
  if (config.command) given.emplace_back("command");
  if (given.empty() && complete) {
    out.add("", "", "there is nothing to run", "write \"script\": \"train.py\", or \"module\", or \"command\"");
  }
  if (given.size() > 1) {
    out.add("/" + given.back(), given.back(), "\"" + given[0] + "\" and \"" + given.back() + "\" exclude each other",
            "keep one of them");
  }
  check_command_text(config, !given.empty(), out);
}

void check_script(const RunConfiguration& config, Complaints& out) {
  if (config.script) {
    if (!is_inside(*config.script)) {
      out.add("/script", "script", "the script has to be inside the source directory",
              "set \"source_directory\" to a folder above it");
    }
    for (const char* ending : {".sh", ".R", ".r", ".jl"}) {
      if (!config.script->ends_with(ending)) continue;
      out.add("/script", "script", "\"" + *config.script + "\" is not a Python script",
              std::string("write \"command\": [\"") +
                  (ending[1] == 's'   ? "bash"
                   : ending[1] == 'j' ? "julia"
                                      : "Rscript") +
                  "\", \"" + *config.script + "\"]");
    }
    if (config.script->starts_with('-'))
      out.add("/script", "script", "a script cannot begin with -", "write ./" + *config.script);
  }
  if (config.module) {
    for (const std::string& part : base::split(*config.module, '.')) {
      if (is_variable(part)) continue;
      out.add("/module", "module", "\"" + *config.module + "\" is not a module's name",
              config.module->ends_with(".py") ? "for a file write \"script\"" : "like pkg.train");
      break;
    }
  }
  if (!is_inside(config.working_directory)) {
    out.add("/working_directory", "working_directory", "it has to be inside the source directory",
            "a relative path without ..");
  }
}

void check_keep(const RunConfiguration& config, Complaints& out) {
  for (std::size_t i = 0; i < config.keep.size(); ++i) {
    if (!config.keep[i].starts_with('!')) continue;
    const std::string number = std::to_string(i);
    out.add("/keep/" + number, "keep[" + number + "]", "a pattern here only adds files, it cannot leave any out",
            "name what to keep more narrowly");
  }
}

void check_tags(const RunConfiguration& config, Complaints& out) {
  for (const auto& [key, value] : config.tags) {
    if (!key.empty() && key.find_first_of("= \t\n") == std::string::npos && is_control_free(key)) continue;
    out.add(base::pointer_append("/tags", key), "tags", "\"" + key + "\" cannot be a tag", "no blanks and no =");
  }
}

void check_names(const RunConfiguration& config, Complaints& out) {
  if (config.name && !is_run_name(*config.name)) {
    out.add("/name", "name", "\"" + *config.name + "\" cannot name a run",
            "letters, digits, \"-\", \"_\" and \".\", at most 63, a letter or digit first");
  }
  if (config.experiment &&
      (config.experiment->empty() || config.experiment->size() > 255 || !is_control_free(*config.experiment))) {
    out.add("/experiment", "experiment", "expected a short text on one line");
  }
  const bool odd = config.target.find_first_of(" \t\n") != std::string::npos || !is_control_free(config.target);
  if (config.target_object) {
    validate_target(read_target(*config.target_object), "/target", out);
  } else if (config.target.starts_with('-') || odd) {
    out.add("/target", "target", "\"" + config.target + "\" cannot be a target",
            "local, a target's name, or user@host");
  }
  check_tags(config, out);
  check_keep(config, out);
}

void check_parameters(const RunConfiguration& config, Complaints& out) {
  std::map<std::string, std::string> variables;
  for (const Parameter& parameter : config.parameters) {
    const std::string pointer = base::pointer_append("/parameters", parameter.name);
    if (parameter.name.find_first_of("= \t\n") != std::string::npos || !is_control_free(parameter.name)) {
      out.add(pointer, "parameters", "\"" + parameter.name + "\" cannot be a parameter", "no blanks and no =");
    }
    const auto [other, fresh] = variables.emplace(variable_name("TRAINCTL_PARAM_", parameter.name), parameter.name);
    if (!fresh) {
      out.add(pointer, "parameters",
              "\"" + parameter.name + "\" and \"" + other->second + "\" would both be " + other->first);
    }
    if (const auto* scalar = std::get_if<Scalar>(&parameter.value)) {
      if (const auto* text = std::get_if<std::string>(scalar))
        out.no_secret(*text, pointer, "parameters." + parameter.name);
    }
  }
  for (std::size_t i = 0; i < config.arguments.size(); ++i) {
    const std::string number = std::to_string(i);
    out.no_secret(config.arguments[i], "/arguments/" + number, "arguments[" + number + "]");
  }
}

void check_variables(const RunConfiguration& config, Complaints& out) {
  for (const auto& [name, value] : config.environment_variables) {
    const std::string pointer = base::pointer_append("/environment_variables", name);
    const std::string field = "environment_variables." + name;
    if (!is_variable(name)) {
      out.add(pointer, "environment_variables", "\"" + name + "\" cannot be a variable",
              "letters, digits and _, no digit first");
    } else if (name.starts_with("TRAINCTL_")) {
      out.add(pointer, field, "names that begin with TRAINCTL_ are set by trainctl");
    }
    out.no_secret(value, pointer, field);
  }
}

void check_secrets(const RunConfiguration& config, Complaints& out) {
  std::map<std::string, std::size_t> seen;
  for (std::size_t i = 0; i < config.secrets.size(); ++i) {
    const Secret& secret = config.secrets[i];
    const std::string pointer = "/secrets/" + std::to_string(i);
    const std::string field = "secrets[" + std::to_string(i) + "]";
    if (!is_variable(secret.name)) {
      const bool literal = literal_secret(secret.name).has_value() || secret.name.size() > 64;
      out.add(pointer, field,
              literal ? "this looks like the secret itself" : "\"" + secret.name + "\" cannot be a variable",
              "write the name of the variable: \"HF_TOKEN\"");
    } else if (secret.name.starts_with("TRAINCTL_")) {
      out.add(pointer, field, "names that begin with TRAINCTL_ are set by trainctl");
    }
    const int sources = int{secret.env.has_value()} + int{secret.file.has_value()} + int{!secret.command.empty()};
    if (sources > 1)
      out.add(pointer, field, "\"env\", \"file\" and \"command\" exclude each other", "keep one of them");
    if (!seen.emplace(secret.name, i).second) out.add(pointer, field, "\"" + secret.name + "\" is named twice");
    for (const auto& entry : config.environment_variables) {
      if (entry.first != secret.name) continue;
      out.add(pointer, field, "\"" + secret.name + "\" is in environment_variables too", "keep it here alone");
    }
  }
}

void check_data(const RunConfiguration& config, Complaints& out) {
  for (const Input& input : config.inputs) {
    const std::string pointer = base::pointer_append("/inputs", input.name);
    if (input.source.empty()) out.add(pointer, "inputs." + input.name, "expected a path or a URL, found an empty text");
    out.no_secret(input.source, pointer, "inputs." + input.name);
  }
  for (const Output& output : config.outputs) {
    const std::string pointer = base::pointer_append("/outputs", output.name) + "/path";
    if (output.path && !is_inside(*output.path)) {
      out.add(pointer, "outputs." + output.name + ".path", "it has to be inside outputs/",
              "a relative path without ..; files elsewhere: \"keep\"");
    } else if (output.path && output.path->starts_with("outputs/")) {
      out.add(pointer, "outputs." + output.name + ".path", "it counts from outputs/ already",
              "write \"" + output.path->substr(8) + "\"");
    }
  }
  for (std::size_t i = 0; i < config.keep.size(); ++i) {
    const std::string number = std::to_string(i);
    if (is_inside(config.keep[i])) continue;
    out.add("/keep/" + number, "keep[" + number + "]", "only files of the working folder can be kept",
            "a relative pattern without ..");
  }
}

}  // namespace

Errors validate(const RunConfiguration& config, const Origins& origins, bool complete) {
  Complaints out(origins);
  check_program(config, complete, out);
  check_script(config, out);
  check_names(config, out);
  check_parameters(config, out);
  check_variables(config, out);
  check_secrets(config, out);
  check_data(config, out);
  check_environment(config, out);
  check_distribution(config, out);
  check_running(config, out);
  Errors errors = out.take();
  for (Error& error : check_references(config, origins, complete)) errors.push_back(std::move(error));
  return errors;
}

}  // namespace trainctl::spec
