// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "host/environment/build_lock.hpp"
#include "host/environment/environment.hpp"
#include "host/environment/interpreter.hpp"
#include "host/environment/places.hpp"
#include "host/environment/request.hpp"
#include "host/environment/setup_lines.hpp"
#include "host/environment/tools.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace fs = std::filesystem;

namespace {

using Variables = std::vector<std::pair<std::string, std::optional<std::string>>>;

bool is_built_kind(EnvironmentKind kind) {
  return kind == EnvironmentKind::packages || kind == EnvironmentKind::conda || kind == EnvironmentKind::project;
}

Variables applied(const std::vector<VariableChange>& changes, const std::string& path) {
  Variables variables;
  for (const VariableChange& change : changes) {
    const auto current = change.name == "PATH" ? std::optional(path) : base::get_env(change.name.c_str());
    variables.emplace_back(change.name, apply_change(change, current));
  }
  return variables;
}

std::string path_of(const Variables& variables, const std::string& otherwise) {
  for (const auto& [name, value] : variables) {
    if (name == "PATH" && value) return *value;
  }
  return otherwise;
}

// The folder of an active venv's python stands for the Python it was made from: an environment is never built on a
// venv.
std::string without_venvs(const std::string& path) {
  std::vector<std::string> folders = base::split(path, ':');
  for (std::string& folder : folders) {
    const auto config = base::read_file_if_exists(fs::path(folder).parent_path() / "pyvenv.cfg", 65536);
    if (!config || !*config) continue;
    for (const std::string& line : base::split(**config, '\n')) {
      const std::size_t equals = line.find('=');
      if (equals != std::string::npos && base::trim(std::string_view(line).substr(0, equals)) == "home") {
        folder = base::trim(std::string_view(line).substr(equals + 1));
      }
    }
  }
  return base::join(folders, ":");
}

// What the environment key covers besides the exact packages.
std::string key_text(const EnvironmentRequest& request, const std::string& lock) {
  Json extra = Json::object();
  if (!request.torch_backend.empty()) extra["torch_backend"] = request.torch_backend;
  if (!request.build_constraints.empty()) extra["build_constraints"] = request.build_constraints;
  if (!request.setup.empty()) extra["setup"] = request.setup;
  extra["kind"] = to_string(request.kind);
  return lock + "\n" + base::dump_json(extra);
}

// A project's lock is its own uv.lock and what of it is chosen.
std::string project_lock(const EnvironmentRequest& request) {
  std::string text =
      "# groups: " + base::join(request.groups, " ") + "\n# extras: " + base::join(request.extras, " ") + "\n";
  for (const std::string& line : base::split(request.pyproject, '\n')) {
    if (base::trim(line).starts_with("default-groups")) text += "# " + line + "\n";
  }
  return text + request.uv_lock;
}

EnsureOptions with_absolute_root(EnsureOptions options) {
  options.root = fs::absolute(options.root).lexically_normal();
  return options;
}

class Ensurer {
 public:
  Ensurer(const EnvironmentRequest& request, const EnsureOptions& options)
      : request_(request),
        options_(with_absolute_root(options)),
        places_{options_.root},
        platform_(Platform::current()),
        context_{.request = request_,
                 .options = options_,
                 .surroundings = {},
                 .setup = {},
                 .python = {},
                 .work = {},
                 .lock_mark = {},
                 .tool = {}} {
    context_.surroundings = options.surroundings ? *options.surroundings : Surroundings::of_process();
    if (context_.surroundings.cache.empty()) context_.surroundings.cache = options_.root;
    request_key_ = request_key(request, platform_);
  }

  Result<BuiltEnvironment> ensure() {
    TRY(prepare(true));
    if (!is_built_kind(request_.kind)) return ready_made();
    if (!options_.upgrade) {
      if (auto found = complete()) return *std::move(found);
    }
    TRY(make_root());
    TRY(lock());
    if (auto found = complete()) return *std::move(found);
    return build();
  }

