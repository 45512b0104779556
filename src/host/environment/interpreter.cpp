// SPDX-License-Identifier: Apache-2.0
#include "host/environment/interpreter.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "host/environment/python_version.hpp"
#include "host/environment/requirements.hpp"
#include "host/environment/step.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace fs = std::filesystem;

namespace {

// One fact a line. -I: nothing of the user's environment or folder changes the answer; Python 2 refuses it.
constexpr const char* kProbe = R"(
import sys, sysconfig
print('.'.join(str(n) for n in sys.version_info[:3]))
print(' '.join(sys.version.split()) + ' ' + str(sysconfig.get_config_var('SOABI')) + ' ' + sys.base_prefix)
try:
    import site
    found = site.getsitepackages()
except Exception:
    found = []
paths = sysconfig.get_paths()
for p in dict.fromkeys(found + [paths['purelib'], paths['platlib']]):
    print(p)
)";

bool is_executable(const fs::path& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

bool is_script(const fs::path& path) {
  const auto head = base::read_range(path, 0, 2);
  return head && *head == "#!";
}

// Changes whenever the executable behind `path` does; empty when it is missing.
std::string identity(const fs::path& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return {};
  std::string text;
  for (const auto part : {static_cast<std::int64_t>(info.st_dev), static_cast<std::int64_t>(info.st_ino),
                          static_cast<std::int64_t>(info.st_size), static_cast<std::int64_t>(info.st_mtim.tv_sec),
                          static_cast<std::int64_t>(info.st_mtim.tv_nsec)}) {
    text += std::to_string(part) + ":";
  }
  return text;
}

Json read_cache(const fs::path& folder) {
  if (folder.empty()) return Json::object();
  auto text = base::read_file_if_exists(folder / "interpreters.json", base::kMaxJsonBytes);
  if (!text || !*text) return Json::object();
  auto json = base::parse_json(**text);
  return json && json->is_object() ? *std::move(json) : Json::object();
}

std::optional<Interpreter> from_cache(const fs::path& python, const std::string& id, const fs::path& folder) {
  const Json cache = read_cache(folder);
  const auto entry = cache.find(python.string());
  if (entry == cache.end() || !entry->is_object() || id.empty()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto field = entry->find(key);
    return field != entry->end() && field->is_string() ? field->get<std::string>() : std::string();
  };
  const auto version = PythonVersion::parse(text("version"));
  if (text("id") != id || !version) return std::nullopt;
  Interpreter found{
      .path = python, .version = *version, .build = text("build"), .site = base::split(text("site"), '\n')};
  if (found.site == std::vector<std::string>{""}) found.site.clear();
  return found;
}

// A cache that cannot be written (read-only, full) only costs time.
void remember(const Interpreter& found, const std::string& id, const fs::path& folder) {
  if (folder.empty() || (!base::exists(folder) && !base::make_directory(folder))) return;
  Json cache = read_cache(folder);
  cache[found.path.string()] = Json{
      {"id", id}, {"version", found.version.text()}, {"build", found.build}, {"site", base::join(found.site, "\n")}};
  (void)base::write_file_atomic(folder / "interpreters.json", base::pretty_json(cache));
}

Result<Interpreter> probe(const fs::path& python) {
  Step step{.argv = {python.string(), "-I", "-c", kProbe}};
  step.capture_output = true;
  step.deadline = std::chrono::seconds(30);
  TRY_ASSIGN(const StepResult result, run_step(step));
  std::vector<std::string> lines = base::split(result.out, '\n');
  const auto version = PythonVersion::parse(lines[0]);
  if (result.exit_code != 0 || lines.size() < 3 || !version) {
    const auto why = base::trim(result.tail);
    return fail(Errc::cannot_start, python.string() + " is not a working Python 3" +
                                        (why.empty() ? "" : ": " + std::string(why.substr(why.rfind('\n') + 1))));
  }
  lines.pop_back();
  return Interpreter{.path = python, .version = *version, .build = lines[1], .site = {lines.begin() + 2, lines.end()}};
}

// The version names pyenv would use in `directory`, first choice first.
std::vector<std::string> pyenv_choice(const Surroundings& surroundings, const fs::path& directory) {
  if (!surroundings.pyenv_version.empty()) return base::split(surroundings.pyenv_version, ':');
  std::vector<fs::path> files;
  for (fs::path folder = directory; !folder.empty(); folder = folder.parent_path()) {
    files.push_back(folder / ".python-version");
    if (folder == folder.root_path()) break;
  }
  files.push_back(fs::path(surroundings.pyenv_root) / "version");
  for (const fs::path& file : files) {
    const auto text = base::read_file_if_exists(file, 4096);
    if (!text || !*text) continue;
    std::vector<std::string> names;
    for (const std::string& line : base::split(**text, '\n')) {
      const auto word = base::trim(line);
      if (!word.empty() && !word.starts_with('#')) names.emplace_back(word);
    }
    if (!names.empty()) return names;
  }
  return {};
}

std::vector<std::string> pyenv_versions(const Surroundings& surroundings) {
  const auto names = base::list_directory(fs::path(surroundings.pyenv_root) / "versions");
  std::vector<std::string> versions = names ? *names : std::vector<std::string>{};
  std::sort(versions.begin(), versions.end(), [](const std::string& a, const std::string& b) {
    const auto left = PythonVersion::parse(a), right = PythonVersion::parse(b);
    return left && right ? *left > *right : left.has_value() && !right.has_value();
  });
  return versions;
}

// What a shim stands for; empty when pyenv would answer "not found".
std::optional<fs::path> behind_shim(const fs::path& shim, const Surroundings& surroundings, const fs::path& directory) {
  for (const std::string& name : pyenv_choice(surroundings, directory)) {
    for (const std::string& version : pyenv_versions(surroundings)) {
      if (version != name && !version.starts_with(name + ".")) continue;
      fs::path python = fs::path(surroundings.pyenv_root) / "versions" / version / "bin" / shim.filename();
      if (is_executable(python)) return python;
    }
  }
  return std::nullopt;
}

bool is_shim(const fs::path& path, const Surroundings& surroundings) {
  return !surroundings.pyenv_root.empty() && path.parent_path() == fs::path(surroundings.pyenv_root) / "shims";
}

std::vector<fs::path> path_folders(const std::string& path) {
  std::vector<fs::path> folders;
  for (const std::string& folder : base::split(path, ':')) {
    if (folder.starts_with('/')) folders.emplace_back(folder);
  }
  return folders;
}

bool minor_may_match(const PythonVersionSpec& spec, int minor) {
  for (int patch = 0; patch < 64; ++patch) {
    if (spec.matches(PythonVersion{{3, minor, patch}})) return true;
  }
  return false;
}

// Executables that may be a Python of the version, without running any.
std::vector<fs::path> candidates(const PythonVersionSpec& spec, const Surroundings& surroundings,
                                 const fs::path& directory) {
  std::vector<fs::path> found;
  std::vector<fs::path> folders = path_folders(surroundings.path);
  for (const char* usual : {"/usr/local/bin", "/usr/bin"}) folders.emplace_back(usual);
  if (!surroundings.home.empty()) folders.push_back(fs::path(surroundings.home) / ".local/bin");
  for (const fs::path& folder : folders) {
    for (int minor = 30; minor >= 5; --minor) {
      fs::path python = folder / ("python3." + std::to_string(minor));
      if (!minor_may_match(spec, minor) || !is_executable(python)) continue;
      if (is_shim(python, surroundings)) {
        const auto real = behind_shim(python, surroundings, directory);
        if (!real) continue;
        python = *real;
      }
      found.push_back(python);
    }
    const fs::path plain = folder / "python3";
    if (!is_shim(plain, surroundings) && is_executable(plain)) found.push_back(plain);
  }
  for (const std::string& version : pyenv_versions(surroundings)) {
    const auto number = PythonVersion::parse(version);
    if (!number || !spec.matches(*number)) continue;
    const fs::path python = fs::path(surroundings.pyenv_root) / "versions" / version / "bin/python3";
    if (is_executable(python)) found.push_back(python);
  }
  return found;
}

// For the error: what this machine has, by name only.
std::string what_there_is(const Surroundings& surroundings, const fs::path& directory) {
  const auto everything = PythonVersionSpec::parse("");
  std::set<std::string> seen;
  std::vector<Interpreter> pythons;
  for (const fs::path& python : candidates(*everything, surroundings, directory)) {
    auto found = inspect_python(python, surroundings);
    if (found && seen.insert(found->build).second) pythons.push_back(*std::move(found));
  }
  std::sort(pythons.begin(), pythons.end(), [](const auto& a, const auto& b) { return a.version > b.version; });
  std::string list;
  for (const Interpreter& python : pythons) {
    list += (list.empty() ? "" : ", ") + python.version.text() + " (" + python.path.string() + ")";
  }
  return list.empty() ? "no Python 3 at all" : list;
}

}  // namespace

