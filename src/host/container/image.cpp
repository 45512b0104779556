// SPDX-License-Identifier: Apache-2.0
#include "host/container/image.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/container/engine.hpp"
#include "host/environment/step.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::chrono::seconds kPatience{60};

/// The last lines a tool wrote, on one line.
std::string last_words(std::string_view text) {
  std::string told;
  for (const std::string& line : base::split(text, '\n')) {
    const std::string_view words = base::trim(line);
    if (words.empty()) continue;
    const bool error = base::to_lower(words).starts_with("error");
    if (error || told.empty() || !base::to_lower(told).starts_with("error")) told = words;
  }
  return told;
}

std::string machine() {
  utsname name{};
  if (::uname(&name) != 0) return {};
  const std::string_view hardware = name.machine;
  return hardware == "x86_64" ? "amd64" : hardware == "aarch64" ? "arm64" : std::string(hardware);
}

struct Inspected {
  std::string id;
  std::string digest;
};

/// Empty when the engine has no such image.
Result<std::optional<Inspected>> inspect(const ContainerEngine& engine, const std::string& name) {
  TRY_ASSIGN(const auto answer,
             base::run_command({.argv = {engine.path, "image", "inspect", name}, .deadline = kPatience}));
  if (answer.exit_code != 0) return std::nullopt;
  TRY_ASSIGN(const Json json, base::parse_json(answer.out));
  if (!json.is_array() || json.empty() || !json[0].is_object())
    return fail(Errc::cannot_start, engine.path + " says nothing about the image " + name);
  const Json& image = json[0];
  const std::string architecture = image.value("Architecture", "");
  if (!architecture.empty() && !machine().empty() && architecture != machine()) {
    return fail(Errc::cannot_start, "the image " + name + " is for " + architecture + ", this machine is " + machine());
  }
  Inspected found{.id = image.value("Id", ""), .digest = {}};
  if (!found.id.starts_with("sha256:")) found.id.insert(0, "sha256:");
  const auto digests = image.find("RepoDigests");
  if (digests != image.end() && digests->is_array() && !digests->empty() && (*digests)[0].is_string()) {
    const std::string first = (*digests)[0].get<std::string>();
    found.digest = first.substr(first.find('@') + 1);
  }
  return found;
}

/// A login for this one pull, in a file only we can read: on a command line everybody could.
class Login {
 public:
  static Result<Login> make(const format::PlanContainer& container, const ImageOptions& options) {
    Login login;
    if (container.registry_user.empty()) return login;
    login.folder_ = options.scratch / (".login-" + base::new_ulid());
    TRY(base::make_directories(login.folder_));
    const Json file = {
        {"auths", {{container.registry, {{"auth", base::base64(container.registry_user + ":" + options.password)}}}}}};
    TRY(base::write_file_atomic(login.folder_ / "config.json", base::dump_json(file)));
    return login;
  }
  Login() = default;
  Login(Login&& other) noexcept : folder_(std::exchange(other.folder_, {})) {}
  Login& operator=(Login&&) = delete;
  ~Login() {
    if (!folder_.empty()) (void)base::remove_tree(folder_);
  }

  [[nodiscard]] std::vector<std::pair<std::string, std::string>> variables() const {
    if (folder_.empty()) return {};
    return {{"DOCKER_CONFIG", folder_.string()}, {"REGISTRY_AUTH_FILE", (folder_ / "config.json").string()}};
  }

 private:
  std::filesystem::path folder_;
};

Result<> pull(const ContainerEngine& engine, const format::PlanContainer& container, const ImageOptions& options) {
  TRY_ASSIGN(const Login login, Login::make(container, options));
  TRY_ASSIGN(const auto pulled, run_step({.argv = {engine.path, "pull", container.image},
                                          .variables = login.variables(),
                                          .log_fd = options.log_fd}));
  if (pulled.exit_code == 0) return {};
  return fail(
      Errc::cannot_start,
      "the image " + container.image + " is not on this machine and cannot be pulled: " + last_words(pulled.tail),
      "build it, correct environment.container.image, or log in to its registry");
}

/// The id of the image. Its tag only keeps it from being pruned: another run may build something else under it
/// meanwhile.
Result<std::string> build(const ContainerEngine& engine, const format::PlanContainer& container,
                          const ImageOptions& options) {
  const std::string tag =
      "trainctl-build:" + base::sha256_hex(container.dockerfile + "\n" + container.context).substr(0, 12);
  TRY(base::make_directories(options.scratch));
  const std::filesystem::path id_file = options.scratch / (".image-" + base::new_ulid());
  TRY_ASSIGN(const auto built, run_step({.argv = {engine.path, "build", "--tag", tag, "--iidfile", id_file, "--file",
                                                  container.dockerfile, container.context},
                                         .log_fd = options.log_fd}));
  const auto id = base::read_file(id_file, 4096);
  ::unlink(id_file.c_str());
  if (built.exit_code != 0) {
    return fail(Errc::cannot_start,
                "the image of " + container.dockerfile + " cannot be built: " + last_words(built.tail),
                "trainctl logs shows what the engine said");
  }
  if (!id) return fail(Errc::cannot_start, engine.path + " does not say what it built", id.error().message);
  return std::string(base::trim(*id));
}

}  // namespace

Result<ContainerImage> ensure_image(const format::PlanContainer& container, const ImageOptions& options) {
  ContainerImage image{.engine = {}, .name = container.image, .id = {}, .digest = {}};
  TRY_ASSIGN(image.engine, find_engine(container.engine));
  std::string wanted = container.image;
  if (wanted.empty()) {
    image.name = container.dockerfile;
    TRY_ASSIGN(wanted, build(image.engine, container, options));
  }
  TRY_ASSIGN(auto found, inspect(image.engine, wanted));
  if (!found && !container.image.empty()) {
    TRY(pull(image.engine, container, options));
    TRY_ASSIGN(found, inspect(image.engine, wanted));
  }
  if (!found) return fail(Errc::cannot_start, "the image " + image.name + " is not there");
  image.id = found->id;
  if (!container.image.empty()) image.digest = found->digest;
  return image;
}

Json to_json(const ContainerImage& image) {
  return {{"engine", image.engine.kind == EngineKind::docker ? "docker" : "podman"},
          {"program", image.engine.path},
          {"image", image.name},
          {"id", image.id},
          {"digest", image.digest.empty() ? Json(nullptr) : Json(image.digest)}};
}

Result<ContainerImage> container_image_from_json(const Json& json) {
  const auto text = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (!json.is_object() || text("program").empty() || text("id").empty())
    return fail(Errc::internal, "the record of the container image is damaged");
  return ContainerImage{
      .engine = {text("engine") == "docker" ? EngineKind::docker : EngineKind::podman, text("program")},
      .name = text("image"),
      .id = text("id"),
      .digest = text("digest")};
}

std::optional<ContainerImage> recorded_image(const format::AttemptPaths& attempt) {
  const auto events = format::read_lines(attempt.events());
  if (!events) return std::nullopt;
  for (const Json& line : *events) {
    if (line.value("type", "") != "container") continue;
    if (auto image = container_image_from_json(line)) return *image;
  }
  return std::nullopt;
}

}  // namespace trainctl::host