  Result<std::string> lock_only() {
    if (!is_built_kind(request_.kind)) return fail(Errc::invalid, "there is nothing to lock: the Python is given");
    TRY(make_root());
    TRY(prepare(true));
    TRY(lock());
    return *lock_;
  }

  CacheState cached() {
    CacheState state;
    if (!prepare(false)) return state;
    if (!is_built_kind(request_.kind))
      return {.locked = true, .built = true, .key = base::sha256_hex(context_.python.build)};
    if (!read_lock()) return state;
    state.locked = true;
    state.key = key();
    state.built = base::exists(places_.record(state.key));
    return state;
  }

 private:
  // Setup lines, then the Python: `module load python/3.12` may bring it.
  Result<> prepare(bool may_run) {
    if (!request_.setup.empty()) {
      auto known = options_.upgrade ? std::nullopt : cached_setup(request_.setup, options_.root);
      if (!known && !may_run) return fail(Errc::not_found, "the setup lines have not been run");
      if (!known) {
        TRY(make_root());
        TRY_ASSIGN(auto changes, setup_changes(request_.setup, options_));
        known = std::move(changes);
      }
      context_.setup = applied(*known, context_.surroundings.path);
      context_.surroundings.path = path_of(context_.setup, context_.surroundings.path);
    }
    return find_interpreter();
  }

  /// The path of the request, which may come from another machine: below our home, or a program on our PATH.
  [[nodiscard]] fs::path place_here(const Surroundings& around) const {
    if (request_.path.starts_with("~/")) return around.home + request_.path.substr(1);
    if (request_.path.find('/') != std::string::npos) return request_.path;
    return base::find_program(request_.path, around.path).value_or(request_.path);
  }

  Result<> find_interpreter() {
    Surroundings around = context_.surroundings;
    switch (request_.kind) {
      case EnvironmentKind::conda:
        return {};
      case EnvironmentKind::system: {
        TRY_ASSIGN(context_.python, default_python(around, options_.directory));
        return {};
      }
      case EnvironmentKind::interpreter: {
        TRY_ASSIGN(context_.python, inspect_python(place_here(around), around));
        return {};
      }
      case EnvironmentKind::venv: {
        TRY_ASSIGN(context_.python, venv_python(place_here(around)));
        return {};
      }
      default:
        around.path = without_venvs(around.path);
        TRY_ASSIGN(context_.python, find_python(request_.python, around, options_.directory));
        return {};
    }
  }

  Result<> make_root() {
    for (const char* folder : {"", "locks", ".flock", ".work"}) {
      auto made = base::make_directories(folder[0] == 0 ? options_.root : options_.root / folder);
      if (made) continue;
      Error error = std::move(made).error();
      error.hint = "environments are kept there; TRAINCTL_HOME chooses another place";
      return fail(std::move(error).with_context("preparing " + options_.root.string()));
    }
    return {};
  }

  [[nodiscard]] std::string minor() const {
    const auto& parts = context_.python.version.parts;
    return parts.size() < 2 ? "any" : std::to_string(parts[0]) + "." + std::to_string(parts[1]);
  }

  [[nodiscard]] std::string key() const {
    return environment_key(key_text(request_, *lock_), context_.python.build, platform_);
  }

  // The lock without resolving anything, when there is one.
  bool read_lock() {
    if (request_.kind == EnvironmentKind::conda) lock_ = request_.conda;
    if (request_.kind == EnvironmentKind::project) lock_ = project_lock(request_);
    if (request_.kind == EnvironmentKind::packages && !lock_) {
      auto text = base::read_file_if_exists(places_.lock(request_key_, minor()));
      if (text && *text) lock_ = **text;
    }
    return lock_.has_value();
  }

  Result<> lock() {
    if (!options_.upgrade && read_lock()) return {};
    if (request_.kind != EnvironmentKind::packages) {
      read_lock();
      return {};
    }
    TRY_ASSIGN(const auto held,
               acquire_build_lock(places_.build_lock(request_key_), short_key(request_key_), options_));
    if (!options_.upgrade && read_lock()) return {};
    TRY(begin_work(request_key_, held.fd()));
    auto resolved = resolve_packages(context_);
    (void)base::remove_tree(context_.work);
    TRY_ASSIGN(lock_, std::move(resolved));
    return base::write_file_durable(places_.lock(request_key_, minor()), *lock_);
  }

