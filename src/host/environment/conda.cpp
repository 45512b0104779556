// SPDX-License-Identifier: Apache-2.0
#include "host/environment/conda.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace {

struct YamlLine {
  std::size_t number = 0;
  std::size_t indent = 0;  // of the content, after a "- "
  bool item = false;
  std::size_t dash = 0;  // column of the dash
  std::string text;
};

std::string_view without_comment(std::string_view line) {
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if ((c == '"' || c == '\'') && (i == 0 || std::isalnum(static_cast<unsigned char>(line[i - 1])) == 0)) {
      quote = c;
    } else if (c == '#' && (i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t')) {
      return line.substr(0, i);
    }
  }
  return line;
}

std::string unquoted(std::string_view text) {
  text = base::trim(text);
  const bool quoted = text.size() >= 2 && (text.front() == '"' || text.front() == '\'') && text.back() == text.front();
  return std::string(quoted ? text.substr(1, text.size() - 2) : text);
}

class CondaParser {
 public:
  CondaParser(std::string_view text, std::string file) : file_(std::move(file)) {
    std::size_t number = 0;
    for (const std::string& raw : base::split(text, '\n')) {
      ++number;
      std::string_view line = without_comment(raw);
      while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t')) line.remove_suffix(1);
      const std::size_t indent = line.find_first_not_of(' ');
      if (indent == std::string_view::npos || line == "---" || line == "...") continue;
      YamlLine entry{.number = number, .indent = indent, .text = std::string(line.substr(indent))};
      if (entry.text == "-" || entry.text.starts_with("- ")) {
        entry.item = true;
        entry.dash = indent;
        const std::size_t content = std::min(entry.text.find_first_not_of(' ', 1), entry.text.size());
        entry.indent += content;
        entry.text.erase(0, content);
      }
      lines_.push_back(std::move(entry));
    }
  }

  Result<CondaFile> parse() {
    while (at_ < lines_.size()) {
      const YamlLine& line = lines_[at_];
      if (line.item || line.indent != 0) return wrong(line, "expected a key such as dependencies:");
      TRY_ASSIGN(const auto pair, key_value(line));
      ++at_;
      TRY(section(pair.first, pair.second, line));
    }
    return std::move(result_);
  }

 private:
  Result<> section(const std::string& key, const std::string& value, const YamlLine& line) {
    if (key == "name") {
      result_.name = unquoted(value);
    } else if (key == "channels") {
      return list(value, line, result_.channels, nullptr);
    } else if (key == "dependencies") {
      return list(value, line, result_.dependencies, &result_.pip);
    } else if (key == "variables") {
      return variables(value, line);
    } else if (key != "prefix") {
      static constexpr std::array<std::string_view, 5> kKeys = {"name", "channels", "dependencies", "variables",
                                                                "prefix"};
      const auto near = base::suggest(key, kKeys);
      return wrong(line, "unknown key \"" + key + "\"" + (near ? ", did you mean \"" + *near + "\"?" : ""));
    }
    return {};
  }

  // A block list, or a flow list of plain words. `pip` takes the list of a "pip:" item.
  Result<> list(const std::string& value, const YamlLine& head, std::vector<std::string>& items,
                std::vector<std::string>* pip) {
    if (!value.empty()) return flow_list(value, head, items);
    std::optional<std::size_t> column;
    while (at_ < lines_.size() && lines_[at_].item && lines_[at_].dash >= head.indent) {
      const YamlLine& line = lines_[at_];
      if (column && line.dash != *column) return wrong(line, "this item is indented unlike the one above");
      column = line.dash;
      ++at_;
      if (pip != nullptr && line.text.starts_with("pip:")) {
        const std::string rest(base::trim(std::string_view(line.text).substr(4)));
        TRY(list(rest, line, *pip, nullptr));
      } else if (line.text.empty()) {
        return wrong(line, "an empty item");
      } else {
        items.push_back(unquoted(line.text));
      }
    }
    return {};
  }

  Result<> flow_list(const std::string& value, const YamlLine& line, std::vector<std::string>& items) {
    const bool closed = value.size() >= 2 && value.front() == '[' && value.back() == ']';
    const std::string inner = closed ? value.substr(1, value.size() - 2) : "";
    if (!closed || inner.find_first_of("[]{}") != std::string::npos)
      return wrong(line, "expected a list, one \"- item\" a line");
    for (const std::string& item : base::split(inner, ',')) {
      if (const std::string text = unquoted(item); !text.empty()) items.push_back(text);
    }
    return {};
  }

  Result<> variables(const std::string& value, const YamlLine& head) {
    if (!value.empty()) return wrong(head, "expected NAME: value, one a line");
    while (at_ < lines_.size() && !lines_[at_].item && lines_[at_].indent > head.indent) {
      TRY_ASSIGN(const auto pair, key_value(lines_[at_]));
      result_.variables[pair.first] = unquoted(pair.second);
      ++at_;
    }
    return {};
  }

  Result<std::pair<std::string, std::string>> key_value(const YamlLine& line) {
    const std::size_t colon = line.text.find(':');
    if (colon == std::string::npos || (colon + 1 < line.text.size() && line.text[colon + 1] != ' ')) {
      return wrong(line, "expected key: value");
    }
    const auto value = base::trim(std::string_view(line.text).substr(colon + 1));
    if (!value.empty() && std::string_view("|>&*!{").find(value.front()) != std::string_view::npos) {
      return wrong(line, "this YAML is not understood");
    }
    return std::pair(unquoted(std::string_view(line.text).substr(0, colon)), std::string(value));
  }

