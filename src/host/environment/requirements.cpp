// SPDX-License-Identifier: Apache-2.0
#include "host/environment/requirements.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace fs = std::filesystem;

namespace {

constexpr int kMaxDepth = 32;
constexpr std::uint64_t kMaxBytes = 8U << 20U;

struct Line {
  std::string text;
  std::size_t number = 0;
};

// Logical lines: a backslash at the end joins, " #" starts a comment.
std::vector<Line> logical_lines(const std::string& text) {
  std::vector<Line> lines;
  std::string pending;
  std::size_t number = 0, first = 0;
  for (const std::string& raw : base::split(text, '\n')) {
    ++number;
    if (pending.empty()) first = number;
    std::string line = raw;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!base::trim(line).starts_with('#') && !line.empty() && line.back() == '\\') {
      pending += line.substr(0, line.size() - 1) + " ";
      continue;
    }
    pending += line;
    std::size_t hash = pending.find('#');
    while (hash != std::string::npos && hash > 0 && pending[hash - 1] != ' ' && pending[hash - 1] != '\t') {
      hash = pending.find('#', hash + 1);
    }
    const std::string_view content = base::trim(std::string_view(pending).substr(0, hash));
    if (!content.empty()) lines.push_back({std::string(content), first});
    pending.clear();
  }
  if (const auto rest = base::trim(pending); !rest.empty()) lines.push_back({std::string(rest), first});
  return lines;
}

// The value of an option in any spelling: "-r x", "-rx", "--requirement x", "--requirement=x".
std::optional<std::string> option_value(std::string_view line, std::string_view short_name,
                                        std::string_view long_name) {
  std::string_view rest = line;
  if (rest.starts_with(long_name)) {
    rest.remove_prefix(long_name.size());
    if (rest.empty() || (rest.front() != '=' && rest.front() != ' ' && rest.front() != '\t')) return std::nullopt;
    if (rest.front() == '=') rest.remove_prefix(1);
  } else if (!short_name.empty() && rest.starts_with(short_name) && !rest.starts_with("--")) {
    rest.remove_prefix(short_name.size());
    if (!rest.empty() && rest.front() == '=') rest.remove_prefix(1);
  } else {
    return std::nullopt;
  }
  return std::string(base::trim(rest));
}

bool is_url(std::string_view text) {
  const std::size_t colon = text.find("://");
  return colon != std::string_view::npos && colon > 0 && text.find_first_of(" @") > colon;
}

bool is_local_path(std::string_view text) {
  const std::string_view word = text.substr(0, text.find_first_of(" ;["));
  if (word.starts_with("./") || word.starts_with("../") || word.starts_with("/") || word == "." || word == "..") {
    return true;
  }
  if (is_url(word)) return word.starts_with("file://");
  return word.ends_with(".whl") || word.ends_with(".tar.gz") || word.ends_with(".zip");
}

class Reader {
 public:
  Result<> read(const fs::path& file, bool constraints, int depth) {
    if (depth > kMaxDepth) return fail(Errc::invalid, file.string() + " includes itself");
    const auto active = std::find(open_.begin(), open_.end(), file);
    if (active != open_.end()) return fail(Errc::invalid, file.string() + " includes itself");
    TRY_ASSIGN(std::string text, base::read_file(file, kMaxBytes));
    if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
    if (!base::is_utf8(text)) return fail(Errc::invalid, file.string() + " is not UTF-8 text");
    open_.push_back(file);
    TRY(read_text(text, file, constraints, depth));
    open_.pop_back();
    return {};
  }

  Result<> read_text(const std::string& text, const fs::path& file, bool constraints, int depth) {
    for (const Line& line : logical_lines(text)) {
      auto done = add(line, file, constraints, depth);
      if (!done) {
        Error error = std::move(done).error();
        if (!error.at) error.at = SourcePosition{file.string(), line.number, 1};
        return fail(std::move(error));
      }
    }
    return {};
  }

  Requirements take() { return std::move(result_); }

 private:
  Result<> add(const Line& line, const fs::path& file, bool constraints, int depth) {
    const fs::path folder = file.parent_path();
    if (const auto other = option_value(line.text, "-r", "--requirement"))
      return include(*other, folder, constraints, depth);
    if (const auto other = option_value(line.text, "-c", "--constraint")) return include(*other, folder, true, depth);
    if (const auto other = option_value(line.text, "-e", "--editable")) return editable(*other);
    if (const auto links = option_value(line.text, "-f", "--find-links"); links && !is_url(*links)) {
      emit("--find-links " + absolute(*links, folder, line, file), constraints);
      return {};
    }
    if (has_password(line.text)) {
      return fail(Errc::invalid, "a URL with a password", "use ${VARIABLE} in its place, a .netrc or a keyring");
    }
    if (!line.text.starts_with('-') && is_local_path(line.text)) return local_path(line, file, constraints);
    emit(line.text, constraints);
    return {};
  }

