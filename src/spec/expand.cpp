// SPDX-License-Identifier: Apache-2.0
#include "spec/expand.hpp"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/json.hpp"
#include "spec/layer.hpp"
#include "spec/references.hpp"
#include "spec/run_configuration.hpp"
#include "spec/shell_text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {
namespace {

class Expander {
 public:
  Expander(const RunConfiguration& config, Values values, const Origins& origins, bool only_check, bool lenient)
      : config_(config), values_(std::move(values)), origins_(origins), only_check_(only_check), lenient_(lenient) {
    values_.parameters.clear();
    values_.env.clear();
    for (const Parameter& parameter : config.parameters) {
      values_.parameters[parameter.name] = to_string(parameter.value);
    }
  }

  void run() {
    parameters();
    variables();
    if (config_.command) {
      command();
    } else {
      append_parameters();
    }
    arguments();
    for (const auto& pattern : {&config_.source_directory, &config_.working_directory}) {
      if (pattern->find("${{") == std::string::npos) continue;
      const bool source = pattern == &config_.source_directory;
      const TextPlace place = place_of(source ? "/source_directory" : "/working_directory",
                                       source ? "source_directory" : "working_directory");
      errors_.push_back(
          {.code = Errc::invalid, .message = "a reference cannot be used here", .at = place.at, .field = place.field});
    }
  }

  Errors errors_;
  ExpandedRun out_;

 private:
  [[nodiscard]] TextPlace place_of(const std::string& pointer, std::string field) const {
    const auto found = origins_.find(pointer);
    return {.at = found == origins_.end() ? std::nullopt : found->second.at, .field = std::move(field)};
  }

  std::string expanded(std::string_view text, const TextPlace& place) {
    note_submitted(text, place);
    if (lenient_) {
      const auto pieces = split_references(text, place);
      if (pieces) return {};
      errors_.insert(errors_.end(), pieces.error().begin(), pieces.error().end());
      return {};
    }
    auto value = expand_text(text, values_, place);
    if (value) return std::move(*value);
    for (Error& error : value.error()) errors_.push_back(std::move(error));
    return {};
  }

  void note_submitted(std::string_view text, const TextPlace& place) {
    const auto pieces = split_references(text, place);
    if (!pieces) return;
    for (const Piece& piece : *pieces) {
      if (!piece.reference || piece.reference->kind != Reference::Kind::submit_env) continue;
      if (only_check_) values_.submit_env.emplace(piece.reference->name, "");
      const auto found = values_.submit_env.find(piece.reference->name);
      if (found != values_.submit_env.end()) out_.recorded[found->first] = found->second;
    }
  }

  /// Texts of parameters may refer to inputs, outputs and submit.env; not to each other.
  void parameters() {
    const ValueMap all = std::exchange(values_.parameters, {});
    parameters_ = config_.parameters;
    for (Parameter& parameter : parameters_) {
      const std::string pointer = base::pointer_append("/parameters", parameter.name);
      const std::string field = "parameters." + parameter.name;
      if (auto* scalar = std::get_if<Scalar>(&parameter.value)) {
        expand_scalar(*scalar, pointer, field);
      } else {
        std::size_t index = 0;
        for (Scalar& item : std::get<std::vector<Scalar>>(parameter.value)) {
          expand_scalar(item, base::pointer_append(pointer, std::to_string(index)), base::element_of(field, index));
          ++index;
        }
      }
    }
    for (const Parameter& parameter : parameters_) values_.parameters[parameter.name] = to_string(parameter.value);
  }

  void expand_scalar(Scalar& scalar, const std::string& pointer, const std::string& field) {
    if (auto* text = std::get_if<std::string>(&scalar)) *text = expanded(*text, place_of(pointer, field));
  }

  /// In the order written: a variable may refer to those above it.
  void variables() {
    for (const auto& [name, text] : config_.environment_variables) {
      const std::string pointer = base::pointer_append("/environment_variables", name);
      std::string value = expanded(text, place_of(pointer, "environment_variables." + name));
      values_.env[name] = value;
      out_.variables.emplace_back(name, std::move(value));
    }
    for (auto& entry : parameter_variables(parameters_)) out_.variables.push_back(std::move(entry));
  }

  void append_parameters() {
    for (std::string& word : parameter_arguments(parameters_, config_.parameter_style)) {
      out_.words.push_back(std::move(word));
    }
  }

  void command() {
    if (const auto* argv = std::get_if<std::vector<std::string>>(&*config_.command)) {
      for (std::size_t i = 0; i < argv->size(); ++i) {
        const std::string number = std::to_string(i);
        out_.words.push_back(expanded((*argv)[i], place_of("/command/" + number, "command[" + number + "]")));
      }
      append_parameters();
      return;
    }
    const std::string& text = std::get<std::string>(*config_.command);
    const TextPlace place = place_of("/command", "command");
    note_submitted(text, place);
    auto shell = expand_shell(text, place);
    if (!shell) {
      for (Error& error : shell.error()) errors_.push_back(std::move(error));
      return;
    }
    for (const Reference& reference : shell->references) {
      auto value = lookup(reference, values_);
      if (!value && lenient_) {
        continue;
      }
      if (!value) {
        Error error = std::move(value).error();
        error.at = position_in(place, text, reference.at);
        error.field = place.field;
        errors_.push_back(std::move(error));
      } else if (reference.kind == Reference::Kind::submit_env && submitted_.emplace(reference.name).second) {
        out_.variables.emplace_back(variable_of(reference), *value);
      }
    }
    out_.shell_text = std::move(shell->text);
  }

