// SPDX-License-Identifier: Apache-2.0
#include "host/container/inside_endpoint.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "host/linux/process.hpp"
#include "host/mlflow/address.hpp"
#include "host/mlflow/server.hpp"
#include "host/supervisor/runner_log.hpp"

namespace trainctl::host {
namespace {

constexpr int kMaxStarts = 20;  ///< a server that crashes again and again is given up

std::string value_of(const std::vector<std::string>& environment, std::string_view name) {
  for (const std::string& entry : environment) {
    if (entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name))
      return entry.substr(name.size() + 1);
  }
  return {};
}

void set(std::vector<std::string>& environment, const std::string& name, const std::string& value) {
  std::erase_if(environment, [&](const std::string& entry) { return entry.starts_with(name + "="); });
  environment.push_back(name + "=" + value);
}

}  // namespace

Json to_json(const InsideMlflow& order) {
  return {{"run", order.run},     {"name", order.name}, {"experiment", order.experiment},
          {"token", order.token}, {"rank", order.rank}, {"attempt", order.attempt.string()}};
}

InsideMlflow inside_mlflow_from_json(const Json& json) {
  return {.run = json.value("run", ""),
          .name = json.value("name", ""),
          .experiment = json.value("experiment", ""),
          .token = json.value("token", ""),
          .rank = json.value("rank", 0),
          .attempt = json.value("attempt", "")};
}

void InsideEndpoint::open(const InsideMlflow& order, std::vector<std::string>& environment) {
  if (order.run.empty() || !value_of(environment, kMlflowUri).empty()) return;
  order_ = order;
  socket_ = listen_on_loopback(0);
  if (!socket_) return;
  const auto look_up = [&environment](const char* name) { return value_of(environment, name); };
  for (const auto& [name, value] :
       mlflow_variables({.port = port_of(socket_.get()), .run = order.run, .token = order.token, .look_up = look_up}))
    set(environment, name, value);
}

void InsideEndpoint::serve() {
  std::array<int, 2> control{};
  if (starts_++ >= kMaxStarts || ::pipe2(control.data(), O_CLOEXEC) != 0) return socket_.reset();
  const base::UniqueFd read_end(control[0]);
  control_.reset(control[1]);
  child_ = ::fork();
  if (child_ == 0) {
    control_.reset();  // else it would never see that we closed it
    answer(read_end.get());
  }
  child_ = std::max(child_, 0);
}

void InsideEndpoint::answer(int control) const {
  set_process_name("trainctl-mlflow");
  ::umask(077);
  const format::AttemptPaths attempt{order_.attempt};
  const RunnerLog log(attempt);
  const MlflowServerOptions options = {.listen_fd = socket_.get(),
                                       .control_fd = control,
                                       .token = order_.token,
                                       .run = order_.run,
                                       .name = order_.name,
                                       .experiment = order_.experiment,
                                       .rank = order_.rank,
                                       .metrics_directory = attempt.metrics(),
                                       .outputs = attempt.outputs(),
                                       .warn = [&log](std::string_view text) { log.say(text); }};
  ::_exit(run_mlflow_server(options) ? 0 : 1);
}

void InsideEndpoint::reaped(pid_t pid) {
  if (pid != child_) return;
  child_ = 0;
  control_.reset();
}

void InsideEndpoint::finish() {
  finishing_ = true;
  control_.reset();
}

}  // namespace trainctl::host
