// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/random.hpp"
#include "host/mlflow/api.hpp"
#include "host/mlflow/artifacts.hpp"
#include "host/mlflow/connection.hpp"
#include "host/mlflow/http.hpp"
#include "host/mlflow/recorder.hpp"
#include "host/mlflow/tracking.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kMaxConnections = 64;
constexpr std::uint64_t kIdleNs = 300'000'000'000;
constexpr std::string_view kArtifacts = "/api/2.0/mlflow-artifacts/artifacts";
constexpr std::string_view kList = "/api/2.0/mlflow/artifacts/list";

HttpReply to_reply(ApiAnswer answer) {
  return {.status = answer.status, .type = std::move(answer.type), .body = std::move(answer.body)};
}

std::string fresh_id() {
  char bytes[16];
  base::fill_random(bytes, sizeof bytes);
  return base::to_hex(std::string_view(bytes, sizeof bytes));
}

/// Requests for what is known and for files below the outputs.
class Handler final : public HttpHandler {
 public:
  explicit Handler(const MlflowServerOptions& options)
      : options_(options),
        recorder_({options.metrics_directory, options.rank},
                  Tracking(options.run, options.name, options.experiment.empty() ? "Default" : options.experiment,
                           base::wall_now().time_since_epoch().count() / 1000),
                  options.warn) {
    recorder_.recover();
  }

  std::optional<HttpReply> begin(const HttpHead& head, IncomingFile& upload) override {
    if (!equal_secrets(head.authorization, "Bearer " + options_.token))
      return to_reply(api_error(401, "UNAUTHENTICATED", "the token of this run (MLFLOW_TRACKING_TOKEN) is needed"));
    const auto path = percent_decode(head.path, false);
    if (!path) return to_reply(api_error(400, "BAD_REQUEST", "malformed path"));
    if (head.method != "PUT" || !path->starts_with(kArtifacts)) return std::nullopt;
    const auto target = artifact_path(recorder_.tracking(), std::string_view(*path).substr(kArtifacts.size()));
    if (target.empty() || target == ".") return to_reply(api_error(400, "INVALID_PARAMETER_VALUE", "no such place"));
    auto file = IncomingFile::create(options_.outputs, target);
    if (!file) return to_reply(api_error(400, "INVALID_PARAMETER_VALUE", file.error().message));
    upload = std::move(*file);
    return std::nullopt;
  }

  HttpReply finish(const HttpHead& head, std::string body, IncomingFile& upload) override {
    const ApiRequest request{.method = head.method,
                             .path = percent_decode(head.path, false).value_or(""),
                             .query = head.query,
                             .body = std::move(body)};
    if (upload.open()) return finish_upload(request, upload);
    if (std::string_view(request.path).starts_with(kArtifacts)) return artifacts(request);
    if (request.method == "GET" && request.path == kList) return list_run(request);
    ApiContext context{.now = base::wall_now(), .fresh_id = fresh_id()};
    context.history = [this](const std::string& name) { return recorder_.history(name); };
    ApiAnswer answer = answer_mlflow(recorder_.tracking(), request, context);
    recorder_.record(answer);
    return to_reply(std::move(answer));
  }

 private:
  HttpReply finish_upload(const ApiRequest& request, IncomingFile& upload) {
    const std::uint64_t size = upload.size();
    if (const auto done = upload.finish(); !done) {
      if (options_.warn && !std::exchange(said_, true))
        options_.warn("an artifact that MLflow logged cannot be kept: " + done.error().message);
      return to_reply(api_error(400, "INVALID_PARAMETER_VALUE", done.error().message));  // 5xx would be tried again
    }
    const auto name = artifact_path(recorder_.tracking(), std::string_view(request.path).substr(kArtifacts.size()));
    recorder_.record_file(name, size, base::wall_now());
    return {};
  }

