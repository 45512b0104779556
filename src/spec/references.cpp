// SPDX-License-Identifier: Apache-2.0
#include "spec/references.hpp"

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::spec {
namespace {

struct Group {
  std::string_view prefix;
  Reference::Kind kind;
};
constexpr std::array<Group, 5> kGroups = {{{"inputs.", Reference::Kind::input},
                                           {"outputs.", Reference::Kind::output},
                                           {"parameters.", Reference::Kind::parameter},
                                           {"submit.env.", Reference::Kind::submit_env},
                                           {"env.", Reference::Kind::env}}};
constexpr const char* kKnown = "known: inputs.NAME, outputs.NAME, parameters.NAME, env.NAME, submit.env.NAME";

Error error_at(const TextPlace& place, std::string_view text, std::size_t offset, std::string message,
               std::string hint) {
  Error error{.code = Errc::invalid, .message = std::move(message)};
  error.at = position_in(place, text, offset);
  error.field = place.field;
  error.hint = std::move(hint);
  return error;
}

std::optional<std::string> corrected(std::string_view inner) {
  const std::size_t dot = inner.find('.');
  const std::string word(inner.substr(0, dot));
  constexpr std::array<std::string_view, 12> kWords = {"inputs", "outputs", "parameters",  "env",
                                                       "submit", "input",   "output",      "parameter",
                                                       "params", "param",   "environment", "secrets"};
  const auto near = base::suggest(word, kWords);
  if (!near || dot == std::string_view::npos) return std::nullopt;
  std::string group = *near;
  if (group == "input" || group == "output") group += "s";
  if (group.starts_with("param")) group = "parameters";
  if (group == "environment") group = "env";
  if (group == "secrets") group = "env";
  return group + std::string(inner.substr(dot));
}

Result<Reference> parse_reference(std::string_view inner) {
  for (const Group& group : kGroups) {
    if (!inner.starts_with(group.prefix)) continue;
    const std::string name(inner.substr(group.prefix.size()));
    if (name.empty() || name.find_first_of(" \t\n${}") != std::string::npos) break;
    if (group.kind == Reference::Kind::submit_env && is_secret_name(name)) {
      return fail(Errc::invalid, "submit.env." + name + " looks like a secret, and values from submit.env are recorded",
                  "write \"secrets\": [\"" + name + "\"]");
    }
    return Reference{.kind = group.kind, .name = name};
  }
  if (inner.starts_with("steps.")) {
    return fail(Errc::invalid, "${{steps…}} is for pipelines", "a run configuration has no steps");
  }
  std::string message = "\"" + std::string(inner.substr(0, 60)) + "\" is not a reference";
  const auto near = corrected(inner);
  if (near) message += ", did you mean \"" + *near + "\"?";
  return fail(Errc::invalid, std::move(message), near ? "" : kKnown);
}

const ValueMap& values_of(Reference::Kind kind, const Values& values) {
  switch (kind) {
    case Reference::Kind::input:
      return values.inputs;
    case Reference::Kind::output:
      return values.outputs;
    case Reference::Kind::parameter:
      return values.parameters;
    case Reference::Kind::submit_env:
      return values.submit_env;
    case Reference::Kind::env:
      break;
  }
  return values.env;
}

const char* word_of(Reference::Kind kind) {
  switch (kind) {
    case Reference::Kind::input:
      return "input";
    case Reference::Kind::output:
      return "output";
    case Reference::Kind::parameter:
      return "parameter";
    case Reference::Kind::submit_env:
      return "variable in the submitter's environment called";
    case Reference::Kind::env:
      break;
  }
  return "variable in environment_variables called";
}

}  // namespace

std::optional<SourcePosition> position_in(const TextPlace& place, std::string_view text, std::size_t offset) {
  if (!place.at) return std::nullopt;
  SourcePosition at = *place.at;
  ++at.column;  // the opening quote
  for (const char c : text.substr(0, offset)) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xC0U) != 0x80U) ++at.column;
    if (c == '"' || c == '\\' || byte < 0x20) ++at.column;  // written as \" \\ \n
  }
  return at;
}

