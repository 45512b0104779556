// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/mlflow_endpoint.hpp"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/container/engine.hpp"
#include "host/mlflow/address.hpp"
#include "host/mlflow/server.hpp"
#include "host/supervisor/launch.hpp"
#include "host/supervisor/runner_log.hpp"

namespace trainctl::host {
namespace {

constexpr int kMaxStarts = 20;  ///< a server that crashes again and again is given up

/// Port and token lie beside the attempt, for a supervisor that adopts its ranks; they are never mirrored.
format::fs::path address_file(const format::AttemptPaths& attempt) {
  return attempt.root / "mlflow.json";
}

bool is_set(const char* name) {
  return !base::get_env(name).value_or("").empty();
}

/// A run that was started inside a run inherits the other one's endpoint, which is not its own.
bool is_of_another_run() {
  const auto run = base::get_env("MLFLOW_RUN_ID");
  return run && run == base::get_env("TRAINCTL_RUN_ID");
}

bool has_own_server(const format::Plan& plan, const Prepared& prepared) {
  const auto is_uri = [](const auto& variable) { return variable.first == kMlflowUri; };
  return std::any_of(plan.variables.begin(), plan.variables.end(), is_uri) ||
         std::any_of(prepared.variables.begin(), prepared.variables.end(), is_uri) ||
         std::find(plan.secrets.begin(), plan.secrets.end(), kMlflowUri) != plan.secrets.end() ||
         (is_set(kMlflowUri) && !is_of_another_run());
}

/// What the script would see; "" for nothing. The marks in the values of the spec do not matter here.
std::string value_of(const std::string& name, const format::Plan& plan, const Prepared& prepared) {
  for (const auto& [key, value] : plan.variables) {
    if (key == name) return value;
  }
  for (const auto& [key, value] : prepared.variables) {
    if (key == name) return value.value_or("");
  }
  return base::get_env(name.c_str()).value_or("");
}

}  // namespace

void MlflowEndpoint::describe(const format::Plan& plan, const format::AttemptPaths& attempt) {
  attempt_ = attempt;
  options_ = {};
  options_.run = plan.id;
  options_.name = plan.name;
  options_.experiment = plan.experiment;
  options_.metrics_directory = attempt.metrics();
  options_.outputs = attempt.outputs();
  starts_ = 0;
}

void MlflowEndpoint::open(const format::Plan& plan, const format::AttemptPaths& attempt, Prepared& prepared) {
  close();
  if (!plan.metrics.takes("mlflow") || has_own_server(plan, prepared)) return;
  if (plan.container && !is_in_host_network(*plan.container)) return;  // it has its own: inside_endpoint.hpp
  describe(plan, attempt);
  options_.token = new_mlflow_token();
  socket_ = listen_on_loopback(0);
  if (!socket_) return;
  const int port = port_of(socket_.get());
  const Json address = {{"port", port}, {"token", options_.token}};
  if (!base::write_file_atomic(address_file(attempt), base::dump_json(address) + "\n")) return close();
  const auto look_up = [&](const std::string& name) { return value_of(name, plan, prepared); };
  prepared.endpoint = mlflow_variables({.port = port, .run = plan.id, .token = options_.token, .look_up = look_up});
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
  socket_ = listen_on_loopback(port->get<int>());
  if (socket_) return await_client();
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
