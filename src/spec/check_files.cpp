// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "spec/complaints.hpp"
#include "spec/layer.hpp"
#include "spec/run_configuration.hpp"
#include "spec/validate.hpp"
#include "trainctl/error.hpp"

namespace trainctl::spec {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxListed = 5000;

/// The nearest name of the same folder, else the only file of that name further down.
std::string nearest(const fs::path& missing) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry :
       fs::directory_iterator(missing.parent_path(), fs::directory_options::skip_permission_denied, error)) {
    if (names.size() >= kMaxListed) break;
    names.push_back(entry.path().filename().string());
  }
  const std::vector<std::string_view> views(names.begin(), names.end());
  return base::suggest(missing.filename().string(), views).value_or("");
}

std::string found_below(const fs::path& root, const fs::path& name) {
  std::error_code error;
  std::string found;
  std::size_t seen = 0;
  fs::recursive_directory_iterator it(root, fs::directory_options::skip_permission_denied, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    if (++seen > kMaxListed || it.depth() > 3) break;
    const std::string here = it->path().filename().string();
    if (here.starts_with('.') || here == "node_modules" || here == "__pycache__") it.disable_recursion_pending();
    if (here != name.filename().string()) continue;
    if (!found.empty()) return {};
    found = it->path().lexically_relative(root).string();
  }
  return found;
}

class Files {
 public:
  Files(fs::path base, const Origins& origins) : base_(std::move(base)), out_(origins) {}

  bool need(const fs::path& path, bool folder, const std::string& pointer, const std::string& field,
            const fs::path& root) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found || (error && status.type() == fs::file_type::none)) {
      missing(path, pointer, field, root);
      return false;
    }
    if (folder != fs::is_directory(status)) {
      out_.add(pointer, field, "\"" + shown(path, root) + "\" is " + (folder ? "not a folder" : "a folder"));
      return false;
    }
    return true;
  }

  bool need(const std::string& written, bool folder, const std::string& pointer, const std::string& field) {
    return need(local(written), folder, pointer, field, base_);
  }

  void need_any(const std::string& written, const std::string& pointer, const std::string& field) {
    std::error_code error;
    if (!fs::exists(fs::status(local(written), error))) missing(local(written), pointer, field, base_);
  }

  [[nodiscard]] fs::path local(const std::string& written) const { return (base_ / written).lexically_normal(); }
  Complaints& out() { return out_; }

 private:
  static std::string shown(const fs::path& path, const fs::path& root) {
    const fs::path relative = path.lexically_relative(root);
    return relative.empty() || *relative.begin() == ".." ? path.string() : relative.string();
  }

  void missing(const fs::path& path, const std::string& pointer, const std::string& field, const fs::path& root) {
    std::string message = "\"" + shown(path, root) + "\" is not there";
    std::string hint;
    if (const std::string near = nearest(path); !near.empty()) {
      message += ", did you mean \"" + shown(path.parent_path() / near, root) + "\"?";
    } else if (const std::string deeper = found_below(root, path.filename()); !deeper.empty()) {
      message += ", did you mean \"" + deeper + "\"?";
    } else {
      hint = "looked in " + path.parent_path().string();
    }
    out_.add(pointer, field, std::move(message), std::move(hint));
  }

  fs::path base_;
  Complaints out_;
};

/// A path on this machine, as opposed to host:/path, a URL, a reference or something in the home of another one.
bool is_local(const std::string& source) {
  if (source.empty() || source.find("${{") != std::string::npos || source.front() == '~') return false;
  const std::size_t colon = source.find(':');
  return colon == std::string::npos || colon > source.find('/');
}

void check_python(const PythonEnvironment& python, bool local_target, Files& files) {
  const std::string pointer = "/environment/python/";
  const std::string field = "environment.python.";
  if (python.requirements_file) {
    files.need(*python.requirements_file, false, pointer + "requirements_file", field + "requirements_file");
  }
  if (python.conda_file) files.need(*python.conda_file, false, pointer + "conda_file", field + "conda_file");
  if (python.project && files.need(*python.project, true, pointer + "project", field + "project")) {
    std::error_code error;
    if (!fs::exists(files.local(*python.project) / "pyproject.toml", error)) {
      files.out().add(pointer + "project", field + "project",
                      "there is no pyproject.toml in \"" + *python.project + "\"");
    }
  }
  if (!local_target) return;  // these are on the target
  if (python.venv && is_local(*python.venv)) files.need(*python.venv, true, pointer + "venv", field + "venv");
  if (python.interpreter && python.interpreter->find('/') != std::string::npos && is_local(*python.interpreter)) {
    files.need(*python.interpreter, false, pointer + "interpreter", field + "interpreter");
  }
}

void check_container(const ContainerEnvironment& container, Files& files) {
  if (!container.build) return;
  const std::string pointer = "/environment/container/build";
  const std::string field = "environment.container.build.";
  const ContainerBuild& build = *container.build;
  if (build.context) files.need(*build.context, true, pointer + "/context", field + "context");
  const std::string file = build.dockerfile.value_or((fs::path(build.context.value_or(".")) / "Dockerfile").string());
  files.need(file, false, build.dockerfile ? pointer + "/dockerfile" : pointer, field + "dockerfile");
}

}  // namespace

Errors check_files(const RunConfiguration& config, const fs::path& base_directory, const Origins& origins) {
  Files files(fs::absolute(base_directory).lexically_normal(), origins);
  const fs::path source = files.local(config.source_directory);
  const bool local_target = config.target == "local";
  if (files.need(config.source_directory, true, "/source_directory", "source_directory")) {
    if (config.working_directory != ".") {
      files.need((source / config.working_directory).lexically_normal(), true, "/working_directory",
                 "working_directory", source);
    }
    if (config.script && is_inside(*config.script)) {
      files.need((source / *config.script).lexically_normal(), false, "/script", "script", source);
    }
  }
  if (config.environment && config.environment->python) {
    check_python(*config.environment->python, local_target && !config.environment->container, files);
  }
  if (config.environment && config.environment->container) check_container(*config.environment->container, files);
  for (const Input& input : config.inputs) {
    if (!is_local(input.source)) continue;
    files.need_any(input.source, "/inputs/" + input.name + "/source", "inputs." + input.name);
  }
  for (std::size_t i = 0; i < config.secrets.size(); ++i) {
    const Secret& secret = config.secrets[i];
    const std::string number = std::to_string(i);
    if (secret.file && is_local(*secret.file)) {
      files.need(*secret.file, false, "/secrets/" + number + "/file", "secrets[" + number + "].file");
    }
  }
  return files.out().take();
}

}  // namespace trainctl::spec
