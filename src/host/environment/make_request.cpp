// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cctype>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "host/environment/conda.hpp"
#include "host/environment/interpreter.hpp"
#include "host/environment/python_version.hpp"
#include "host/environment/request.hpp"
#include "host/environment/requirements.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace fs = std::filesystem;

namespace {

std::string counted(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " package" : " packages");
}

// As a person would name it: relative inside the source directory.
std::string shown(const fs::path& path, const fs::path& source_directory) {
  const fs::path relative = path.lexically_relative(source_directory);
  const bool inside = !relative.empty() && *relative.begin() != "..";
  return inside && relative != "." ? relative.string() : path.string();
}

std::string python_words(const std::string& version) {
  return version.empty() ? "" : ", python " + version;
}

Result<> check_input(const EnvironmentInput& input) {
  const std::array unnamed = {input.interpreter.empty(), input.venv.empty(), input.requirements_file.empty(),
                              input.conda_file.empty(), input.project.empty()};
  if (std::count(unnamed.begin(), unnamed.end(), false) > 1) {
    return fail(Errc::invalid, "environment.python names more than one source",
                "keep one of interpreter, venv, requirements_file, conda_file, project");
  }
  const bool ready_made = !input.interpreter.empty() || !input.venv.empty();
  const bool builds = input.packages.size() + input.conda_packages.size() > 0 || !input.python_version.empty();
  if (ready_made && builds) {
    return fail(Errc::invalid, "environment.python: nothing is installed into an interpreter or venv that is given",
                "leave out packages and version, or leave out interpreter and venv");
  }
  if (!input.project.empty() && !input.packages.empty()) {
    return fail(Errc::invalid, "environment.python: a uv project is frozen, packages cannot be added to it",
                "uv add the packages to the project");
  }
  for (const std::string& url : input.index_urls) {
    if (has_password(url)) {
      return fail(Errc::invalid, "environment.python.index_urls: a URL with a password",
                  "use ${VARIABLE} in its place, a .netrc or a keyring");
    }
  }
  const auto plain = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.'; };
  if (!std::all_of(input.torch_backend.begin(), input.torch_backend.end(), plain)) {
    return fail(Errc::invalid, "environment.python.torch_backend: \"" + input.torch_backend + "\" is not known",
                "auto, cpu or cuXXX, e.g. cu126");
  }
  TRY(PythonVersionSpec::parse(input.python_version));
  return {};
}

class Maker {
 public:
  Maker(const EnvironmentInput& input, const fs::path& source, const Surroundings& surroundings)
      : input_(input), source_(source), surroundings_(surroundings) {
    EnvironmentRequest& request = result_.request;
    request.python = input.python_version;
    request.groups = input.groups;
    request.extras = input.extras;
    request.index_urls = input.index_urls;
    request.torch_backend = input.torch_backend;
    request.build_constraints = input.build_constraints;
    request.setup = input.setup;
  }

  Result<ResolvedRequest> make() {
    if (!input_.interpreter.empty()) {
      TRY(interpreter());
    } else if (!input_.venv.empty()) {
      TRY(venv(input_.venv, "as asked"));
    } else if (!input_.project.empty()) {
      TRY(project(input_.project, ""));
    } else if (!input_.conda_file.empty()) {
      TRY(conda());
    } else if (!input_.requirements_file.empty()) {
      TRY(requirements(input_.requirements_file, ""));
    } else if (!input_.packages.empty() || !input_.conda_packages.empty() || !input_.python_version.empty()) {
      TRY(add_written_packages());
      result_.request.kind = EnvironmentKind::packages;
      result_.description = counted(packages()) + python_words(input_.python_version);
    } else {
      TRY(by_default());
    }
    return std::move(result_);
  }

 private:
  Result<> interpreter() {
    result_.request.kind = EnvironmentKind::interpreter;
    result_.request.path = input_.interpreter.string();
    result_.description = input_.interpreter.string();
    if (!input_.local) return {};
    TRY_ASSIGN(const Interpreter found, inspect_python(input_.interpreter, surroundings_));
    result_.description = "python " + found.version.text() + " at " + shown(input_.interpreter, source_);
    return {};
  }