  Result<> begin_work(const std::string& name, int lock_fd) {
    context_.work = places_.work(name);
    context_.lock_fd = lock_fd;
    context_.lock_mark = build_lock_mark(places_.build_lock(name));
    TRY(base::remove_tree(context_.work));  // of a killed builder
    return base::make_directories(context_.work);
  }

  Result<BuiltEnvironment> build() {
    const std::string name = key();
    TRY_ASSIGN(const auto held, acquire_build_lock(places_.build_lock(name), short_key(name), options_));
    if (auto found = complete()) return *std::move(found);
    const std::uint64_t start = base::mono_ns();
    const fs::path folder = places_.environment(name);
    TRY(base::remove_tree(folder));  // unfinished: its builder was killed
    TRY(begin_work(name, held.fd()));
    report(options_, "building the environment " + short_key(name) +
                         (context_.python.path.empty() ? ""
                                                       : " with python " + context_.python.version.text() + " (" +
                                                             context_.python.path.string() + ")"));
    auto done = build_into(folder);
    (void)base::remove_tree(context_.work);
    const std::uint64_t took = (base::mono_ns() - start) / 1'000'000;
    if (done) done = write_record(name, took);
    if (!done) {
      (void)base::remove_tree(folder);
      return fail(std::move(done).error());
    }
    report(options_, "the environment " + short_key(name) + " is ready after " +
                         base::format_duration(std::chrono::milliseconds(took)));
    auto found = complete();
    if (!found) return fail(Errc::internal, "the environment " + name + " was built but cannot be read");
    found->built = true;
    return *std::move(found);
  }

  Result<> build_into(const fs::path& folder) {
    if (request_.kind == EnvironmentKind::conda) return build_conda(context_, folder);
    if (request_.kind == EnvironmentKind::project) return build_project(context_, folder);
    return build_packages(context_, *lock_, folder);
  }

  static std::uint64_t tree_bytes(const fs::path& folder) {
    std::uint64_t bytes = 0;
    std::error_code error;
    for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      struct stat info{};
      if (::lstat(it->path().c_str(), &info) == 0) bytes += static_cast<std::uint64_t>(info.st_size);
    }
    return bytes;
  }

  // The last thing written: with it the environment is complete. Everything else reaches the disk first.
  Result<> write_record(const std::string& name, std::uint64_t took_ms) {
    const fs::path folder = places_.environment(name);
    std::string version = context_.python.version.text();
    std::vector<std::string> site = {(folder / "lib" / ("python" + minor()) / "site-packages").string()};
    if (request_.kind == EnvironmentKind::conda) site = conda_site(folder, version);
    const std::string freeze = installed_packages(site);
    Json record = Json::object();
    record["format"] = 1;
    record["key"] = name;
    record["created"] = base::format_utc(base::wall_now());
    record["kind"] = to_string(request_.kind);
    record["tool"] = context_.tool;
    record["python"] =
        Json{{"version", version}, {"path", context_.python.path.string()}, {"build", context_.python.build}};
    record["platform"] = platform_.system + "-" + platform_.machine;
    record["request_key"] = request_key_;
    record["lock_digest"] = base::sha256_hex(*lock_);
    record["packages"] = static_cast<std::uint64_t>(std::count(freeze.begin(), freeze.end(), '\n'));
    record["bytes"] = tree_bytes(folder);
    record["build_ms"] = took_ms;
    record["request"] = to_json(request_);
    record["freeze"] = freeze;
    TRY(base::write_file_atomic(folder / "requirements.lock", *lock_));
    TRY_ASSIGN(const auto fd, base::open_file(folder, O_RDONLY | O_DIRECTORY));
    if (::syncfs(fd.get()) != 0) return fail_errno("write " + folder.string() + " to the disk", errno);
    return base::write_file_durable(places_.record(name), base::pretty_json(record));
  }

