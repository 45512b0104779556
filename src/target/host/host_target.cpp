// SPDX-License-Identifier: Apache-2.0
#include "target/host/host_target.hpp"

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <ratio>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/enter/enter.hpp"
#include "host/enter/order.hpp"
#include "host/stdio/frame.hpp"
#include "target/cancel.hpp"
#include "target/host/collect.hpp"
#include "target/host/host_launch.hpp"
#include "target/host/host_watch.hpp"
#include "target/host/runner_client.hpp"
#include "target/host/upload.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

constexpr std::chrono::seconds kLaunchPatience{60};
constexpr std::chrono::milliseconds kCleanAtOnce{10'000};  ///< well below the silence that counts as broken

}  // namespace

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
  const auto sent_wall = base::wall_now();
  const std::uint64_t sent = base::mono_ns();
  TRY_ASSIGN(const Json answer, client->request({{"op", "ping"}}, cancel));
  const auto round_trip = std::chrono::nanoseconds(base::mono_ns() - sent);
  TRY_ASSIGN(Json reply, client->request({{"op", "probe"}}, cancel));
  reply["round_trip_ms"] = std::chrono::duration<double, std::milli>(round_trip).count();
  if (const auto theirs = base::parse_utc(answer.value("time", ""))) {
    const auto ours = sent_wall + std::chrono::duration_cast<std::chrono::microseconds>(round_trip / 2);
    reply["clock_ahead_ms"] = std::chrono::duration<double, std::milli>(*theirs - ours).count();
  }
  return reply;
}

Result<Handle> HostTarget::launch(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(Json request, launch_request(ref));
  // Asked for with the launch: mostly everything is there, and a question of its own is a round trip.
  TRY_ASSIGN(request["needs"], needed_files(ref));
  TRY_ASSIGN(const Json reply, launch_and_follow(ref, request, cancel));
  if (reply.contains("needs")) {
    TRY_ASSIGN(const auto client, link_->client(cancel));
    TRY(send_files(*client, ref, cancel));
    request.erase("needs");
    TRY(launch_and_follow(ref, request, cancel));
  }
  TRY(forget_secrets(ref));
  return handle();
}

/// Whoever follows the run gets its first word with the answer to the launch, not a round trip later. Where there is no
/// connection yet, both are asked with it.
Result<Json> HostTarget::launch_and_follow(const RunRef& ref, const Json& request, const Cancel& cancel) {
  std::optional<RunnerStream> launched;
  std::optional<RunnerStream> watch;
  const auto ask = [&](RunnerClient& client) -> Result<> {
    TRY_ASSIGN(launched, client.open(request));
    if (ref.followed) {
      TRY_ASSIGN(watch, begin_watch(client, ref.run));
    }
    return {};
  };
  TRY_ASSIGN(const auto client, link_->client(cancel, ask));
  if (!launched) TRY(ask(*client));
  TRY_ASSIGN(const host::Frame frame, launched->next(cancel, kLaunchPatience));
  TRY_ASSIGN(Json reply, base::parse_json(frame.payload));
  if (watch && !reply.contains("needs")) link_->keep(ref.run, std::move(*watch));
  return reply;
}

Result<> HostTarget::adopt(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  TRY(client->request({{"op", "adopt"}, {"runs", {ref.run}}}, cancel));
  return {};
}

Result<> HostTarget::reach(const Cancel& cancel) {
  return link_->reach(cancel);
}

Result<std::optional<Handle>> HostTarget::find(const RunRef& ref, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  TRY_ASSIGN(const Json found, client->request({{"op", "find"}, {"run", ref.run}}, cancel));
  if (!found.value("found", false)) return std::nullopt;
  return handle();
}

Result<> HostTarget::watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until) {
  if (runs.empty()) return {};
  TRY_ASSIGN(const auto client, link_->client(cancel));
  std::optional<RunnerStream> begun;
  if (runs.size() == 1) begun = link_->take(runs.front().ref.run);
  if (!runs.front().cursors.empty() || until != Until::ended) begun.reset();  // it tells all from the beginning
  return watch_host(*client, runs, sink, cancel, until, std::move(begun));
}

Result<> HostTarget::stop(const RunRef& ref, const StopPlan& plan, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  Json request = {{"op", "request"},
                  {"run", ref.run},
                  {"id", plan.request},
                  {"request", {{"v", 1}, {"type", "cancel"}, {"reason", plan.reason}}}};
  // Nobody knows whether its launch came through: with its plan the host ends a run that it has not, too.
  if (ref.handle.empty()) {
    TRY_ASSIGN(Json launch, launch_request(ref));
    request["plan"] = std::move(launch["plan"]);
  }
  TRY(client->request(request, cancel));
  if (ref.handle.empty()) TRY(forget_secrets(ref));
  // A run whose supervisor died hears the request only when somebody adopts it.
  return adopt(ref, cancel);
}

Result<> HostTarget::signal(const RunRef& ref, const std::string& name, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  TRY(client->request({{"op", "request"},
                       {"run", ref.run},
                       {"id", base::new_ulid()},
                       {"request", {{"v", 1}, {"type", "signal"}, {"signal", name}}}},
                      cancel));
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

Result<FileDigest> HostTarget::digest(const RunRef& ref, const std::string& file, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  return digest_on_host(*client, ref.run, file, cancel);
}

Result<std::vector<std::string>> HostTarget::send_order(const RunRef& ref, host::EnterOrder order, bool terminal,
                                                        const Cancel& cancel) {
  Json reply;
  {
    TRY_ASSIGN(const auto client, link_->client(cancel));
    TRY_ASSIGN(reply, client->request({{"op", "enter"}, {"run", ref.run}}, cancel));
  }
  link_->close();  // the program gets the session
  order.folder = reply.value("folder", "");
  order.stays = true;
  return link_->channel().program({reply.value("program", ""), "enter", host::enter_word(order)}, terminal);
}

Result<std::vector<std::string>> HostTarget::enter(const RunRef& ref, const Visit& visit, const Cancel& cancel) {
  return send_order(ref, {.folder = {}, .argv = visit.argv, .rank = visit.rank}, visit.terminal, cancel);
}

Result<std::vector<std::string>> HostTarget::forward(const RunRef& ref, int port, int rank, const Cancel& cancel) {
  TRY_ASSIGN(const auto plan, format::read_plan(format::RunPaths{ref.folder}.plan()));
  if (host::has_own_loopback(plan)) return send_order(ref, {.folder = {}, .rank = rank, .port = port}, false, cancel);
  TRY_ASSIGN(auto words, link_->channel().forward(port));
  TRY(link_->client(cancel));
  link_->close();  // it would lie idle for as long as the tunnel is open
  return words;
}

Result<Json> HostTarget::clean(bool all, const Cancel& cancel) {
  TRY_ASSIGN(const auto client, link_->client(cancel));
  std::uint64_t runs = 0;
  std::uint64_t bytes = 0;
  for (;;) {
    const Json request = {{"op", "clean"}, {"all", all}, {"within_ms", kCleanAtOnce.count()}};
    TRY_ASSIGN(Json reply, client->request(request, cancel));
    reply["runs"] = runs += reply.value("runs", std::uint64_t{0});
    reply["bytes"] = bytes += reply.value("bytes", std::uint64_t{0});
    const bool more = reply.value("more", false);
    reply.erase("more");
    if (!more) return reply;
  }
}

}  // namespace trainctl::target