  void arguments() {
    for (std::size_t i = 0; i < config_.arguments.size(); ++i) {
      const std::string number = std::to_string(i);
      out_.words.push_back(
          expanded(config_.arguments[i], place_of("/arguments/" + number, "arguments[" + number + "]")));
    }
  }

  const RunConfiguration& config_;
  Values values_;
  const Origins& origins_;
  bool only_check_;  ///< nothing of the submitter is known
  bool lenient_;     ///< only the form of references
  std::vector<Parameter> parameters_;
  std::set<std::string> submitted_;
};

struct ToText {
  std::string operator()(std::nullptr_t) const { return {}; }
  std::string operator()(bool value) const { return value ? "true" : "false"; }
  std::string operator()(std::int64_t value) const { return std::to_string(value); }
  std::string operator()(double value) const { return base::dump_json(Json(value)); }
  std::string operator()(const std::string& value) const { return value; }
};

bool is_null(const Scalar& value) {
  return std::holds_alternative<std::nullptr_t>(value);
}
std::string null_or(const Scalar& value) {
  return is_null(value) ? "null" : to_string(value);
}

void key_equals(const Parameter& parameter, std::vector<std::string>& words) {
  if (const auto* scalar = std::get_if<Scalar>(&parameter.value)) {
    words.push_back(parameter.name + "=" + null_or(*scalar));
    return;
  }
  std::string list;
  for (const Scalar& item : std::get<std::vector<Scalar>>(parameter.value)) {
    list += (list.empty() ? "" : ",") + null_or(item);
  }
  words.push_back(parameter.name + "=[" + list + "]");
}

void dashes(const Parameter& parameter, bool equals, std::vector<std::string>& words) {
  const std::string key = parameter.name.starts_with('-') ? parameter.name : "--" + parameter.name;
  const auto pair = [&](const std::string& value) {
    if (equals) {
      words.push_back(key + "=" + value);
    } else {
      words.push_back(key);
      words.push_back(value);
    }
  };
  if (const auto* scalar = std::get_if<Scalar>(&parameter.value)) {
    if (is_null(*scalar)) return;
    const bool* flag = std::get_if<bool>(scalar);
    if (flag == nullptr) return pair(to_string(*scalar));
    if (*flag) words.push_back(key);
    return;
  }
  const auto& list = std::get<std::vector<Scalar>>(parameter.value);
  if (!equals && !list.empty()) words.push_back(key);
  for (const Scalar& item : list) words.push_back(equals ? key + "=" + null_or(item) : null_or(item));
}

}  // namespace

std::string to_string(const Scalar& value) {
  return std::visit(ToText{}, value);
}

std::string to_string(const ParameterValue& value) {
  if (const auto* scalar = std::get_if<Scalar>(&value)) return to_string(*scalar);
  std::string text;
  bool first = true;
  for (const Scalar& item : std::get<std::vector<Scalar>>(value)) {
    text += (std::exchange(first, false) ? "" : " ") + to_string(item);
  }
  return text;
}

std::vector<std::string> parameter_arguments(const std::vector<Parameter>& parameters, ParameterStyle style) {
  std::vector<std::string> words;
  for (const Parameter& parameter : parameters) {
    switch (style) {
      case ParameterStyle::dashes_space:
        dashes(parameter, false, words);
        break;
      case ParameterStyle::dashes_equals:
        dashes(parameter, true, words);
        break;
      case ParameterStyle::equals:
        key_equals(parameter, words);
        break;
      case ParameterStyle::env:
      case ParameterStyle::none:
        break;
    }
  }
  return words;
}

TextMap parameter_variables(const std::vector<Parameter>& parameters) {
  TextMap variables;
  for (const Parameter& parameter : parameters) {
    variables.emplace_back(variable_name("TRAINCTL_PARAM_", parameter.name), to_string(parameter.value));
  }
  return variables;
}

ResultAll<ExpandedRun> expand_run(const RunConfiguration& config, const Values& values, const Origins& origins) {
  Expander expander(config, values, origins, false, false);
  expander.run();
  if (!expander.errors_.empty()) return tl::make_unexpected(std::move(expander.errors_));
  return std::move(expander.out_);
}

Errors check_references(const RunConfiguration& config, const Origins& origins, bool complete) {
  Values values;
  for (const Input& input : config.inputs) values.inputs.emplace(input.name, "");
  for (const Output& output : config.outputs) values.outputs.emplace(output.name, "");
  Expander expander(config, std::move(values), origins, true, !complete);
  expander.run();
  return std::move(expander.errors_);
}

}  // namespace trainctl::spec