Surroundings Surroundings::of_process(fs::path cache) {
  Surroundings now;
  now.cache = std::move(cache);
  now.path = base::get_env("PATH").value_or("/usr/local/bin:/usr/bin:/bin");
  now.home = base::get_env("HOME").value_or("");
  now.virtual_env = base::get_env("VIRTUAL_ENV").value_or("");
  now.pyenv_root = base::get_env("PYENV_ROOT").value_or(now.home.empty() ? "" : now.home + "/.pyenv");
  now.pyenv_version = base::get_env("PYENV_VERSION").value_or("");
  return now;
}

Result<Interpreter> inspect_python(const fs::path& python, const Surroundings& surroundings) {
  // A shim is a shell script that takes longer than what it starts.
  if (is_shim(python, surroundings)) {
    if (const auto real = behind_shim(python, surroundings, {})) return inspect_python(*real, surroundings);
  }
  if (!is_executable(python)) {
    return fail(Errc::cannot_start,
                python.string() + (base::exists(python) ? " cannot be executed" : " does not exist"));
  }
  if (base::exists(python.parent_path().parent_path() / "pyvenv.cfg")) {
    auto venv = venv_python(python.parent_path().parent_path());
    if (venv) venv->path = python;
    return venv;
  }
  const std::string id = identity(python);
  if (auto known = from_cache(python, id, surroundings.cache)) return *std::move(known);
  TRY_ASSIGN(Interpreter found, probe(python));
  if (!is_script(python)) remember(found, id, surroundings.cache);
  return found;
}

