// SPDX-License-Identifier: Apache-2.0
// What every target promises (target/target.hpp), against every implementation that there is.
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "support/catch.hpp"
#include "target/cancel.hpp"
#include "target/host/gang_target.hpp"
#include "target/host/host_link.hpp"
#include "target/host/host_target.hpp"
#include "target/host/local_channel.hpp"
#include "target/registry.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

namespace fs = std::filesystem;

constexpr auto kLog = "attempts/1/logs/std.log";

class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "trainctl-target-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { (void)base::remove_tree(path_); }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// A copy in memory, written as a mirror writes: at the source's offsets.
class Copy final : public EventSink {
 public:
  Result<> append(const Piece& piece) override {
    std::string& file = files[std::string(piece.file)];
    if (piece.offset > file.size()) return fail(Errc::internal, "a hole");
    file.replace(piece.offset, piece.bytes.size(), piece.bytes);
    tokens[std::string(piece.file)] = piece.next_token;
    if (on_append) on_append(piece);
    return {};
  }
  Result<Cursor> mismatch(std::string_view, std::string_view file, std::uint64_t size,
                          const SourceHash& hash) override {
    ++mismatches;
    source_hash = hash(0, size).value_or("");
    files[std::string(file)].clear();
    return Cursor{};
  }
  Result<> gap(std::string_view, std::string_view, std::uint64_t lines) override {
    gaps += lines;
    return {};
  }
  Result<> observed(std::string_view, const Json& observation) override {
    last_observation = observation;
    return {};
  }
  Result<> ended(std::string_view run) override {
    ends.emplace_back(run);
    return {};
  }

  /// The final state, as the copy tells it.
  [[nodiscard]] std::string state() const {
    const auto events = files.find("attempts/1/events.jsonl");
    if (events == files.end()) return last_observation.is_object() ? last_observation.value("state", "") : "";
    format::RunLines lines;
    lines.attempt = 1;
    lines.events = format::parse_lines(events->second);
    return std::string(format::to_string(format::fold(lines).state));
  }

  std::map<std::string, std::string> files;
  std::map<std::string, std::string> tokens;
  std::vector<std::string> ends;
  std::uint64_t gaps = 0;
  int mismatches = 0;
  std::string source_hash;
  Json last_observation;
  std::function<void(const Piece&)> on_append;
};

/// One implementation, with a workload in its own words: it prints "one", waits a little, prints "two" and succeeds;
/// the long one goes on until it is stopped.
struct Kind {
  const char* name;
  Result<std::unique_ptr<Target>> (*open)(bool endless, const fs::path& store);
  int nodes = 1;  ///< that the run wants
};

Result<std::unique_ptr<Target>> open_local(bool, const fs::path& store) {
  return open_target({{"name", "local"}, {"type", "local"}}, store);
}

/// A host whose runner is our child: its store is another folder than ours.
Result<std::unique_ptr<Target>> open_host(bool, const fs::path& store) {
  return std::make_unique<HostTarget>("host",
                                      std::make_shared<HostLink>(std::make_shared<LocalChannel>(store / "elsewhere")));
}

/// Two hosts, as open_host.
Result<std::unique_ptr<Target>> open_hosts(bool, const fs::path& store) {
  std::vector<std::shared_ptr<HostLink>> links;
  for (const char* folder : {"elsewhere", "elsewhere-2"}) {
    links.push_back(std::make_shared<HostLink>(std::make_shared<LocalChannel>(store / folder)));
  }
  return std::make_unique<GangTarget>("hosts", std::move(links), std::vector<std::string>{});
}

Result<std::unique_ptr<Target>> open_scenario(const char* fidelity, bool endless, const fs::path& store) {
  Json steps = Json::array({{{"state", "running"}},
                            {{"log", "one\n"}},
                            {{"after", "30ms"}, {"log", "two\n"}},
                            {{"metric", "loss"}, {"value", 0.5}, {"step", 1}}});
  steps.push_back({{"after", endless ? "1h" : "10ms"}, {"end", "succeeded"}});
  return open_target(
      {{"name", "scripted"}, {"type", "scripted"}, {"scenario", {{"fidelity", fidelity}, {"steps", steps}}}}, store);
}

