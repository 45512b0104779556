// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/complaints.hpp"
#include "spec/run_configuration.hpp"
#include "spec/validate_parts.hpp"

namespace trainctl::spec {
namespace {

constexpr const char* kPython = "/environment/python/";

bool is_release(std::string_view text) {
  const auto parts = base::split(text, '.');
  return !parts.empty() && parts.size() <= 3 && std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
    return !part.empty() && part.size() <= 4 && part.find_first_not_of("0123456789") == std::string::npos;
  });
}

/// "3.11", "3.11.7", ">=3.10,<3.13", "~=3.10", "==3.11.*".
bool is_version(std::string_view text) {
  const auto terms = base::split(text, ',');
  return std::all_of(terms.begin(), terms.end(), [](const std::string& written) {
    std::string_view term = base::trim(written);
    for (const std::string_view mark : {">=", "<=", "==", "~=", "!=", ">", "<", "="}) {
      if (!term.starts_with(mark)) continue;
      term.remove_prefix(mark.size());
      if (mark == "==" && term.ends_with(".*")) term.remove_suffix(2);
      break;
    }
    return is_release(base::trim(term));
  });
}

/// The fields that say where packages come from; packages may stand beside a requirements or conda file.
std::vector<std::string> given_sources(const PythonEnvironment& python) {
  std::vector<std::string> given;
  if (python.interpreter) given.emplace_back("interpreter");
  if (python.venv) given.emplace_back("venv");
  if (python.conda_file) given.emplace_back("conda_file");
  if (python.project) given.emplace_back("project");
  if (python.requirements_file) given.emplace_back("requirements_file");
  if (python.conda_file || python.requirements_file) return given;
  if (!python.packages.empty()) {
    given.emplace_back("packages");
  } else if (!python.conda_packages.empty()) {
    given.emplace_back("conda_packages");
  }
  return given;
}

void check_sources(const PythonEnvironment& python, Complaints& out) {
  const std::vector<std::string> given = given_sources(python);
  for (std::size_t i = 1; i < given.size(); ++i) {
    out.add(kPython + given[i], "environment.python",
            "\"" + given[0] + "\" and \"" + given[i] + "\" exclude each other", "keep one of them");
  }
  const bool as_it_is = python.interpreter || python.venv;
  if (as_it_is && python.version) {
    out.add(std::string(kPython) + "version", "environment.python.version",
            "\"" + given[0] + "\" already says which Python", "remove one of them");
  }
  if (!python.project && !python.groups.empty()) {
    out.add(std::string(kPython) + "groups", "environment.python.groups", "only a project has groups",
            "add \"project\"");
  }
  if (!python.project && !python.extras.empty()) {
    out.add(std::string(kPython) + "extras", "environment.python.extras", "only a project has extras",
            "add \"project\"");
  }
}

void check_packages(const std::vector<std::string>& packages, const std::string& name, Complaints& out) {
  for (std::size_t i = 0; i < packages.size(); ++i) {
    const std::string& package = packages[i];
    const std::string field = base::element_of("environment.python." + name, i);
    const std::string pointer = base::pointer_append(kPython + name, std::to_string(i));
    if (base::trim(package).empty()) {
      out.add(pointer, field, "expected a package, found an empty text");
    } else if (package.front() == '-' || package.find('\n') != std::string::npos) {
      out.add(pointer, field, "options do not belong here",
              "indexes: \"index_urls\"; requirements: \"requirements_file\"");
    }
    out.no_secret(package, pointer, field);
  }
}

void check_indexes(const PythonEnvironment& python, Complaints& out) {
  for (std::size_t i = 0; i < python.index_urls.size(); ++i) {
    const std::string& url = python.index_urls[i];
    const std::string number = std::to_string(i);
    const std::string field = "environment.python.index_urls[" + number + "]";
    const std::string pointer = std::string(kPython) + "index_urls/" + number;
    const std::size_t scheme = url.find("://");
    if (scheme == std::string::npos || url.front() == '-') {
      out.add(pointer, field, "expected a URL", "like https://host/simple");
      continue;
    }
    const std::string host = url.substr(scheme + 3, url.find('/', scheme + 3) - scheme - 3);
    if (host.find('@') != std::string::npos && host.find("${{") == std::string::npos) {
      out.add(pointer, field, "credentials in a URL would be recorded",
              "put them into a netrc file, or the whole URL into a variable of the index");
    }
  }
}

void check_torch_backend(const std::string& backend, Complaints& out) {
  const bool numbered = backend.starts_with("cu") && backend.size() > 3 &&
                        backend.find_first_not_of("0123456789", 2) == std::string::npos;
  if (backend == "auto" || backend == "cpu" || numbered) return;
  out.add(std::string(kPython) + "torch_backend", "environment.python.torch_backend",
          "expected \"auto\", \"cpu\" or a CUDA version such as \"cu124\", found text \"" + backend + "\"");
}

