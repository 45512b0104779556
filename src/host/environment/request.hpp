// SPDX-License-Identifier: Apache-2.0
// What an environment consists of, written so that any machine can build it: no path of the submitter's machine is
// needed (except for kinds that name one on the target). Making and hashing it is pure but for reading the named files.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.hpp"
#include "host/environment/interpreter.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

enum class EnvironmentKind {
  system,       // python3 (or python) on the target's PATH
  interpreter,  // `path` is a Python executable on the target
  venv,         // `path` is a virtual environment on the target
  packages,     // Python + packages from an index: resolved, locked, built, kept
  conda,        // `conda` needs conda, mamba or micromamba on the target
  project,      // a uv project: pyproject.toml + uv.lock
};
const char* to_string(EnvironmentKind kind);

struct EnvironmentRequest {
  EnvironmentKind kind = EnvironmentKind::system;
  std::string python;                            // version as asked for: "3.11", ">=3.10"; empty = the target's python3
  std::string path;                              // of kind interpreter or venv; absolute
  std::vector<std::string> packages;             // PEP 508, in the order they were written
  std::string requirements;                      // requirements.txt text, -r included, -c in `constraints`
  std::string constraints;                       // one specifier a line
  std::string conda;                             // environment.yml text (kind conda)
  std::string pyproject;                         // text (kind project)
  std::string uv_lock;                           // text (kind project)
  std::vector<std::string> groups, extras;       // kind project
  std::vector<std::string> index_urls;           // searched before the default index; ${VAR} is filled in at build
  std::string torch_backend;                     // "" | auto | cpu | cuXXX
  std::vector<std::string> build_constraints;    // for packages built from source, e.g. setuptools==65.5.1
  std::vector<std::string> setup;                // lines of a login bash, run before anything else
  std::map<std::string, std::string> variables;  // from a conda file's `variables`
  friend bool operator==(const EnvironmentRequest&, const EnvironmentRequest&) = default;
};

/// The requirements and packages as one requirements file.
std::string wanted_text(const EnvironmentRequest& request);

/// Canonical: fixed key order, empty fields left out, so equal requests give equal text.
Json to_json(const EnvironmentRequest& request);
/// Errc::invalid names the field that is wrong; unknown fields are refused (a newer client).
Result<EnvironmentRequest> environment_request_from_json(const Json& json);

/// What a person wrote in `environment`, with absolute paths. At most one of the sources from `interpreter` to
/// `project`; `packages` and `conda_packages` may accompany requirements_file and conda_file.
struct EnvironmentInput {
  std::string python_version;
  std::filesystem::path interpreter, venv, requirements_file, conda_file,
      project;  // empty = not given; project: a folder
  std::vector<std::string> packages, conda_packages, groups, extras, index_urls, build_constraints, setup;
  std::string torch_backend;
  bool local = true;         // the target is this machine: the active venv and the pythons of this machine count
  bool needs_python = true;  // false: a program that runs as well where there is no Python
};

struct ResolvedRequest {
  EnvironmentRequest request;
  std::string description;         // one line: "python 3.11.7 from .venv (active)"
  std::vector<std::string> notes;  // what was translated or left out, one line each
};

/// Without any source: uv.lock in `source_directory`, else requirements.txt, else the active venv (when local), else
/// python3 on PATH. Errors carry file and line where there is one.
Result<ResolvedRequest> make_request(const EnvironmentInput& input, const std::filesystem::path& source_directory,
                                     const Surroundings& surroundings);

/// What of the machine goes into a key.
struct Platform {
  std::string system = "linux";
  std::string machine;  // x86_64, aarch64
  std::string driver;   // NVIDIA driver version or empty; counts only for torch_backend auto
  static Platform current();
};

/// sha256, 64 hex digits: what was written, with file contents, on this platform. Pure.
std::string request_key(const EnvironmentRequest& request, const Platform& platform);
/// sha256 of the lock, the build of the Python and the platform: names the built environment. Pure.
std::string environment_key(const std::string& lock, const std::string& python_build, const Platform& platform);
/// The first characters of a key, as shown to people: "7c1e83".
std::string short_key(const std::string& key);

}  // namespace trainctl::host