/// A target that somebody set up for this program: its definition as a plan keeps it. tests/e2e/test_conformance.py
/// starts an sshd and names it, tests/e2e/test_slurm_conformance.py a cluster.
constexpr const char* kGiven = "TRAINCTL_CONFORMANCE_TARGET";

Json given() {
  return base::parse_json(base::get_env(kGiven).value_or("null")).value_or(Json());
}

Result<std::unique_ptr<Target>> open_given(bool, const fs::path& store) {
  return open_target(given(), store);
}

const std::vector<Kind> kKinds = {
    {"local", open_local},
    {"host", open_host},
    {"a host of several", open_hosts},
    {"two hosts", open_hosts, 2},
    {"scripted, byte_exact",
     [](bool endless, const fs::path& store) { return open_scenario("byte_exact", endless, store); }},
    {"scripted, best_effort",
     [](bool endless, const fs::path& store) { return open_scenario("best_effort", endless, store); }},
};

class Bench {
 public:
  Bench(const Kind& kind, bool endless) : nodes_(kind.nodes), store{folder_.path()} {
    auto opened = kind.open(endless, folder_.path());
    REQUIRE(opened);
    target = std::move(*opened);
    ref = make_run(endless);
    auto made = Cancel::create();
    REQUIRE(made);
    cancel = std::make_unique<Cancel>(*made);
  }
  ~Bench() {
    (void)target->stop(ref, {.request = base::new_ulid(), .reason = "the test is over"}, *cancel);
    Copy rest;
    if (target->find(ref, *cancel).value_or(std::nullopt)) (void)watch(rest);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  [[nodiscard]] RunRef make_run(bool endless) const {
    format::Plan plan;
    plan.id = base::new_ulid();
    plan.name = "conformance-1";
    plan.source = {{"kind", "in_place"}, {"directory", folder_.path().string()}};
    plan.command.argv = {"/bin/sh", "-c", endless ? "echo one; exec sleep 600" : "echo one; sleep 0.03; echo two"};
    plan.resources.nodes = nodes_;
    plan.target = given();
    plan.metrics.system = false;
    plan.stop.grace = std::chrono::milliseconds(200);
    const format::RunPaths run = store.run(plan.id);
    REQUIRE(base::make_directories(run.clients()));
    REQUIRE(base::write_file_durable(run.plan(), base::dump_json(format::to_json(plan))));
    return {.run = plan.id, .folder = run.root};
  }

  Result<> watch(Copy& copy, std::map<std::string, Cursor> cursors = {}) const {
    const Watched watched{.ref = ref, .cursors = std::move(cursors)};
    return target->watch(std::span(&watched, 1), copy, *cancel, Until::ended);
  }

  [[nodiscard]] bool byte_exact() const { return target->capabilities().log_fidelity == LogFidelity::byte_exact; }

 private:
  Folder folder_;
  int nodes_ = 1;

 public:
  format::StorePaths store;
  std::unique_ptr<Target> target;
  RunRef ref;
  std::unique_ptr<Cancel> cancel;
};

std::map<std::string, Cursor> cursors_of(const Copy& copy) {
  std::map<std::string, Cursor> cursors;
  for (const auto& [name, bytes] : copy.files) {
    const auto token = copy.tokens.find(name);
    cursors[name] = {.have = bytes.size(),
                     .tail = base::sha256_hex(bytes),
                     .token = token == copy.tokens.end() ? std::string() : token->second};
  }
  return cursors;
}

void for_each_kind(const std::function<void(const Kind&)>& test) {
  std::vector<Kind> kinds = kKinds;
  if (base::get_env(kGiven)) kinds = {{"given", open_given}};
  for (const Kind& kind : kinds) {
    INFO(kind.name);
    test(kind);
  }
}

}  // namespace

