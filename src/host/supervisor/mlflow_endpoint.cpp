// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/mlflow_endpoint.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/random.hpp"
#include "host/mlflow/api.hpp"
#include "host/supervisor/runner_log.hpp"

namespace trainctl::host {
namespace {

constexpr const char* kUri = "MLFLOW_TRACKING_URI";
constexpr int kBacklog = 128;
constexpr int kMaxStarts = 20;  ///< a server that crashes again and again is given up

/// Port and token lie beside the attempt, for a supervisor that adopts its ranks; they are never mirrored.
format::fs::path address_file(const format::AttemptPaths& attempt) {
  return attempt.root / "mlflow.json";
}

bool is_set(const char* name) {
  const char* value = ::getenv(name);
  return value != nullptr && *value != '\0';
}

/// A run that was started inside a run inherits the other one's endpoint, which is not its own.
bool is_of_another_run() {
  const char* run = ::getenv("MLFLOW_RUN_ID");
  const char* outer = ::getenv("TRAINCTL_RUN_ID");
  return run != nullptr && outer != nullptr && std::string_view(run) == outer;
}

bool has_own_server(const format::Plan& plan, const Prepared& prepared) {
  const auto is_uri = [](const auto& variable) { return variable.first == kUri; };
  return std::any_of(plan.variables.begin(), plan.variables.end(), is_uri) ||
         std::any_of(prepared.variables.begin(), prepared.variables.end(), is_uri) ||
         std::find(plan.secrets.begin(), plan.secrets.end(), kUri) != plan.secrets.end() ||
         (is_set(kUri) && !is_of_another_run());
}

std::string new_token() {
  std::array<char, 16> bytes{};
  base::fill_random(bytes.data(), bytes.size());
  return base::to_hex(std::string_view(bytes.data(), bytes.size()));
}

int port_of(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  return ntohs(address.sin_port);
}

/// Where a proxy is set, clients would ask it for 127.0.0.1 too.
void bypass_proxy(Prepared& prepared) {
  if (!is_set("http_proxy") && !is_set("HTTP_PROXY") && !is_set("all_proxy") && !is_set("ALL_PROXY")) return;
  for (const char* name : {"no_proxy", "NO_PROXY"}) {
    const std::string old = is_set(name) ? ::getenv(name) : "";
    prepared.variables.emplace_back(name, old.empty() ? "127.0.0.1" : old + ",127.0.0.1");
  }
}

}  // namespace

bool MlflowEndpoint::listen_on(int port) {
  socket_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  const int on = 1;
  if (port != 0) ::setsockopt(socket_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const bool fine = socket_ &&
                    ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
                    ::listen(socket_.get(), kBacklog) == 0;
  if (!fine) socket_.reset();
  return fine;
}

void MlflowEndpoint::describe(const format::Plan& plan, const format::AttemptPaths& attempt) {
  attempt_ = attempt;
  options_ = {};
  options_.run = plan.id;
  options_.name = plan.name;
  options_.experiment = plan.experiment.empty() ? "Default" : plan.experiment;
  options_.metrics_directory = attempt.metrics();
  options_.outputs = attempt.outputs();
  starts_ = 0;
}

void MlflowEndpoint::open(const format::Plan& plan, const format::AttemptPaths& attempt, Prepared& prepared) {
  close();
  if (has_own_server(plan, prepared)) return;
  if (plan.container && !is_in_host_network(*plan.container)) return;  // no client would reach it
  describe(plan, attempt);
  options_.token = new_token();
  if (!listen_on(0)) return;
  const int port = port_of(socket_.get());
  const Json address = {{"port", port}, {"token", options_.token}};
  if (!base::write_file_atomic(address_file(attempt), base::dump_json(address) + "\n")) return close();
  prepared.variables.emplace_back(kUri, "http://127.0.0.1:" + std::to_string(port));
  prepared.variables.emplace_back("MLFLOW_RUN_ID", plan.id);
  prepared.variables.emplace_back("MLFLOW_EXPERIMENT_ID", kExperimentId);
  prepared.variables.emplace_back("MLFLOW_TRACKING_TOKEN", options_.token);
  // The client's own 7 tries would hold a script up for minutes if our process were gone.
  if (!is_set("MLFLOW_HTTP_REQUEST_MAX_RETRIES"))
    prepared.variables.emplace_back("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3");
  bypass_proxy(prepared);
  await_client();
}

void MlflowEndpoint::reopen(const format::Plan& plan, const format::AttemptPaths& attempt) {
  close();
  const auto text = base::read_file_if_exists(address_file(attempt), 4096);
  if (!text || !*text) return;
  const auto address = base::parse_json(**text);
  if (!address || !address->is_object()) return;
  const auto port = address->find("port");
  const auto token = address->find("token");
  if (port == address->end() || !port->is_number_unsigned() || token == address->end() || !token->is_string()) return;
  describe(plan, attempt);
  options_.token = token->get<std::string>();
  if (listen_on(port->get<int>())) return await_client();
  RunnerLog(attempt).say("the MLflow endpoint of this run could not be opened again: its port is taken");
}

void MlflowEndpoint::await_client() {
  watched_ = true;
  reactor_.watch(socket_.get(), [this] { serve(); });
}

void MlflowEndpoint::serve() {
  reactor_.unwatch(socket_.get());
  watched_ = false;
  options_.listen_fd = socket_.get();
  const auto life = [this](int control) {
    const RunnerLog log(*attempt_);
    options_.control_fd = control;
    options_.warn = [&log](std::string_view text) { log.say(text); };
    return run_mlflow_server(options_) ? 0 : 1;
  };
  const auto ended = [this] {
    if (socket_ && ++starts_ < kMaxStarts) await_client();
  };
  if (!child_.start("trainctl-mlflow", life, {socket_.get()}, ended)) ended();
}

void MlflowEndpoint::close() {
  if (watched_) reactor_.unwatch(socket_.get());
  watched_ = false;
  socket_.reset();
}

void MlflowEndpoint::finish(std::uint64_t now) {
  close();
  child_.finish(now);
}

}  // namespace trainctl::host