  Result<> venv(const fs::path& folder, const std::string& why) {
    result_.request.kind = EnvironmentKind::venv;
    result_.request.path = folder.string();
    result_.description = "venv " + folder.string();
    if (!input_.local) return {};
    TRY_ASSIGN(const Interpreter found, venv_python(folder));
    result_.description = "python " + found.version.text() + " from " + shown(folder, source_) + " (" + why + ")";
    return {};
  }

  Result<> requirements(const fs::path& file, const std::string& why) {
    TRY_ASSIGN(Requirements found, read_requirements(file));
    result_.request.kind = EnvironmentKind::packages;
    result_.request.requirements = std::move(found.text);
    result_.request.constraints = std::move(found.constraints);
    note(found.notes);
    TRY(add_written_packages());
    result_.description = shown(file, source_) + ": " + counted(packages()) + python_words(input_.python_version) + why;
    return {};
  }

  Result<> conda() {
    TRY_ASSIGN(std::string text, base::read_file(input_.conda_file, 8U << 20U));
    TRY_ASSIGN(const CondaFile file, parse_conda_file(text, input_.conda_file.string()));
    const CondaTranslation translated = translate_conda(file);
    EnvironmentRequest& request = result_.request;
    request.variables = file.variables;
    const std::string name = shown(input_.conda_file, source_);
    if (!translated.untranslated.empty()) {
      if (!input_.packages.empty() || !input_.conda_packages.empty()) {
        return fail(Errc::invalid, name + " needs conda, so packages cannot be added beside it",
                    "add them to its pip: list");
      }
      request.kind = EnvironmentKind::conda;
      request.conda = std::move(text);
      result_.notes.push_back(name + " needs conda, mamba or micromamba: " + base::join(translated.untranslated, ", ") +
                              " has no known counterpart on the Python package index");
      result_.description = name + ": conda environment";
      return {};
    }
    request.kind = EnvironmentKind::packages;
    if (request.python.empty()) request.python = translated.python;
    if (request.torch_backend.empty()) request.torch_backend = translated.torch_backend;
    note(translated.notes);
    TRY(add_packages(translated.packages, input_.conda_file.parent_path(), input_.conda_file.filename().string()));
    TRY(add_written_packages());
    result_.description = name + ": " + counted(packages()) + python_words(request.python);
    return {};
  }

  Result<> project(const fs::path& folder, const std::string& why) {
    EnvironmentRequest& request = result_.request;
    request.kind = EnvironmentKind::project;
    TRY_ASSIGN(request.pyproject, read_part(folder / "pyproject.toml", "a uv project has a pyproject.toml"));
    TRY_ASSIGN(request.uv_lock, read_part(folder / "uv.lock", "run: uv lock"));
    if (request.python.empty()) {
      TRY_ASSIGN(request.python, project_python(folder));
    }
    const std::size_t count = read_lock(folder);
    result_.description = "uv project" + why + ": " + counted(count) + python_words(request.python);
    return {};
  }

  static Result<std::string> read_part(const fs::path& file, const std::string& hint) {
    auto text = base::read_file(file, base::kMaxJsonBytes);
    if (!text && text.error().code == Errc::not_found) return fail(Errc::not_found, "no file " + file.string(), hint);
    return text;
  }

  // .python-version, else requires-python: as uv chooses.
  Result<std::string> project_python(const fs::path& folder) {
    TRY_ASSIGN(const auto pinned, base::read_file_if_exists(folder / ".python-version", 4096));
    if (pinned) {
      std::string word(base::trim(std::string_view(*pinned).substr(0, pinned->find('\n'))));
      if (const auto version = PythonVersion::parse(word); version && version->text() == word) return word;
    }
    for (const std::string& line : base::split(result_.request.pyproject, '\n')) {
      if (!base::trim(line).starts_with("requires-python")) continue;
      const std::size_t open = line.find_first_of("\"'");
      const std::size_t close = line.find_last_of("\"'");
      if (open != std::string::npos && close > open) return line.substr(open + 1, close - open - 1);
    }
    return std::string();
  }