TEST_CASE("a run that was never launched is not found and cannot be watched") {
  for_each_kind([](const Kind& kind) {
    const Bench bench(kind, false);
    const auto found = bench.target->find(bench.ref, *bench.cancel);
    REQUIRE(found);
    CHECK_FALSE(found->has_value());
    CHECK(bench.target->adopt(bench.ref, *bench.cancel));
    CHECK_FALSE(bench.target->find(bench.ref, *bench.cancel).value_or(Handle()).has_value());
    const Watched other{.ref = {.run = base::new_ulid(), .folder = bench.store.run("01zzzzzzzzzzzzzzzzzzzzzzzz").root}};
    Copy copy;
    const auto watched = bench.target->watch(std::span(&other, 1), copy, *bench.cancel, Until::ended);
    REQUIRE_FALSE(watched);
    CHECK(watched.error().code == Errc::not_found);
  });
}

TEST_CASE("the same run launched twice is started once") {
  for_each_kind([](const Kind& kind) {
    const Bench bench(kind, false);
    const auto first = bench.target->launch(bench.ref, *bench.cancel);
    const auto second = bench.target->launch(bench.ref, *bench.cancel);
    REQUIRE(first);
    REQUIRE(second);
    CHECK(*first == *second);
    Copy copy;
    REQUIRE(bench.watch(copy));
    CHECK(copy.files[kLog] == "one\ntwo\n");
    const auto again = bench.target->launch(bench.ref, *bench.cancel);  // it has ended: it is left alone
    REQUIRE(again);
    CHECK(*again == *first);
    Copy after;
    REQUIRE(bench.watch(after));
    CHECK(after.files[kLog] == "one\ntwo\n");
    CHECK(bench.target->find(bench.ref, *bench.cancel).value_or(std::nullopt) == *first);
  });
}

TEST_CASE("watching tells everything, and the end once and last") {
  for_each_kind([](const Kind& kind) {
    const Bench bench(kind, false);
    REQUIRE(bench.target->launch(bench.ref, *bench.cancel));
    Copy copy;
    REQUIRE(bench.watch(copy));
    CHECK(copy.files[kLog] == "one\ntwo\n");
    CHECK(copy.state() == "succeeded");
    CHECK(copy.ends == std::vector<std::string>{bench.ref.run});
    CHECK(copy.mismatches == 0);
    CHECK(copy.gaps == 0);
  });
}

TEST_CASE("a watch that is given up goes on where it was, with the same bytes") {
  for_each_kind([](const Kind& kind) {
    const Bench bench(kind, false);
    REQUIRE(bench.target->launch(bench.ref, *bench.cancel));
    Copy copy;
    auto stop = Cancel::create();
    REQUIRE(stop);
    copy.on_append = [&stop](const Piece& piece) {
      if (piece.file == kLog) stop->request();
    };
    const Watched watched{.ref = bench.ref};
    REQUIRE(bench.target->watch(std::span(&watched, 1), copy, *stop, Until::ended));
    copy.on_append = nullptr;
    const std::size_t before = copy.files[kLog].size();
    CHECK(before > 0);
    std::uint64_t lowest = UINT64_MAX;
    copy.on_append = [&lowest](const Piece& piece) {
      if (piece.file == kLog) lowest = std::min(lowest, piece.offset);
    };
    REQUIRE(bench.watch(copy, cursors_of(copy)));
    CHECK(copy.files[kLog] == "one\ntwo\n");
    CHECK(copy.state() == "succeeded");
    CHECK((lowest == UINT64_MAX || lowest >= before));
    CHECK(copy.mismatches == 0);
  });
}

