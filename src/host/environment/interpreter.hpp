// SPDX-License-Identifier: Apache-2.0
// Finding Pythons. What an executable is gets asked once and remembered by its identity (device, inode, size, times).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "host/environment/python_version.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// The parts of the process environment that choose a Python; a value, so that tests and setup lines can change it.
struct Surroundings {
  std::string path;             // PATH
  std::string home;             // HOME
  std::string virtual_env;      // VIRTUAL_ENV or empty
  std::string pyenv_root;       // PYENV_ROOT or ~/.pyenv
  std::string pyenv_version;    // PYENV_VERSION or empty
  std::filesystem::path cache;  // folder for interpreters.json, made when its parent exists; empty = nothing is kept
  static Surroundings of_process(std::filesystem::path cache = {});
};

struct Interpreter {
  std::filesystem::path path;  // absolute, as found (not resolved: a venv's python must keep its name)
  PythonVersion version;
  std::string build;              // identifies the build: version text, compiler, ABI, base prefix
  std::vector<std::string> site;  // site-packages folders
};

/// Runs `python` once to ask what it is (about 15 ms), later only stat. Errc::cannot_start when it is no Python 3.
Result<Interpreter> inspect_python(const std::filesystem::path& python, const Surroundings& surroundings);

/// python3, else python, on PATH; shims of pyenv are resolved for `directory` (.python-version), Python 2 is passed
/// over.
Result<Interpreter> default_python(const Surroundings& surroundings, const std::filesystem::path& directory);

/// The newest Python that fits: the default one if it does; else python3.X on PATH, pyenv's versions, the usual bin
/// folders. Errc::cannot_start lists what was found.
Result<Interpreter> find_python(const std::string& version_spec, const Surroundings& surroundings,
                                const std::filesystem::path& directory);

/// A virtual environment's python and version, from pyvenv.cfg: nothing is run. Errc::cannot_start when it is none or
/// its base Python is gone.
Result<Interpreter> venv_python(const std::filesystem::path& venv);

/// "name==version" lines of what is installed in site-packages folders, sorted; read from the dist-info names.
std::string installed_packages(const std::vector<std::string>& site);

}  // namespace trainctl::host
