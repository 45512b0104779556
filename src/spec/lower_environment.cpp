// SPDX-License-Identifier: Apache-2.0
// An estimator's packages, files and image as the environment of a run configuration.
#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spec/estimator.hpp"
#include "spec/estimator_preset.hpp"
#include "spec/layer.hpp"
#include "spec/lower.hpp"
#include "spec/lower_parts.hpp"
#include "spec/release.hpp"

namespace trainctl::spec {
namespace {

constexpr const char* kPython = "/environment/python";
/// Fields of environment.python that say where its packages come from.
constexpr std::array kSources = {"interpreter",       "venv",       "packages", "conda_packages",
                                 "requirements_file", "conda_file", "project"};
constexpr std::array kOwnFields = {"pip_packages",          "conda_packages",
                                   "pip_requirements_file", "conda_dependencies_file",
                                   "user_managed",          "custom_docker_image"};

std::string pointer_to(std::string_view field) {
  return "/" + std::string(field);
}

std::string with_version(std::string package, const std::string& version) {
  const std::string mark = "{version}";
  const std::size_t at = package.find(mark);
  if (at != std::string::npos) package.replace(at, mark.size(), pinned_release(version));
  return package;
}

class EnvironmentLowering {
 public:
  EnvironmentLowering(LoweredRun& run, Facts& facts) : run_(run), facts_(facts) {}

  void lower() {
    docker();
    if (definition()) return forget_version();
    drop_settings();
    if (run_.estimator.user_managed) {
      user_managed();
      return forget_version();
    }
    if (in_image()) return forget_version();
    files();
    framework_packages();
    own_packages();
  }

 private:
  void complain(std::string_view field, std::string message, std::string hint) {
    run_.complaints.add(pointer_to(field), std::string(field), std::move(message), std::move(hint));
  }

  /// The preset's default version is not what will be installed.
  void forget_version() {
    if (!run_.wrote("/framework_version")) facts_.version = {};
  }

  [[nodiscard]] std::string source_of_python() const {
    for (const char* name : kSources) {
      if (run_.value(std::string(kPython) + "/" + name) != nullptr) return name;
    }
    return {};
  }

  /// environment_definition wins: then nothing of the estimator's own may stand beside it.
  bool definition() {
    const std::string source = source_of_python();
    const bool python = !source.empty() && !run_.from_settings(std::string(kPython) + "/" + source);
    const bool image = (run_.value("/environment/container/image") != nullptr ||
                        run_.value("/environment/container/build") != nullptr) &&
                       !run_.from_settings("/environment/container");
    if (!python && !image) return false;
    for (const char* field : kOwnFields) {
      if (!run_.wrote(pointer_to(field))) continue;
      complain(field, "\"" + std::string(field) + "\" and \"environment\" exclude each other",
               "the environment says everything: move it there, or remove \"environment\"");
    }
    if (run_.wrote("/framework_version")) {
      run_.notes.push_back("framework_version only chooses the checks here: the environment says what is installed");
    }
    return true;
  }

  /// A project's or user's default environment is not what an estimator of a framework means.
  void drop_settings() {
    const bool own = facts_.version.range != nullptr ||
                     std::any_of(kOwnFields.begin(), kOwnFields.end(),
                                 [&](const char* field) { return run_.wrote(pointer_to(field)); });
    if (!own) return;
    for (const char* name : kSources) {
      const std::string pointer = std::string(kPython) + "/" + name;
      if (run_.value(pointer) == nullptr) continue;
      run_.remove(pointer);
      const Origin* origin = find_origin(run_.written.origins, pointer);
      run_.notes.push_back(std::string("environment.python.") + name + " of " +
                           (origin != nullptr && origin->at ? origin->at->file : "the settings") +
                           " is left out: the estimator brings its own");
    }
  }

  void docker() {
    const Estimator& estimator = run_.estimator;
    const bool image = run_.value("/environment/container") != nullptr || estimator.custom_docker_image;
    if (estimator.custom_docker_image && run_.value("/environment/container/image") == nullptr) {
      run_.set("/environment/container/image", *estimator.custom_docker_image, "/custom_docker_image");
    }
    if (image && estimator.use_docker == false) {
      complain("use_docker", "\"use_docker\": false, but there is an image", "remove one of them");
    }
    if (!image && estimator.use_docker == true) {
      run_.notes.push_back("there is no image, so the run is not in a container: name one with custom_docker_image");
    }
    if (!estimator.shm_size) return;
    if (image) {
      run_.set("/environment/container/shm_size", *run_.value("/shm_size"), "/shm_size");
    } else {
      run_.notes.emplace_back("shm_size is left out: the run is not in a container");
    }
  }

  /// An image is taken as it is.
  bool in_image() {
    if (!run_.estimator.custom_docker_image && run_.value("/environment/container") == nullptr) return false;
    for (const char* field : {"pip_packages", "conda_packages", "pip_requirements_file", "conda_dependencies_file"}) {
      if (!run_.wrote(pointer_to(field))) continue;
      complain(field, "the image brings its own packages, so \"" + std::string(field) + "\" would do nothing",
               "install them in its Dockerfile: \"environment\": {\"container\": {\"build\": \"Dockerfile\"}}");
    }
    if (facts_.version.range != nullptr)
      run_.notes.push_back("the image brings its own packages: those of " + run_.title() + " are not installed");
    return true;
  }