  HttpReply artifacts(const ApiRequest& request) {
    const std::string_view below = std::string_view(request.path).substr(kArtifacts.size());
    if (request.method == "GET" && (below.empty() || below == "/")) {
      const auto path = request.query.find("path");
      const auto folder = artifact_path(recorder_.tracking(), path == request.query.end() ? "" : path->second);
      if (folder.empty() || !lies_below(options_.outputs, options_.outputs / folder))
        return to_reply({.body = R"({"files": []})"});
      return to_reply({.body = base::dump_json(list_artifacts(options_.outputs / folder, ""))});
    }
    const auto target = artifact_path(recorder_.tracking(), below);
    const std::filesystem::path file = options_.outputs / target;
    // What is removed is the link itself.
    if (target.empty() || !lies_below(options_.outputs, request.method == "DELETE" ? file.parent_path() : file))
      return to_reply(api_error(404, "RESOURCE_DOES_NOT_EXIST", "no such artifact"));
    if (request.method == "GET") return send_file(file);
    if (request.method != "DELETE") return to_reply(api_error(405, "BAD_REQUEST", "not allowed here"));
    if (target != ".") (void)base::remove_tree(file);
    return {};
  }

  static HttpReply send_file(const std::filesystem::path& path) {
    auto file = base::open_file(path, O_RDONLY | O_NONBLOCK);
    struct stat status{};
    if (!file || ::fstat(file->get(), &status) != 0 || !S_ISREG(status.st_mode))
      return to_reply(api_error(404, "RESOURCE_DOES_NOT_EXIST", "no such artifact"));
    HttpReply reply{.type = "application/octet-stream", .body = {}};
    reply.file = std::move(*file);
    reply.file_size = static_cast<std::uint64_t>(status.st_size);
    return reply;
  }

  HttpReply list_run(const ApiRequest& request) {
    const auto member = [&request](const char* name) {
      const auto found = request.query.find(name);
      return found == request.query.end() ? std::string() : found->second;
    };
    const std::string run = member("run_id").empty() ? member("run_uuid") : member("run_id");
    const std::string root = std::string(kExperimentId) + "/" + run + "/artifacts";
    const auto folder = artifact_path(recorder_.tracking(), root + "/" + member("path"));
    if (folder.empty() || !lies_below(options_.outputs, options_.outputs / folder))
      return to_reply(api_error(404, "RESOURCE_DOES_NOT_EXIST", "Run with id=" + run + " not found"));
    Json list = list_artifacts(options_.outputs / folder, member("path"));
    list["root_uri"] = "mlflow-artifacts:/" + root;
    return to_reply({.body = base::dump_json(list)});
  }

  const MlflowServerOptions& options_;
  Recorder recorder_;
  bool said_ = false;
};

class Server {
 public:
  explicit Server(const MlflowServerOptions& options) : options_(options), handler_(options) {}

  Result<> run() {
    while (true) {
      const bool stop = wait();
      const std::uint64_t now = base::mono_ns();
      accept_some(now);
      for (const auto& connection : connections_) connection->advance(handler_, now);
      std::erase_if(connections_, [now](const auto& connection) {
        return connection->closed() || (connection->idle() && now - connection->active_ns() > kIdleNs);
      });
      if (stop) return {};
    }
  }

 private:
  /// True when it is time to stop; what has come until then is still answered.
  bool wait() {
    fds_.clear();
    fds_.push_back({.fd = options_.control_fd, .events = POLLIN, .revents = 0});
    const bool room = connections_.size() < kMaxConnections;
    fds_.push_back({.fd = room ? options_.listen_fd : -1, .events = POLLIN, .revents = 0});
    for (const auto& connection : connections_) {
      const short events = connection->wants_write() ? POLLOUT : POLLIN;
      fds_.push_back({.fd = connection->fd(), .events = events, .revents = 0});
    }
    (void)::poll(fds_.data(), fds_.size(), 60'000);
    return fds_[0].revents != 0;
  }

  void accept_some(std::uint64_t now) {
    while (connections_.size() < kMaxConnections) {
      base::UniqueFd client(::accept4(options_.listen_fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!client) return;
      connections_.push_back(std::make_unique<HttpConnection>(std::move(client), now));
    }
  }

  const MlflowServerOptions& options_;
  Handler handler_;
  std::vector<std::unique_ptr<HttpConnection>> connections_ = {};
  std::vector<pollfd> fds_ = {};
};

}  // namespace

Result<> run_mlflow_server(const MlflowServerOptions& options) {
  return Server(options).run();
}

}  // namespace trainctl::host