Result<Interpreter> default_python(const Surroundings& surroundings, const fs::path& directory) {
  std::string refused;
  for (const char* name : {"python3", "python"}) {
    for (const fs::path& folder : path_folders(surroundings.path)) {
      fs::path python = folder / name;
      if (!is_executable(python)) continue;
      if (is_shim(python, surroundings)) {
        const auto real = behind_shim(python, surroundings, directory);
        if (!real) continue;
        python = *real;
      }
      auto found = inspect_python(python, surroundings);
      if (found) return found;
      refused += " (" + found.error().message + ")";
    }
  }
  return fail(Errc::cannot_start, "there is no python3 on PATH" + refused,
              "apt-get install python3, or name one: environment.python.interpreter");
}

Result<Interpreter> find_python(const std::string& version_spec, const Surroundings& surroundings,
                                const fs::path& directory) {
  TRY_ASSIGN(const PythonVersionSpec spec, PythonVersionSpec::parse(version_spec));
  auto preferred = default_python(surroundings, directory);
  if (spec.any() || (preferred && spec.matches(preferred->version))) return preferred;
  std::optional<Interpreter> best;
  for (const fs::path& python : candidates(spec, surroundings, directory)) {
    auto found = inspect_python(python, surroundings);
    if (!found || !spec.matches(found->version)) continue;
    if (!best || found->version > best->version) best = *std::move(found);
  }
  if (best) return *std::move(best);
  return fail(Errc::cannot_start, "Python " + version_spec + " is not installed here",
              "found: " + what_there_is(surroundings, directory));
}

Result<Interpreter> venv_python(const fs::path& venv) {
  const auto config = base::read_file_if_exists(venv / "pyvenv.cfg", 65536);
  if (!config || !*config) {
    return fail(Errc::cannot_start, venv.string() + " is not a virtual environment (no pyvenv.cfg)");
  }
  const fs::path python = venv / "bin/python";
  if (!is_executable(python)) {
    return fail(Errc::cannot_start, "the Python of " + venv.string() + " is gone",
                "make the virtual environment again");
  }
  std::optional<PythonVersion> version;
  for (const std::string& line : base::split(**config, '\n')) {
    const std::size_t equals = line.find('=');
    if (equals == std::string::npos) continue;
    const auto key = base::trim(std::string_view(line).substr(0, equals));
    if (key == "version" || key == "version_info") {
      version = PythonVersion::parse(base::trim(std::string_view(line).substr(equals + 1)));
    }
  }
  if (!version || version->parts.size() < 2) {
    return fail(Errc::cannot_start, (venv / "pyvenv.cfg").string() + " names no Python version");
  }
  if (version->parts.size() > 3) version->parts.resize(3);
  const std::string minor = "python3." + std::to_string(version->parts[1]);
  return Interpreter{.path = python,
                     .version = *version,
                     .build = "venv " + venv.string() + " " + identity(python),
                     .site = {(venv / "lib" / minor / "site-packages").string()}};
}

std::string installed_packages(const std::vector<std::string>& site) {
  std::set<std::string> lines;
  for (const std::string& folder : site) {
    const auto names = base::list_directory(folder);
    if (!names) continue;
    for (const std::string& name : *names) {
      const bool egg = name.ends_with(".egg-info");
      if (!egg && !name.ends_with(".dist-info")) continue;
      const std::string_view stem = std::string_view(name).substr(0, name.size() - (egg ? 9 : 10));
      const std::size_t dash = stem.find('-');
      if (dash == std::string_view::npos) continue;
      const std::string_view version = stem.substr(dash + 1);
      lines.insert(normalized_name(stem.substr(0, dash)) + "==" + std::string(version.substr(0, version.find('-'))));
    }
  }
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

}  // namespace trainctl::host
