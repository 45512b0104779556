// SPDX-License-Identifier: Apache-2.0
#include "host/environment/resolver_errors.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "host/environment/conda.hpp"
#include "host/environment/python_version.hpp"
#include "host/environment/requirements.hpp"
#include "trainctl/error.hpp"

namespace trainctl::host {

namespace {

constexpr std::size_t kMaxMessage = 600;

bool has_any(std::string_view text, auto... words) {
  return ((text.find(words) != std::string_view::npos) || ...);
}

// Escape sequences and the drawing uv puts before its sentences ("  × ", "  ╰─▶ ", "cause:").
std::string plain(std::string_view line) {
  std::string text;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b' && i + 1 < line.size() && line[i + 1] == '[') {
      i = std::min(line.find_first_of("mKJH", i), line.size());
      continue;
    }
    if (line[i] != '\r') text += line[i];
  }
  std::string_view rest = base::trim(text);
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view mark : {"×", "╰─▶", "├─▶", "│", "error:", "ERROR:", "cause:", "Caused by:"}) {
      if (!rest.starts_with(mark)) continue;
      rest = base::trim(rest.substr(mark.size()));
      again = true;
    }
  }
  return std::string(rest);
}

bool starts_error(std::string_view line) {
  const std::string_view text = base::trim(line);
  return text.starts_with("error:") || text.starts_with("ERROR:") || text.starts_with("×") ||
         text.find("Error:") != std::string_view::npos || text.starts_with("Error");
}

bool starts_cause(std::string_view line) {
  const std::string_view text = base::trim(line);
  return text.starts_with("cause:") || text.starts_with("╰─▶") || text.starts_with("├─▶") ||
         text.starts_with("Caused by:");
}

struct Sentences {
  std::vector<std::string> errors;  // the error and its causes, outermost first
  std::string hint;
};

// From the first error line on; what follows an error or a cause without a mark of its own continues it.
Sentences read_sentences(std::string_view output) {
  Sentences found;
  std::string* current = nullptr;
  for (const std::string& line : base::split(output, '\n')) {
    const std::string text = plain(line);
    const std::string_view trimmed = base::trim(line);
    if (trimmed.starts_with("hint:")) {
      found.hint += (found.hint.empty() ? "" : " ") + std::string(base::trim(trimmed.substr(5)));
      current = &found.hint;
    } else if (starts_error(line) || (!found.errors.empty() && starts_cause(line))) {
      found.errors.push_back(text);
      current = &found.errors.back();
    } else if (text.empty() || trimmed.starts_with("[notice]")) {
      current = nullptr;
    } else if (current != nullptr && (line.starts_with("  ") || line.starts_with("\t"))) {
      *current += " " + text;
    }
  }
  // pip's name for every failed build; what failed comes after it.
  std::erase_if(found.errors,
                [](const std::string& text) { return text.empty() || text == "subprocess-exited-with-error"; });
  return found;
}

std::string last_line(std::string_view output) {
  const auto lines = base::split(output, '\n');
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    if (std::string text = plain(*line); !text.empty()) return text;
  }
  return {};
}

std::string shorten(std::string text) {
  if (text.size() <= kMaxMessage) return text;
  return base::to_utf8(text.substr(0, kMaxMessage)) + " …";
}

std::string main_sentence(const Sentences& found, std::string_view output) {
  if (found.errors.empty()) return last_line(output);
  for (const std::string& sentence : found.errors) {
    if (sentence.starts_with("Because ")) return sentence;
  }
  std::string text = found.errors.front();
  // pip goes on to repeat itself ("No matching distribution found"); uv's causes say why.
  const bool pip = output.find("ERROR:") != std::string_view::npos;
  for (std::size_t i = 1; i < found.errors.size() && !pip; ++i) text += ": " + found.errors[i];
  if (const std::size_t versions = text.find(" (from versions:"); versions != std::string::npos) text.resize(versions);
  return text;
}

std::string word_before(std::string_view text, std::string_view phrase) {
  const std::size_t at = text.find(phrase);
  if (at == std::string_view::npos) return {};
  const std::string_view head = base::trim(text.substr(0, at));
  return std::string(head.substr(head.find_last_of(" \n") + 1));
}

std::string hint_for_name(std::string_view output) {
  std::string name = word_before(output, " was not found in the package registry");
  if (name.empty() && output.find("(from versions: none)") != std::string_view::npos) {
    const std::size_t at = output.find("the requirement ");
    if (at != std::string_view::npos) name = requirement_name(output.substr(at + 16));
  }
  if (name.empty()) return {};
  const std::string lower = base::to_lower(name);
  if (const std::string package = package_of_module(lower); !package.empty()) {
    return "the package is called " + package;
  }
  const auto known = well_known_packages();
  if (const auto near = base::suggest(lower, known); near && *near != lower) return "did you mean " + *near + "?";
  return "check the name, or name its index in environment.python.index_urls";
}

}  // namespace