ResultAll<std::vector<Piece>> split_references(std::string_view text, const TextPlace& place) {
  std::vector<Piece> pieces;
  Errors errors;
  const auto literal = [&](std::size_t at, std::string_view more) {
    if (more.empty()) return;
    if (pieces.empty() || pieces.back().reference) pieces.push_back({.text = "", .reference = {}, .at = at});
    pieces.back().text += more;
  };
  std::size_t done = 0;
  while (true) {
    const std::size_t open = text.find("${{", done);
    if (open == std::string_view::npos) break;
    if (open > done && text[open - 1] == '$') {  // $${{ is the characters ${{
      literal(done, text.substr(done, open - 1 - done));
      literal(open, "${{");
      done = open + 3;
      continue;
    }
    literal(done, text.substr(done, open - done));
    const std::size_t close = text.find("}}", open);
    if (close == std::string_view::npos) {
      errors.push_back(
          error_at(place, text, open, "this ${{ is never closed", "write $${{ for the characters themselves"));
      done = text.size();
      break;
    }
    auto reference = parse_reference(base::trim(text.substr(open + 3, close - open - 3)));
    if (reference) {
      reference->at = open;
      pieces.push_back({.text = std::string(text.substr(open, close + 2 - open)), .reference = *reference, .at = open});
    } else {
      errors.push_back(error_at(place, text, open, reference.error().message, reference.error().hint));
    }
    done = close + 2;
  }
  literal(done, text.substr(done));
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  return pieces;
}

Result<std::string> lookup(const Reference& reference, const Values& values) {
  const ValueMap& map = values_of(reference.kind, values);
  if (const auto found = map.find(reference.name); found != map.end()) return found->second;
  std::string message = std::string("there is no ") + word_of(reference.kind) + " \"" + reference.name + "\"";
  if (reference.kind == Reference::Kind::submit_env) return fail(Errc::invalid, std::move(message), "export it first");
  std::vector<std::string_view> names;
  std::vector<std::string> list;
  for (const auto& [name, value] : map) {
    names.push_back(name);
    list.push_back(name);
  }
  const auto near = base::suggest(reference.name, names);
  if (near) message += ", did you mean \"" + *near + "\"?";
  return fail(Errc::invalid, std::move(message), near || list.empty() ? "" : "there are: " + base::join(list, ", "));
}

ResultAll<std::string> expand_text(std::string_view text, const Values& values, const TextPlace& place) {
  TRY_ASSIGN(const std::vector<Piece> pieces, split_references(text, place));
  std::string out;
  Errors errors;
  for (const Piece& piece : pieces) {
    if (!piece.reference) {
      out += piece.text;
    } else if (auto value = lookup(*piece.reference, values)) {
      out += *value;
    } else {
      errors.push_back(error_at(place, text, piece.at, value.error().message, value.error().hint));
    }
  }
  if (!errors.empty()) return tl::make_unexpected(std::move(errors));
  return out;
}

std::string variable_name(std::string_view prefix, std::string_view name) {
  std::string made(prefix);
  for (const char c : base::to_upper(name)) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    made.push_back(plain ? c : '_');
  }
  return made;
}

std::string variable_of(const Reference& reference) {
  switch (reference.kind) {
    case Reference::Kind::input:
      return variable_name("TRAINCTL_INPUT_", reference.name);
    case Reference::Kind::output:
      return variable_name("TRAINCTL_OUTPUT_", reference.name);
    case Reference::Kind::parameter:
      return variable_name("TRAINCTL_PARAM_", reference.name);
    case Reference::Kind::submit_env:
      return variable_name("TRAINCTL_SUBMIT_", reference.name);
    case Reference::Kind::env:
      break;
  }
  return reference.name;
}

bool is_secret_name(std::string_view name) {
  constexpr std::array<std::string_view, 7> kEndings = {"TOKEN",  "KEY",        "SECRET",     "PASSWORD",
                                                        "PASSWD", "CREDENTIAL", "CREDENTIALS"};
  for (const std::string& part : base::split(base::to_upper(name), '_')) {
    const std::string_view word = part;
    for (const std::string_view ending : kEndings) {
      if (word.ends_with(ending) || (word.ends_with('S') && word.substr(0, word.size() - 1).ends_with(ending)))
        return true;
    }
  }
  return false;
}

}  // namespace trainctl::spec
