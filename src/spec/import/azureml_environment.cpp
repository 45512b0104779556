// SPDX-License-Identifier: Apache-2.0
// environment (python, docker) and the run's docker section.
#include <filesystem>
#include <string>

#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/import/import.hpp"
#include "spec/import/parts.hpp"
#include "spec/import/report.hpp"

namespace trainctl::spec::import {
namespace {

class EnvironmentSection {
 public:
  EnvironmentSection(const Request& request, Report& report, Imported& made)
      : request_(request),
        report_(report),
        made_(made),
        environment_(report.root().get("environment")),
        docker_(environment_.get("docker")),
        run_docker_(report.root().get("docker")) {}

  void read() {
    const bool inside = container();
    python(inside);
    Json environment = Json::object();
    if (!python_.empty()) environment["python"] = python_;
    if (!container_.empty()) environment["container"] = container_;
    if (!environment.empty()) made_.configuration["environment"] = environment;
  }

 private:
  void unused(const Value& file, const Value& inline_conda, const char* why) {
    for (const Value& value : {file, inline_conda}) {
      if (value.is_set()) report_.dropped(value, why);
    }
  }

  /// The interpreter that is there.
  void user_managed(const Value& managed, const Value& interpreter, bool inside) {
    const std::string path = interpreter.text().empty() ? "python" : interpreter.text();
    report_.mapped(managed, "environment.python.interpreter");
    if (path != "python" || !inside) python_["interpreter"] = path == "python" ? "python3" : path;
    if (path != "python") return report_.mapped(interpreter, "environment.python.interpreter");
    report_.unset(interpreter);
  }

  void python(bool inside) {
    const Value python = environment_.get("python");
    const Value interpreter = python.get("interpreterPath");
    const Value managed = python.get("userManagedDependencies");
    const Value file = python.get("condaDependenciesFile");
    const Value inline_conda = python.get("condaDependencies");
    if (managed.truth()) {
      user_managed(managed, interpreter, inside);
      return unused(file, inline_conda, "userManagedDependencies: nothing is installed");
    }
    report_.unset(managed);
    if (interpreter.is_set() && interpreter.text() != "python") {
      report_.dropped(interpreter, "the environment's own Python is used; userManagedDependencies would take this one");
    } else {
      report_.unset(interpreter);
    }
    if (inside) return unused(file, inline_conda, "the image brings its packages: install them in its Dockerfile");
    if (file.is_set()) {
      python_["conda_file"] = result_path(request_, file.text());
      report_.mapped(file, "environment.python.conda_file");
      if (inline_conda.is_set()) report_.dropped(inline_conda, "condaDependenciesFile says which packages there are");
      return;
    }
    if (!inline_conda.is_set()) return;
    conda_document(inline_conda, python_, report_);
  }

  [[nodiscard]] bool enabled() const { return docker_.get("enabled").truth() || run_docker_.get("useDocker").truth(); }

  /// True when the run is in a container.
  bool container() {
    for (const Value& flag : {docker_.get("enabled"), run_docker_.get("useDocker")}) report_.unset(flag);
    const Value image = docker_.get("baseImage");
    const Value file = docker_.get("baseDockerfile");
    const Value context = docker_.get("buildContext");
    const bool managed = environment_.at("python.userManagedDependencies").truth();
    if (!enabled()) {
      for (const Value& unused : {image, file, context}) {
        if (!unused.is_set()) continue;
        is_azureml_image(unused.text()) ? report_.unset(unused) : report_.dropped(unused, "Docker is not enabled");
      }
      settings(false);
      return false;
    }
    if (context.is_set())
      build_context(context);
    else if (file.is_set())
      dockerfile(file);
    else if (image.is_set() && (managed || !is_azureml_image(image.text())))
      plain_image(image);
    else if (image.is_set())
      report_.dropped(image, "Azure's own image is not needed: the packages are installed here");
    settings(!container_.empty());
    return !container_.empty();
  }

  void plain_image(const Value& image) {
    container_["image"] = image.text();
    const bool latest = image.text().find(':') == std::string::npos && image.text().find('@') == std::string::npos;
    if (latest) return report_.changed(image, "environment.container.image", "without a tag this is \"latest\"");
    report_.mapped(image, "environment.container.image");
  }

  void dockerfile(const Value& file) {
    const std::string text = file.text();
    const bool inside = text.find('\n') != std::string::npos || base::to_upper(text).starts_with("FROM ");
    if (!inside) {
      container_["build"] = {{"dockerfile", result_path(request_, text)}};
      return report_.mapped(file, "environment.container.build.dockerfile");
    }
    const std::string name = request_.file.stem().string() + ".Dockerfile";
    container_["build"] = {{"dockerfile", name}};
    made_.files.push_back({name, text.ends_with('\n') ? text : text + "\n"});
    report_.changed(file, "environment.container.build.dockerfile", "becomes the file " + name);
  }

  void build_context(const Value& context) {
    const std::string location = context.get("location").text();
    if (!is_local_path(location)) {
      return report_.dropped(context, "the build context is not on this machine: write container.build.context");
    }
    const std::string name = context.get("dockerfilePath").text();
    const std::filesystem::path folder(location);
    container_["build"] = {{"context", result_path(request_, folder)},
                           {"dockerfile", result_path(request_, folder / (name.empty() ? "Dockerfile" : name))}};
    report_.mapped(context, "environment.container.build");
  }

  void settings(bool inside) {
    for (const Value& section : {docker_, run_docker_}) {
      const Value shm = section.get("shmSize");
      const Value arguments = section.get("arguments");
      if (shm.is_set() && inside) {
        container_["shm_size"] = shm.text();
        report_.mapped(shm, "environment.container.shm_size");
      } else if (shm.is_set() && shm.text() != "2g") {
        report_.dropped(shm, "the run is not in a container");
      } else {
        report_.unset(shm);
      }
      if (!arguments.is_set()) continue;
      if (inside) {
        for (const Value& word : arguments.items()) container_["arguments"].push_back(report_.text_of(word));
        report_.mapped(arguments, "environment.container.arguments");
      } else {
        report_.dropped(arguments, "the run is not in a container");
      }
    }
    registry(inside);
  }

  void registry(bool inside) {
    const Value registry = docker_.get("baseImageRegistry");
    const std::string address = registry.get("address").text();
    if (address.empty()) return report_.taken(registry);
    if (!inside || !container_.contains("image")) return report_.dropped(registry, "no image is taken from it");
    const std::string image = container_["image"].get<std::string>();
    if (!image.starts_with(address + "/")) container_["image"] = address + "/" + image;
    const std::string user = registry.get("username").text();
    if (user.empty()) return report_.mapped(registry, "environment.container.image");
    container_["registry"] = {{"address", address}, {"username", user}, {"password_secret", "REGISTRY_PASSWORD"}};
    made_.configuration["secrets"] = Json::array({"REGISTRY_PASSWORD"});
    report_.changed(registry, "environment.container.registry",
                    "the password is not taken over: export REGISTRY_PASSWORD before you submit");
  }

  const Request& request_;
  Report& report_;
  Imported& made_;
  Value environment_;
  Value docker_;
  Value run_docker_;
  Json python_ = Json::object();
  Json container_ = Json::object();
};

}  // namespace

void azureml_environment(const Request& request, Report& report, Imported& made) {
  EnvironmentSection(request, report, made).read();
}

}  // namespace trainctl::spec::import