  // Counts what is installed; local packages are not (they are source, not environment).
  std::size_t read_lock(const fs::path& folder) {
    std::size_t count = 0;
    std::string name;
    for (const std::string& line : base::split(result_.request.uv_lock, '\n')) {
      if (line == "[[package]]") ++count;
      if (line.starts_with("name = \"")) name = line.substr(8, line.size() - 9);
      if (!line.starts_with("source = {")) continue;
      const bool local = line.find("editable = ") != std::string::npos ||
                         line.find("virtual = ") != std::string::npos ||
                         line.find("directory = ") != std::string::npos || line.find("path = ") != std::string::npos;
      if (!local) continue;
      --count;
      if (line.find("virtual = \".\"") != std::string::npos) continue;
      const bool src = line.find("\".\"") != std::string::npos && base::exists(folder / "src");
      result_.notes.push_back("the local package " + name + " is not installed into the environment: " +
                              (src ? "put src on PYTHONPATH" : "import it from the source directory"));
    }
    return count;
  }

  Result<> by_default() {
    if (base::exists(source_ / "uv.lock") && base::exists(source_ / "pyproject.toml"))
      return project(source_, " (uv.lock)");
    if (base::exists(source_ / "requirements.txt")) {
      return requirements(source_ / "requirements.txt", " (found in the source directory)");
    }
    if (!input_.local) {
      result_.request.kind = EnvironmentKind::system;
      result_.description = "python3 of the target";
      return {};
    }
    if (!surroundings_.virtual_env.empty()) {
      auto active = venv(surroundings_.virtual_env, "active");
      if (active) return active;
      result_.notes.push_back("the active venv is left out: " + active.error().message);
    }
    const auto found = default_python(surroundings_, source_);
    if (!found && input_.needs_python) return fail(found.error());
    if (!found) {
      result_.request.kind = EnvironmentKind::system;
      result_.description = "no python";
      return {};
    }
    result_.request.kind = EnvironmentKind::interpreter;
    result_.request.path = found->path.string();
    result_.description = "python " + found->version.text() + " on PATH (" + found->path.string() + ")";
    return {};
  }

  // packages, and conda_packages as what they are on the index.
  Result<> add_written_packages() {
    TRY(add_packages(input_.packages, source_, "environment.python.packages"));
    if (input_.conda_packages.empty()) return {};
    CondaFile file;
    file.dependencies = input_.conda_packages;
    const CondaTranslation translated = translate_conda(file);
    if (!translated.untranslated.empty()) {
      return fail(Errc::invalid,
                  "environment.python.conda_packages: " + base::join(translated.untranslated, ", ") +
                      " has no known counterpart on the Python package index",
                  "name its pip package, or write a conda file with everything in it");
    }
    EnvironmentRequest& request = result_.request;
    if (request.python.empty()) request.python = translated.python;
    if (request.torch_backend.empty()) request.torch_backend = translated.torch_backend;
    note(translated.notes);
    return add_packages(translated.packages, source_, "environment.python.conda_packages");
  }

  // Checks them like lines of a requirements file; what is more than a package goes to the requirements text.
  Result<> add_packages(const std::vector<std::string>& list, const fs::path& folder, const std::string& origin) {
    std::string text;
    for (const std::string& item : list) text += item + "\n";
    TRY_ASSIGN(const Requirements found, requirements_from_text(text, folder, origin));
    for (const std::string& line : base::split(found.text, '\n')) {
      if (line.starts_with('-')) {
        result_.request.requirements += line + "\n";
      } else if (!line.empty()) {
        result_.request.packages.push_back(line);
      }
    }
    result_.request.constraints += found.constraints;
    note(found.notes);
    return {};
  }

  [[nodiscard]] std::size_t packages() const {
    return result_.request.packages.size() + count_requirements(result_.request.requirements);
  }
  void note(const std::vector<std::string>& notes) {
    result_.notes.insert(result_.notes.end(), notes.begin(), notes.end());
  }

  const EnvironmentInput& input_;
  const fs::path source_;
  const Surroundings& surroundings_;
  ResolvedRequest result_;
};

}  // namespace

Result<ResolvedRequest> make_request(const EnvironmentInput& input, const fs::path& source_directory,
                                     const Surroundings& surroundings) {
  TRY(check_input(input));
  return Maker(input, source_directory, surroundings).make();
}

}  // namespace trainctl::host