TEST_CASE("a copy that does not fit is told, with hashes of the source") {
  for_each_kind([](const Kind& kind) {
    const Bench bench(kind, false);
    if (!bench.byte_exact()) return;  // nothing to compare there: its capabilities say so
    REQUIRE(bench.target->launch(bench.ref, *bench.cancel));
    Copy first;
    REQUIRE(bench.watch(first));
    for (const std::string wrong : {"one\nTWO\n", "one\ntwo\nand more than there is\n"}) {
      Copy copy;
      copy.files[kLog] = wrong;
      REQUIRE(bench.watch(copy, cursors_of(copy)));
      CHECK(copy.mismatches == 1);
      CHECK(copy.source_hash == base::sha256_hex("one\ntwo\n"));
      CHECK(copy.files[kLog] == "one\ntwo\n");
    }
  });
}

TEST_CASE("a run is stopped; the same wish twice, or after the end, is fine") {
  for_each_kind([](const Kind& kind) {
    const Bench bench(kind, true);
    REQUIRE(bench.target->launch(bench.ref, *bench.cancel));
    const StopPlan plan{.request = base::new_ulid(), .reason = "enough"};
    Copy copy;
    bool asked = false;
    copy.on_append = [&](const Piece& piece) {
      if (piece.file != kLog || asked) return;
      asked = true;
      CHECK(bench.target->stop(bench.ref, plan, *bench.cancel));
      CHECK(bench.target->stop(bench.ref, plan, *bench.cancel));
    };
    REQUIRE(bench.watch(copy));
    CHECK(asked);
    CHECK(copy.state() == "canceled");
    CHECK(bench.target->stop(bench.ref, plan, *bench.cancel));
    CHECK(bench.target->collect(bench.ref, {}, *bench.cancel));
  });
}

TEST_CASE("a signal reaches what runs, and nobody when the run has ended") {
  for_each_kind([](const Kind& kind) {
    const Bench bench(kind, true);
    REQUIRE(bench.target->launch(bench.ref, *bench.cancel));
    Copy copy;
    std::optional<Result<>> sent;
    copy.on_append = [&](const Piece& piece) {
      if (piece.file == kLog && !sent) sent = bench.target->signal(bench.ref, "SIGTERM", *bench.cancel);
      // Nothing runs that could get one: the run is ended in another way.
      if (sent && !*sent) (void)bench.target->stop(bench.ref, {.request = bench.ref.run, .reason = ""}, *bench.cancel);
    };
    REQUIRE(bench.watch(copy));
    REQUIRE(sent);
    if (!*sent) {
      INFO(sent->error().message);
      CHECK(sent->error().code == Errc::invalid);
      return;
    }
    CHECK(copy.state() == "failed");
    const auto late = bench.target->signal(bench.ref, "SIGTERM", *bench.cancel);
    REQUIRE_FALSE(late);
    CHECK(late.error().code == Errc::not_found);
  });
}

TEST_CASE("removing an ended run twice is fine, and a distant one is gone") {
  for_each_kind([](const Kind& kind) {
    const Bench bench(kind, false);
    REQUIRE(bench.target->launch(bench.ref, *bench.cancel));
    Copy copy;
    REQUIRE(bench.watch(copy));
    CHECK(bench.target->remove(bench.ref, *bench.cancel));
    CHECK(bench.target->remove(bench.ref, *bench.cancel));
    if (bench.target->capabilities().in_place) return;  // the folder is the store's own: rm removes it
    const auto found = bench.target->find(bench.ref, *bench.cancel);
    REQUIRE(found);
    CHECK_FALSE(found->has_value());
  });
}

TEST_CASE("a probe changes nothing and says what there is") {
  for_each_kind([](const Kind& kind) {
    const Bench bench(kind, false);
    const auto probed = bench.target->probe(*bench.cancel);
    REQUIRE(probed);
    CHECK(probed->is_object());
    CHECK_FALSE(probed->empty());
  });
}

}  // namespace trainctl::target
