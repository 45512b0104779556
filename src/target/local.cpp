// SPDX-License-Identifier: Apache-2.0
#include "target/local.hpp"

#include <poll.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/adoption.hpp"
#include "host/container/engine.hpp"
#include "host/enter/enter.hpp"
#include "host/enter/order.hpp"
#include "host/stdio/growth.hpp"
#include "host/stdio/operations.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

constexpr std::size_t kPieceBytes = 256U << 10U;

format::RunPaths paths_of(const RunRef& ref) {
  return format::RunPaths{ref.folder};
}

/// What the runner on this machine carries out.
Result<std::vector<std::string>> order_here(const host::EnterOrder& order) {
  TRY_ASSIGN(const auto runner, host::runner_program());
  return std::vector<std::string>{runner.string(), "enter", host::enter_word(order)};
}

Result<host::GrowthWatcher> open_watcher(std::span<const Watched> runs, Until until) {
  std::vector<host::WatchedRun> watched;
  for (const Watched& one : runs) {
    auto& run = watched.emplace_back(host::WatchedRun{.run = one.ref.run, .cursors = {}});
    for (const auto& [file, cursor] : one.cursors) run.cursors[file] = {.have = cursor.have, .tail = cursor.tail};
  }
  return host::GrowthWatcher::open(paths_of(runs.front().ref).store(), std::move(watched),
                                   {.follow = until == Until::ended, .logs = until != Until::state});
}

Result<> hand_over(host::GrowthWatcher& watcher, const format::StorePaths& store, const host::Growth& growth,
                   EventSink& sink) {
  if (growth.notice.is_null()) {
    return sink.append({.run = growth.run, .file = growth.file, .offset = growth.offset, .bytes = growth.bytes});
  }
  if (growth.notice.contains("ended")) return sink.ended(growth.run);
  if (growth.notice.contains("current")) return sink.current(growth.run);
  const auto path = store.run(growth.run).root / growth.file;
  const SourceHash hash = [&path](std::uint64_t offset, std::uint64_t count) -> Result<std::string> {
    TRY_ASSIGN(const std::string bytes, base::read_range(path, offset, count));
    return base::sha256_hex(bytes);
  };
  TRY_ASSIGN(const Cursor cursor,
             sink.mismatch(growth.run, growth.file, growth.notice.value("size", std::uint64_t{0}), hash));
  watcher.resume(growth.run, growth.file, {.have = cursor.have, .tail = cursor.tail});
  return {};
}

void wait_for_growth(const host::GrowthWatcher& watcher, const Cancel& cancel) {
  std::array<pollfd, 2> waits = {pollfd{cancel.fd(), POLLIN, 0}, pollfd{watcher.fd(), POLLIN, 0}};
  ::poll(waits.data(), watcher.fd() >= 0 ? 2 : 1, watcher.wait_ms());
}

}  // namespace

Capabilities LocalTarget::capabilities() const {
  return {
      .log_fidelity = LogFidelity::byte_exact, .in_place = true, .reattach = true, .multi_node = false, .gpus = true};
}

Result<Json> LocalTarget::probe(const Cancel&) {
  host::StdioContext context;
  context.store = "/";
  return host::operate_probe(context, Json::object());
}

Result<Handle> LocalTarget::launch(const RunRef& ref, const Cancel&) {
  TRY(host::ensure_supervised(paths_of(ref), host::Start::allowed));
  return Handle::object();
}

Result<> LocalTarget::adopt(const RunRef& ref, const Cancel&) {
  return host::ensure_supervised(paths_of(ref), host::Start::adopt_only);
}

Result<std::optional<Handle>> LocalTarget::find(const RunRef& ref, const Cancel&) {
  if (format::last_attempt(paths_of(ref)) == 0) return std::nullopt;
  return Handle::object();
}

Result<> LocalTarget::watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until) {
  if (runs.empty()) return {};
  const format::StorePaths store{paths_of(runs.front().ref).store()};
  TRY_ASSIGN(auto watcher, open_watcher(runs, until));
  while (!cancel.requested() && !watcher.done()) {
    TRY_ASSIGN(const auto growth, watcher.next(kPieceBytes));
    if (growth) {
      TRY(hand_over(watcher, store, *growth, sink));
    } else {
      wait_for_growth(watcher, cancel);
      watcher.look();
    }
  }
  return {};
}

Result<> LocalTarget::stop(const RunRef& ref, const StopPlan& plan, const Cancel&) {
  const format::RunPaths run = paths_of(ref);
  TRY_ASSIGN(const auto state, format::fold_run(run));
  if (format::is_terminal(state.state)) return {};
  if (!base::exists(run.request(plan.request)))
    TRY(host::write_request(run, {{"type", "cancel"}, {"reason", plan.reason}}, plan.request));
  // A run whose supervisor died hears the request only when somebody adopts it.
  return host::ensure_supervised(run, host::Start::adopt_only);
}

Result<> LocalTarget::signal(const RunRef& ref, const std::string& name, const Cancel&) {
  TRY(host::check_hears_signals(paths_of(ref)));
  TRY(host::write_request(paths_of(ref), {{"type", "signal"}, {"signal", name}}));
  return host::ensure_supervised(paths_of(ref), host::Start::adopt_only);
}

Result<Collected> LocalTarget::collect(const RunRef&, const CollectPlan&, const Cancel&) {
  return Collected{};
}

Result<> LocalTarget::remove(const RunRef&, const Cancel&) {
  return {};
}

Result<FileDigest> LocalTarget::digest(const RunRef& ref, const std::string& file, const Cancel&) {
  TRY_ASSIGN(std::string hash, base::sha256_file_hex(ref.folder / file));
  return FileDigest{.size = base::file_size(ref.folder / file).value_or(0), .sha256 = std::move(hash)};
}

Result<std::vector<std::string>> LocalTarget::enter(const RunRef& ref, const Visit& visit, const Cancel&) {
  return order_here({.folder = ref.folder, .argv = visit.argv, .rank = visit.rank});
}

Result<std::vector<std::string>> LocalTarget::forward(const RunRef& ref, int port, int rank, const Cancel& cancel) {
  TRY_ASSIGN(const auto plan, format::read_plan(format::RunPaths{ref.folder}.plan()));
  if (!host::has_own_loopback(plan)) return Target::forward(ref, port, rank, cancel);
  return order_here({.folder = ref.folder, .rank = rank, .port = port});
}

Result<Json> LocalTarget::clean(bool, const Cancel&) {
  return fail(Errc::invalid, "the runs of this machine are your store itself",
              "trainctl rm removes runs, trainctl env rm environments");
}

}  // namespace trainctl::target