  Result<> include(const std::string& name, const fs::path& folder, bool constraints, int depth) {
    if (is_url(name))
      return fail(Errc::invalid, "requirements from a URL are not reproducible: " + name, "save the file");
    const fs::path path = (folder / name).lexically_normal();
    auto done = read(path, constraints, depth + 1);
    if (!done && done.error().code == Errc::not_found) return fail(Errc::not_found, "no file " + path.string());
    return done;
  }

  static Result<> editable(const std::string& what) {
    if (is_url(what) || what.starts_with("git+")) {
      return fail(Errc::invalid, "-e " + what + " is an editable install", "leave out -e: the package is built once");
    }
    return fail(Errc::invalid, "-e " + what + " is an editable install: it would change under a running training",
                "the source directory is importable already; put a package's src folder on PYTHONPATH, or write "
                "the path without -e");
  }

  Result<> local_path(const Line& line, const fs::path& file, bool constraints) {
    std::string rest = line.text;
    if (rest.starts_with("file://")) rest.erase(0, 7);
    const std::size_t end = std::min(rest.find_first_of(" ;["), rest.size());
    emit(absolute(rest.substr(0, end), file.parent_path(), line, file) + rest.substr(end), constraints);
    return {};
  }

  std::string absolute(const std::string& path, const fs::path& folder, const Line& line, const fs::path& file) {
    const std::string full = fs::absolute(folder / path).lexically_normal().string();
    result_.notes.push_back(path + " (" + file.filename().string() + ":" + std::to_string(line.number) + ") is " +
                            full + " on this machine: its content is not part of the environment's key");
    return full;
  }

  void emit(const std::string& text, bool constraints) {
    (constraints ? result_.constraints : result_.text) += text + "\n";
  }

  Requirements result_;
  std::vector<fs::path> open_;
};

}  // namespace

Result<Requirements> read_requirements(const fs::path& file) {
  Reader reader;
  TRY(reader.read(fs::absolute(file).lexically_normal(), false, 0));
  return reader.take();
}

Result<Requirements> requirements_from_text(const std::string& text, const fs::path& folder,
                                            const std::string& origin) {
  Reader reader;
  TRY(reader.read_text(text, folder / origin, false, 0));
  return reader.take();
}

std::string index_options(std::string_view requirements) {
  static constexpr std::array<std::string_view, 9> kKept = {"-i",          "--index-url",   "--extra-index-url",
                                                            "-f",          "--find-links",  "--no-index",
                                                            "--no-binary", "--only-binary", "--trusted-host"};
  std::string kept;
  for (const std::string& line : base::split(requirements, '\n')) {
    const std::string_view word = std::string_view(line).substr(0, line.find_first_of(" ="));
    if (std::find(kKept.begin(), kKept.end(), word) != kKept.end()) kept += line + "\n";
  }
  return kept;
}

std::size_t count_requirements(std::string_view requirements) {
  std::size_t count = 0;
  for (const std::string& line : base::split(requirements, '\n')) {
    const bool name = !line.empty() && line.front() != '-' && line.front() != '#' && line.front() != ' ';
    count += name ? 1U : 0U;
  }
  return count;
}

std::string normalized_name(std::string_view name) {
  std::string out;
  bool separator = false;
  for (const char c : name) {
    if (c == '-' || c == '_' || c == '.') {
      separator = true;
      continue;
    }
    if (separator && !out.empty()) out += '-';
    separator = false;
    out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

std::string requirement_name(std::string_view requirement) {
  requirement = base::trim(requirement);
  const auto is_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  const auto end = std::find_if_not(requirement.begin(), requirement.end(), is_name);
  return normalized_name(requirement.substr(0, static_cast<std::size_t>(end - requirement.begin())));
}

bool has_password(std::string_view text) {
  for (std::size_t at = text.find("://"); at != std::string_view::npos; at = text.find("://", at + 3)) {
    const std::string_view rest = text.substr(at + 3);
    const std::string_view authority = rest.substr(0, rest.find_first_of("/?# "));
    const std::size_t user = authority.rfind('@');
    if (user == std::string_view::npos) continue;
    const std::size_t colon = authority.substr(0, user).find(':');
    if (colon == std::string_view::npos) continue;
    const std::string_view password = authority.substr(colon + 1, user - colon - 1);
    if (!password.empty() && !(password.starts_with("${") && password.ends_with("}"))) return true;
  }
  return false;
}

}  // namespace trainctl::host
