// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "spec/validate_parts.hpp"

namespace trainctl::spec {
namespace {

constexpr const char* kPython = "/environment/python/";

bool is_version(std::string_view text) {
  const auto parts = base::split(text, '.');
  return !parts.empty() && parts.size() <= 3 && std::all_of(parts.begin(), parts.end(), [](const std::string& part) {
    return !part.empty() && part.size() <= 4 && part.find_first_not_of("0123456789") == std::string::npos;
  });
}

void check_sources(const PythonEnvironment& python, Complaints& out) {
  std::vector<std::string> given;
  if (python.interpreter) given.emplace_back("interpreter");
  if (python.venv) given.emplace_back("venv");
  if (python.conda_file) given.emplace_back("conda_file");
  if (python.project) given.emplace_back("project");
  if (python.requirements_file) {
    given.emplace_back("requirements_file");
  } else if (!python.packages.empty()) {
    given.emplace_back("packages");
  }
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

void check_packages(const PythonEnvironment& python, Complaints& out) {
  for (std::size_t i = 0; i < python.packages.size(); ++i) {
    const std::string& package = python.packages[i];
    const std::string number = std::to_string(i);
    const std::string field = "environment.python.packages[" + number + "]";
    const std::string pointer = std::string(kPython) + "packages/" + number;
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
  check_packages(python, out);
  check_indexes(python, out);
  if (python.version && !is_version(*python.version)) {
    out.add(std::string(kPython) + "version", "environment.python.version",
            "\"" + *python.version + "\" is not a version of Python", "like \"3.11\" or \"3.11.7\"");
  }
  if (python.torch_backend) check_torch_backend(*python.torch_backend, out);
}

void check_container(const ContainerEnvironment& container, Complaints& out) {
  const std::string pointer = "/environment/container";
  if (container.image && container.dockerfile) {
    out.add(pointer + "/dockerfile", "environment.container", "\"image\" and \"dockerfile\" exclude each other",
            "keep one of them");
  } else if (!container.image && !container.dockerfile) {
    out.add(pointer, "environment.container", "there is no image", "write \"image\" or \"dockerfile\"");
  }
  if (container.context && !container.dockerfile) {
    out.add(pointer + "/context", "environment.container.context", "only a Dockerfile has a context",
            "add \"dockerfile\"");
  }
  if (container.image && (container.image->empty() || container.image->front() == '-')) {
    out.add(pointer + "/image", "environment.container.image", "this cannot be an image's name");
  }
}

}  // namespace

void check_environment(const RunConfiguration& config, Complaints& out) {
  if (!config.environment) return;
  if (config.environment->python) check_python(*config.environment->python, out);
  if (config.environment->container) check_container(*config.environment->container, out);
}

}  // namespace trainctl::spec