void check_python(const PythonEnvironment& python, Complaints& out) {
  check_sources(python, out);
  check_packages(python.packages, "packages", out);
  check_packages(python.conda_packages, "conda_packages", out);
  check_packages(python.build_constraints, "build_constraints", out);
  check_indexes(python, out);
  if (python.version && !is_version(*python.version)) {
    out.add(std::string(kPython) + "version", "environment.python.version",
            "\"" + *python.version + "\" is not a version of Python", "like \"3.11\", \"3.11.7\" or \">=3.10\"");
  }
  if (python.torch_backend) check_torch_backend(*python.torch_backend, out);
}

void check_image(const ContainerEnvironment& container, Complaints& out) {
  const std::string pointer = "/environment/container";
  if (container.image && container.build) {
    out.add(pointer + "/build", "environment.container", "\"image\" and \"build\" exclude each other",
            "keep one of them");
  } else if (!container.image && !container.build) {
    out.add(pointer, "environment.container", "there is no image", "write \"image\" or \"build\"");
  }
  if (container.image && (container.image->empty() || container.image->front() == '-')) {
    out.add(pointer + "/image", "environment.container.image", "this cannot be an image's name");
  }
  if (container.build && !container.build->dockerfile && !container.build->context) {
    out.add(pointer + "/build", "environment.container.build", "there is nothing to build",
            "write \"dockerfile\" or \"context\"");
  }
}

void check_volumes(const ContainerEnvironment& container, Complaints& out) {
  for (std::size_t i = 0; i < container.volumes.size(); ++i) {
    const std::string number = std::to_string(i);
    const std::vector<std::string> parts = base::split(container.volumes[i], ':');
    const bool mode = parts.size() < 3 || parts[2] == "ro" || parts[2] == "rw";
    if (parts.size() >= 2 && parts.size() <= 3 && !parts[0].empty() && parts[1].starts_with("/") && mode) continue;
    out.add("/environment/container/volumes/" + number, "environment.container.volumes[" + number + "]",
            "expected HERE:/THERE or HERE:/THERE:ro, found text \"" + container.volumes[i] + "\"");
  }
}

void check_registry(const RunConfiguration& config, const ContainerRegistry& registry, Complaints& out) {
  const std::string pointer = "/environment/container/registry";
  const std::string field = "environment.container.registry";
  if (!registry.username != !registry.password_secret) {
    out.add(pointer, field, "a user name and a password belong together",
            "write \"username\" and \"password_secret\", or use the engine's own login");
  }
  const auto is_password = [&](const Secret& secret) { return secret.name == registry.password_secret; };
  if (registry.password_secret && std::none_of(config.secrets.begin(), config.secrets.end(), is_password)) {
    out.add(pointer + "/password_secret", field + ".password_secret",
            "\"" + *registry.password_secret + "\" is none of the run's secrets",
            "add it to \"secrets\": the value never stands in a file");
  }
}

/// What is in the image is the image's: it can name its Python, no more.
void check_with_python(const RunConfiguration& config, Complaints& out) {
  const Environment& environment = *config.environment;
  if (!environment.setup.empty()) {
    out.add("/environment/setup", "environment.setup", "setup lines and a container exclude each other",
            "write them into the Dockerfile");
  }
  if (config.distribution && config.distribution->type == DistributionType::mpi) {
    out.add("/distribution/type", "distribution.type", "mpi and a container exclude each other",
            "start it in the image: \"command\": [\"mpiexec\", \"-n\", \"2\", …]");
  }
  if (!environment.python) return;
  const PythonEnvironment& python = *environment.python;
  const bool builds = python.venv || python.version || !python.packages.empty() || !python.conda_packages.empty() ||
                      python.requirements_file || python.conda_file || python.project;
  if (!builds) return;
  out.add("/environment/python", "environment.python", "the image brings its own Python and packages",
          "install them in its Dockerfile (\"build\"); \"interpreter\" says which Python of the image is meant");
}

void check_container(const RunConfiguration& config, Complaints& out) {
  const ContainerEnvironment& container = *config.environment->container;
  check_image(container, out);
  check_volumes(container, out);
  if (container.registry) check_registry(config, *container.registry, out);
  check_with_python(config, out);
}

}  // namespace

void check_environment(const RunConfiguration& config, Complaints& out) {
  if (!config.environment) return;
  if (config.environment->python) check_python(*config.environment->python, out);
  if (config.environment->container) check_container(config, out);
}

}  // namespace trainctl::spec