  [[nodiscard]] tl::unexpected<Error> wrong(const YamlLine& line, const std::string& what) const {
    Error error{.code = Errc::invalid, .message = "conda file: " + what};
    error.at = SourcePosition{file_, line.number, line.indent + 1};
    return fail(std::move(error));
  }

  std::string file_;
  std::vector<YamlLine> lines_;
  std::size_t at_ = 0;
  CondaFile result_;
};

struct MatchSpec {
  std::string channel, name, version, build;
};

// channel::name=version=build, "name version build", name>=1,<2  (conda's match specification)
MatchSpec parse_match_spec(std::string_view text) {
  MatchSpec spec;
  if (const std::size_t colons = text.rfind("::"); colons != std::string_view::npos) {
    spec.channel = text.substr(0, colons);
    text.remove_prefix(colons + 2);
  }
  const std::size_t end = std::min(text.find_first_of(" =<>!~["), text.size());
  spec.name = base::to_lower(text.substr(0, end));
  const std::string_view rest = base::trim(text.substr(end));
  const bool spaced = !rest.empty() && std::string_view("=<>!~[").find(rest.front()) == std::string_view::npos;
  if (spaced) {  // "name 1.2.* build"
    const std::size_t space = std::min(rest.find(' '), rest.size());
    const std::string_view version = rest.substr(0, space);
    spec.version = (version.find_first_of("*<>") == std::string_view::npos ? "==" : "=") + std::string(version);
    spec.build = base::trim(rest.substr(space));
    return spec;
  }
  if (rest.starts_with('=')) {
    const std::size_t from = rest.starts_with("==") ? 2 : 1;
    const std::size_t second = rest.find('=', from);
    spec.version = rest.substr(0, second);
    if (second != std::string_view::npos) spec.build = rest.substr(second + 1);
    if (!spec.build.empty() && from == 1) spec.version = "=" + spec.version;  // name=1.2.3=build is exact
    return spec;
  }
  spec.version = rest;
  return spec;
}

// As a PEP 440 specifier; empty optional when it has none ("1.2|1.3").
std::optional<std::string> pep440(const std::string& version) {
  if (version.find_first_of("|[(") != std::string::npos) return std::nullopt;
  if (version.empty() || version == "=*" || version == "*") return "";
  if (version.starts_with('=') && !version.starts_with("==")) {
    std::string number = version.substr(1);
    if (number.starts_with('<') || number.starts_with('>')) return number;
    if (number.ends_with('*') && !number.ends_with(".*")) number = number.substr(0, number.size() - 1) + ".*";
    return "==" + (number.ends_with(".*") ? number : number + ".*");
  }
  std::string compact;
  for (const char c : version) {
    if (c != ' ') compact += c;
  }
  return compact;
}

// What only selects a CUDA or CPU build of something else.
std::optional<std::string> torch_backend_of(const MatchSpec& spec) {
  if (spec.name == "cpuonly") return "cpu";
  if (spec.name != "pytorch-cuda" && spec.name != "cudatoolkit" && spec.name != "cuda-version") return std::nullopt;
  std::string digits;
  int parts = 0;
  for (const char c : spec.version) {
    if (c == '.' && ++parts == 2) break;
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) digits += c;
  }
  return digits.size() >= 3 ? std::optional("cu" + digits) : std::nullopt;
}

}  // namespace

Result<CondaFile> parse_conda_file(std::string_view text, const std::string& file_name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (!base::is_utf8(text)) return fail(Errc::invalid, file_name + " is not UTF-8 text");
  TRY_ASSIGN(CondaFile file, CondaParser(text, file_name).parse());
  if (file.dependencies.empty() && file.pip.empty()) {
    return fail(Errc::invalid, file_name + " lists no dependencies", "dependencies:\n  - python=3.11\n  - numpy");
  }
  return file;
}

CondaTranslation translate_conda(const CondaFile& file) {
  CondaTranslation result;
  const auto torch = [](const std::string& item) {
    const std::string name = parse_match_spec(item).name;
    return name == "pytorch" || name == "torch";
  };
  const bool has_torch = std::any_of(file.dependencies.begin(), file.dependencies.end(), torch);
  for (const std::string& item : file.dependencies) {
    const MatchSpec spec = parse_match_spec(item);
    const auto version = pep440(spec.version);
    if (spec.name == "python" && version) {
      result.python = *version;
      continue;
    }
    if (const auto backend = torch_backend_of(spec); backend && has_torch) {
      result.torch_backend = *backend;
      result.notes.push_back(item + " chooses the torch build: torch_backend " + *backend);
      continue;
    }
    if (spec.name == "pip") continue;
    const std::string name = index_name(spec.name);
    if (name.empty() || !version) {
      result.untranslated.push_back(item);
      continue;
    }
    const std::string package = name + *version;
    result.packages.push_back(package);
    result.notes.push_back(item);
    result.notes.back().append(" (conda) is installed from the Python package index as ").append(package);
  }
  result.packages.insert(result.packages.end(), file.pip.begin(), file.pip.end());
  return result;
}

}  // namespace trainctl::host
