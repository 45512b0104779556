// SPDX-License-Identifier: Apache-2.0
#include "target/host/host_target.hpp"

#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/file.hpp"
#include "format/paths.hpp"
#include "target/host/collect.hpp"
#include "target/host/host_launch.hpp"
#include "target/host/host_watch.hpp"
#include "target/host/upload.hpp"

namespace trainctl::target {

Result<Json> launch_request(const RunRef& ref) {
  const format::RunPaths run{ref.folder};
  TRY_ASSIGN(const std::string text, base::read_file(run.plan(), base::kMaxJsonBytes));
  TRY_ASSIGN(Json plan, base::parse_json(text));
  Json request = {{"op", "launch"}, {"plan", std::move(plan)}};
  TRY_ASSIGN(const auto secrets,
             base::read_file_if_exists(format::StorePaths{run.store()}.secrets(ref.run), base::kMaxJsonBytes));
  if (secrets) {
    TRY_ASSIGN(request["secrets"], base::parse_json(*secrets));
  }
  return request;
}

Result<> forget_secrets(const RunRef& ref) {
  const auto path = format::StorePaths{format::RunPaths{ref.folder}.store()}.secrets(ref.run);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail_errno("remove " + path.string(), errno);
  return {};
}

Capabilities HostTarget::capabilities() const {
  return {.log_fidelity = LogFidelity::byte_exact,
          .in_place = false,
          .reattach = true,
          .multi_node = false,
          .gpus = true,
          .takes_files = true};
}

Handle HostTarget::handle() const {
  return {{"target", name_}};
}

Result<Json> HostTarget::probe(const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  return client->request({{"op", "probe"}}, cancel);
}

Result<Handle> HostTarget::launch(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const Json request, launch_request(ref));
  TRY_ASSIGN(const auto client, link_->client(cancel));
  TRY(send_files(*client, ref, cancel));
  TRY(client->request(request, cancel));
  TRY(forget_secrets(ref));
  return handle();
}

Result<> HostTarget::adopt(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  TRY(client->request({{"op", "adopt"}, {"runs", {ref.run}}}, cancel));
  return {};
}

Result<std::optional<Handle>> HostTarget::find(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  TRY_ASSIGN(const Json found, client->request({{"op", "find"}, {"run", ref.run}}, cancel));
  if (!found.value("found", false)) return std::nullopt;
  return handle();
}

Result<> HostTarget::watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel) {
  if (runs.empty()) return {};
  TRY_ASSIGN(const auto client, link_->client(cancel));
  return watch_host(*client, runs, sink, cancel);
}

Result<> HostTarget::stop(const RunRef& ref, const StopPlan& plan, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  TRY(client->request({{"op", "request"},
                       {"run", ref.run},
                       {"id", plan.request},
                       {"request", {{"v", 1}, {"type", "cancel"}, {"reason", plan.reason}}}},
                      cancel));
  // A run whose supervisor died hears the request only when somebody adopts it.
  return adopt(ref, cancel);
}

Result<Collected> HostTarget::collect(const RunRef& ref, const CollectPlan& plan, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  return collect_outputs(*client, ref, plan, cancel);
}

Result<> HostTarget::remove(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  TRY(client->request({{"op", "remove"}, {"run", ref.run}}, cancel));
  return {};
}

}  // namespace trainctl::target