Error explain_failure(const ToolFailure& failure) {
  const std::string_view output = failure.output;
  const Sentences found = read_sentences(output);
  Error error{.code = Errc::cannot_start, .message = {}};
  error.message = shorten(main_sentence(found, output));
  if (error.message.empty())
    error.message = failure.tool + " failed with exit code " + std::to_string(failure.exit_code);
  error.context.push_back(failure.doing + " with " + failure.tool);
  error.hint = found.hint;
  if (has_any(output, "No space left on device", "os error 28", "Disk quota exceeded", "os error 122")) {
    error.code = Errc::store;
    error.message = "the disk became full: " + error.message;
    error.hint = "trainctl env ls shows what env rm can remove";
  } else if (has_any(output, "network was disabled", "Network connectivity is disabled", "not found in the cache",
                     "dns error", "failed to lookup address", "Connection refused", "tcp connect error",
                     "error sending request", "name resolution", "Network is unreachable", "Max retries exceeded",
                     "Failed to establish a new connection", "Could not connect", "operation timed out")) {
    error.code = Errc::unavailable;
    error.retryable = true;
    error.message = "the package index cannot be reached: " + error.message;
    error.hint = "environments that are built already need no network (trainctl env ls)";
  } else if (has_any(output, "ensurepip is not", "No module named ensurepip", "No module named venv")) {
    error.message = "this Python cannot make virtual environments: its venv package is missing";
    error.hint = "apt-get install python3-venv, or install uv";
  } else if (const std::string hint = hint_for_name(output); !hint.empty()) {
    error.hint = hint;
  }
  return error;
}

std::optional<MissingVersion> missing_version(std::string_view output) {
  // "Because only six<=1.17.0 is available and you require six==9.*": elsewhere what is required may well exist.
  const bool too_few = output.find("Because only ") != std::string_view::npos;
  for (const std::string_view phrase : {"there is no version of ", "only the following versions of ",
                                        "satisfies the requirement ", "and you require "}) {
    const std::size_t at = output.find(phrase);
    if (at == std::string_view::npos || (phrase.starts_with("and") && !too_few)) continue;
    const std::string_view rest = output.substr(at + phrase.size());
    std::string_view word = rest.substr(0, rest.find_first_of(" ,\n;"));
    if (word.ends_with(".*")) word.remove_suffix(2);
    const std::size_t equals = word.find_first_of("=<>~!");
    if (equals == std::string_view::npos) continue;
    const std::size_t number = word.find_first_not_of("=<>~!", equals);
    if (number == std::string_view::npos) continue;
    return MissingVersion{requirement_name(word), std::string(word.substr(number))};
  }
  return std::nullopt;
}

std::vector<std::string> offered_versions(std::string_view output) {
  constexpr std::string_view kMark = "(from versions: ";
  const std::size_t at = output.find(kMark);
  if (at == std::string_view::npos) return {};
  const std::string_view list = output.substr(at + kMark.size());
  std::vector<std::string> versions;
  for (const std::string& version : base::split(list.substr(0, list.find(')')), ',')) {
    if (const auto word = base::trim(version); !word.empty() && word != "none") versions.emplace_back(word);
  }
  return versions;
}

std::vector<std::string> near_versions(const std::string& wanted, std::vector<std::string> versions) {
  const auto number = [](const std::string& text) { return PythonVersion::parse(text).value_or(PythonVersion{{0}}); };
  const auto pre_release = [](const std::string& text) {
    return std::any_of(text.begin(), text.end(),
                       [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
  };
  std::erase_if(versions, pre_release);
  std::sort(versions.begin(), versions.end(), [&](const auto& a, const auto& b) { return number(a) < number(b); });
  versions.erase(std::unique(versions.begin(), versions.end()), versions.end());
  if (versions.size() <= 4) return versions;
  const auto above =
      std::find_if(versions.begin(), versions.end(), [&](const auto& v) { return number(v) > number(wanted); });
  const auto first = versions.begin() + std::max<std::ptrdiff_t>(0, above - versions.begin() - 2);
  std::vector<std::string> near(
      first, versions.begin() + std::min<std::ptrdiff_t>(std::ssize(versions), first - versions.begin() + 3));
  if (near.back() != versions.back()) near.push_back(versions.back());
  return near;
}

}  // namespace trainctl::host