  void user_managed() {
    for (const char* field : {"pip_packages", "conda_packages", "pip_requirements_file", "conda_dependencies_file"}) {
      if (!run_.wrote(pointer_to(field))) continue;
      complain(field, "\"user_managed\" installs nothing, so \"" + std::string(field) + "\" would do nothing",
               "remove one of them");
    }
    if (run_.wrote("/framework_version")) {
      run_.notes.push_back("framework_version only chooses the checks here: user_managed installs nothing");
    }
    if (run_.estimator.custom_docker_image) return;  // the image's own Python
    run_.set(std::string(kPython) + "/interpreter", "python3", "/user_managed");
  }

  void files() {
    const Estimator& estimator = run_.estimator;
    if (estimator.conda_dependencies_file && estimator.pip_requirements_file) {
      complain("pip_requirements_file", "\"conda_dependencies_file\" and \"pip_requirements_file\" exclude each other",
               "write \"- pip: [-r …]\" into the conda file, or keep one of them");
      return;
    }
    if (estimator.conda_dependencies_file) {
      run_.set(std::string(kPython) + "/conda_file", *estimator.conda_dependencies_file, "/conda_dependencies_file");
    }
    if (estimator.pip_requirements_file) {
      run_.set(std::string(kPython) + "/requirements_file", *estimator.pip_requirements_file, "/pip_requirements_file");
    }
  }

  /// What the preset installs, unless the person names the framework's own package.
  void framework_packages() {
    const PresetVersions* range = facts_.version.range;
    if (run_.preset() == nullptr) return;
    const auto named = named_packages();
    std::vector<std::string> packages;
    if (range != nullptr) {
      packages = range->packages;
      const auto& variant = facts_.gpu ? range->gpu : range->cpu;
      packages.insert(packages.end(), variant.begin(), variant.end());
    }
    const bool whole = own_framework(range, named);
    if (whole) packages.clear();
    for (const PresetDistribution& one : run_.preset()->distributions) {
      if (!facts_.style || facts_.style->name != one.name || run_.estimator.conda_dependencies_file) continue;
      packages.insert(packages.end(), one.packages.begin(), one.packages.end());
    }
    for (const std::string& package : packages) {
      if (named.contains(package_name(package))) continue;
      run_.append(std::string(kPython) + "/packages", with_version(package, facts_.version.asked),
                  version_origin(package));
    }
    if (whole) return forget_version();
    if (range != nullptr) range_settings(*range, named);
  }

  [[nodiscard]] std::string version_origin(const std::string& package) const {
    const bool versioned = package.find("{version}") != std::string::npos;
    return versioned && run_.wrote("/framework_version") ? "/framework_version" : std::string();
  }

  /// Python, build constraints, the build of PyTorch.
  void range_settings(const PresetVersions& range, const std::set<std::string, std::less<>>& named) {
    const std::string version = std::string(kPython) + "/version";
    if (range.python && run_.value(version) == nullptr && !named.contains("python"))
      run_.set(version, *range.python, "");
    for (const std::string& constraint : range.build_constraints) {
      run_.append(std::string(kPython) + "/build_constraints", constraint, "");
    }
    const auto& backend = facts_.gpu ? run_.preset()->torch_backend.gpu : run_.preset()->torch_backend.cpu;
    const std::string pointer = std::string(kPython) + "/torch_backend";
    if (backend && run_.value(pointer) == nullptr) run_.set(pointer, *backend, facts_.gpu ? "/use_gpu" : "");
  }

  [[nodiscard]] std::set<std::string, std::less<>> named_packages() const {
    std::set<std::string, std::less<>> named = run_.input.declared;
    for (const std::string& package : run_.estimator.pip_packages) named.insert(package_name(package));
    for (const std::string& package : run_.estimator.conda_packages) {
      named.insert(package_name(std::string_view(package).substr(package.rfind(':') + 1)));
    }
    named.erase("");
    return named;
  }

  /// Whether the framework itself is named by the person, so that the preset's packages stay away: they belong to the
  /// preset's version of it.
  bool own_framework(const PresetVersions* range, const std::set<std::string, std::less<>>& named) {
    if (run_.estimator.conda_dependencies_file) {
      run_.notes.push_back("the conda file says which packages there are; those of " + run_.title() + " are not added");
      if (run_.wrote("/framework_version")) {
        complain("framework_version", "\"conda_dependencies_file\" says which version of " + run_.title() + " there is",
                 "remove \"framework_version\"");
      }
      return true;
    }
    if (range == nullptr) return false;
    std::set<std::string, std::less<>> own;
    if (run_.preset()->package) own.insert(package_name(*run_.preset()->package));
    for (const auto* list : {&range->packages, &range->cpu, &range->gpu}) {
      for (const std::string& package : *list) {
        if (package.find("{version}") != std::string::npos) own.insert(package_name(package));
      }
    }
    for (const std::string& name : own) {
      if (!named.contains(name)) continue;
      if (run_.wrote("/framework_version")) {
        complain("framework_version",
                 "\"framework_version\" and your packages both say which " + name + " is installed",
                 "remove one of them");
      } else {
        run_.notes.push_back("your packages name " + name + " themselves; those of the estimator are left out");
      }
      return true;
    }
    return false;
  }

  void own_packages() {
    for (std::size_t i = 0; i < run_.estimator.pip_packages.size(); ++i) {
      run_.append(std::string(kPython) + "/packages", run_.estimator.pip_packages[i],
                  "/pip_packages/" + std::to_string(i));
    }
    for (std::size_t i = 0; i < run_.estimator.conda_packages.size(); ++i) {
      run_.append(std::string(kPython) + "/conda_packages", run_.estimator.conda_packages[i],
                  "/conda_packages/" + std::to_string(i));
    }
  }

  LoweredRun& run_;
  Facts& facts_;
};

}  // namespace

void lower_environment(LoweredRun& run, Facts& facts) {
  EnvironmentLowering(run, facts).lower();
}

}  // namespace trainctl::spec