  static std::vector<std::string> conda_site(const fs::path& folder, std::string& version) {
    const auto names = base::list_directory(folder / "lib");
    std::vector<std::string> site;
    for (const std::string& entry : names ? *names : std::vector<std::string>{}) {
      if (!entry.starts_with("python3.") || !base::exists(folder / "lib" / entry / "site-packages")) continue;
      version = entry.substr(6);
      site.push_back((folder / "lib" / entry / "site-packages").string());
    }
    return site;
  }

  // The environment if it is there, whole; marks it as used.
  std::optional<BuiltEnvironment> complete() {
    if (!read_lock()) return std::nullopt;
    const std::string name = key();
    const fs::path folder = places_.environment(name);
    const auto text = base::read_file_if_exists(places_.record(name), base::kMaxJsonBytes);
    if (!text || !*text || ::access((folder / "bin/python").c_str(), X_OK) != 0) return std::nullopt;
    const auto record = base::parse_json(**text);
    if (!record || !record->is_object() || record->value("format", 0) != 1) return std::nullopt;
    (void)::utimensat(AT_FDCWD, places_.record(name).c_str(), nullptr, 0);  // last used; a read-only root is fine
    BuiltEnvironment built;
    built.python = folder / "bin/python";
    built.root = folder;
    built.key = name;
    built.lock_digest = record->value("lock_digest", "");
    built.version = (*record)["python"].value("version", "");
    built.tool = record->value("tool", "");
    built.freeze = record->value("freeze", "");
    set_variables(built, request_.kind == EnvironmentKind::conda ? "CONDA_PREFIX" : "VIRTUAL_ENV");
    return built;
  }

  Result<BuiltEnvironment> ready_made() {
    BuiltEnvironment found;
    found.python = context_.python.path;
    found.key = base::sha256_hex(context_.python.build);
    found.version = context_.python.version.text();
    found.freeze = installed_packages(context_.python.site);
    const fs::path prefix = found.python.parent_path().parent_path();
    if (base::exists(prefix / "pyvenv.cfg")) found.root = prefix;
    set_variables(found, found.root.empty() ? "" : "VIRTUAL_ENV");
    return found;
  }

  void set_variables(BuiltEnvironment& built, const std::string& prefix_name) {
    std::map<std::string, std::optional<std::string>> all(context_.setup.begin(), context_.setup.end());
    const fs::path bin = built.python.parent_path();
    const std::string& path = context_.surroundings.path;
    if (bin != "/usr/bin" && bin != "/bin" && !path.starts_with(bin.string() + ":")) {
      all["PATH"] = path.empty() ? bin.string() : bin.string() + ":" + path;
    }
    if (!prefix_name.empty()) all[prefix_name] = built.root.string();
    if (prefix_name != "VIRTUAL_ENV" && base::get_env("VIRTUAL_ENV")) all["VIRTUAL_ENV"] = std::nullopt;
    if (base::get_env("PYTHONHOME")) all["PYTHONHOME"] = std::nullopt;
    for (const auto& [name, value] : request_.variables) all[name] = value;
    built.variables.assign(all.begin(), all.end());
  }

  const EnvironmentRequest& request_;
  EnsureOptions options_;
  Places places_;
  Platform platform_;
  BuildContext context_;
  std::string request_key_;
  std::optional<std::string> lock_;
};

}  // namespace

Result<BuiltEnvironment> ensure(const EnvironmentRequest& request, const EnsureOptions& options) {
  return Ensurer(request, options).ensure();
}

Result<std::string> lock_environment(const EnvironmentRequest& request, const EnsureOptions& options) {
  return Ensurer(request, options).lock_only();
}

CacheState cached(const EnvironmentRequest& request, const fs::path& root) {
  EnsureOptions options;
  options.root = root;
  return Ensurer(request, options).cached();
}

}  // namespace trainctl::host
