// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest/checks.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "cli/selftest/clients.hpp"
#include "cli/selftest/proof.hpp"
#include "cli/selftest/workload.hpp"
#include "format/paths.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli::selftest {
namespace {

namespace fs = std::filesystem;

constexpr int kPollMs = 2;
constexpr int kCancelExit = 130;

/// Submits and lets go; the run's name.
Result<std::string> submit(Bench& bench, const Workload& workload) {
  TRY_ASSIGN(const std::string file, bench.clients.configuration(workload));
  TRY_ASSIGN(const Json run, bench.clients.ask({"submit", file, "--detach"}));
  return run.value("name", "");
}

Result<Following> follow(Bench& bench, const std::string& run) {
  TRY_ASSIGN(auto child, bench.clients.start({"attach", run}));
  return Following(bench.clients, std::move(child));
}

Error told_wrong(const std::string& what, const std::string& shown, const std::string& expected) {
  const auto [at, _] = std::mismatch(shown.begin(), shown.end(), expected.begin(), expected.end());
  return Error{.code = Errc::internal,
               .message = what + " showed " + std::to_string(shown.size()) + " bytes of " +
                          std::to_string(expected.size()) + "; they differ at byte " +
                          std::to_string(at - shown.begin())};
}

/// To the end of the run; what it showed is the log, each byte once.
Result<> finish_whole(Following& following, const Workload& workload) {
  TRY_ASSIGN(const int code, following.finish());
  if (const std::string expected = expected_log(workload); following.shown() != expected)
    return fail(told_wrong("a following command", following.shown(), expected));
  if (code != (workload.exit_code == 0 ? 0 : 1))
    return fail(Errc::internal,
                "a following command ended with exit code " + std::to_string(code) + ": " + following.errors());
  return {};
}

Result<Evidence> check_end(Bench& bench) {
  Evidence evidence;
  for (const int code : {0, 7}) {
    const Workload workload{.seed = bench.seed, .lines = 50, .exit_code = code};
    TRY_ASSIGN(const std::string run, submit(bench, workload));
    TRY_ASSIGN(auto following, follow(bench, run));
    TRY(finish_whole(following, workload));
    TRY(prove_ended(bench.clients, run, workload, evidence));
  }
  return evidence;
}

/// Where a submitting command is killed: as soon as this is true of its store.
struct Moment {
  const char* words;
  bool (*reached)(const format::StorePaths& store, const std::string& run);
};

bool client_wrote(const format::StorePaths& store, const std::string& run, std::string_view text) {
  const auto folder = store.run(run).clients();
  const auto names = base::list_directory(folder);
  if (!names) return false;
  return std::any_of(names->begin(), names->end(), [&](const std::string& name) {
    const auto content = base::read_file_if_exists(folder / name);
    return name.ends_with(".jsonl") && content && *content && (*content)->find(text) != std::string::npos;
  });
}

constexpr std::array kMoments = {
    Moment{"at once", [](const format::StorePaths&, const std::string&) { return true; }},
    Moment{"when its plan was written",
           [](const format::StorePaths& store, const std::string& run) {
             return !run.empty() && base::exists(store.run(run).plan());
           }},
    Moment{"when its intent was written",
           [](const format::StorePaths& store, const std::string& run) {
             return !run.empty() && client_wrote(store, run, "\"intent\"");
           }},
    Moment{"when the target had answered",
           [](const format::StorePaths& store, const std::string& run) {
             return !run.empty() && client_wrote(store, run, "\"handle\"");
           }},
};

/// The run that is not among `before`; empty when there is none.
std::string newest(const format::StorePaths& store, const std::vector<std::string>& before) {
  const auto now = base::list_directory(store.runs());
  if (!now) return {};
  for (const std::string& run : *now) {
    if (!run.starts_with('.') && std::find(before.begin(), before.end(), run) == before.end()) return run;
  }
  return {};
}

/// Kills a submit at that moment; the run it has left behind, empty when there is none.
Result<std::string> killed_submit(Bench& bench, const Workload& workload, const Moment& moment) {
  const format::StorePaths& store = bench.clients.store();
  TRY_ASSIGN(const std::vector<std::string> before, base::list_directory(store.runs()));
  TRY_ASSIGN(const std::string file, bench.clients.configuration(workload));
  TRY_ASSIGN(auto child, bench.clients.start({"submit", file, "--detach"}));
  while (!child.wait_ms(0) && !moment.reached(store, newest(store, before))) {
    TRY(bench.clients.check_signals());
    (void)child.errors();
    (void)child.wait_ms(kPollMs);
  }
  child.kill();
  return newest(store, before);
}

Result<Evidence> check_killed_submit(Bench& bench) {
  Evidence evidence;
  for (const Moment& moment : kMoments) {
    const Workload workload{.seed = bench.seed + 1, .lines = 50};
    TRY_ASSIGN(const std::string run, killed_submit(bench, workload, moment));
    ++evidence.interruptions;
    if (run.empty() || !base::exists(bench.clients.store().run(run).plan())) {
      evidence.facts.push_back(std::string("killed ") + moment.words + ": no run was recorded, none was started");
      continue;
    }
    TRY_ASSIGN(auto following, follow(bench, run));
    TRY(finish_whole(following, workload));
    evidence.facts.push_back(std::string("killed ") + moment.words + ": attach took the run up");
    TRY(prove_ended(bench.clients, run, workload, evidence));
  }
  return evidence;
}

Result<Evidence> check_killed_client(Bench& bench) {
  Evidence evidence;
  const Workload workload{.seed = bench.seed + 2};
  const std::size_t size = expected_log(workload).size();
  TRY_ASSIGN(const std::string run, submit(bench, workload));
  for (const std::size_t at : {std::size_t{1}, size / 4, size / 2}) {
    TRY_ASSIGN(auto following, follow(bench, run));
    TRY(following.read_until(at));
    following.kill();
    ++evidence.interruptions;
    evidence.facts.push_back("killed after it had shown " + std::to_string(following.shown().size()) + " of " +
                             std::to_string(size) + " bytes");
  }
  TRY_ASSIGN(auto following, follow(bench, run));
  TRY(finish_whole(following, workload));
  TRY(prove_ended(bench.clients, run, workload, evidence));
  return evidence;
}

Result<Evidence> check_cut_connection(Bench& bench) {
  Evidence evidence;
  const Workload workload{.seed = bench.seed + 3, .lines = 600};
  const std::size_t size = expected_log(workload).size();
  TRY_ASSIGN(const std::string run, submit(bench, workload));
  TRY_ASSIGN(auto following, follow(bench, run));
  for (const std::size_t at : {std::size_t{1}, size / 4, size / 2}) {
    TRY(following.read_until(at));
    const int cut = following.cut_off();
    if (cut == 0) continue;
    ++evidence.interruptions;
    evidence.facts.push_back("cut at byte " + std::to_string(following.shown().size()) + " of " + std::to_string(size));
  }
  if (evidence.interruptions == 0) evidence.facts.emplace_back("there is no connection: the run lies in the store");
  TRY(finish_whole(following, workload));
  evidence.facts.emplace_back("the same command went on and showed each byte once");
  TRY(prove_ended(bench.clients, run, workload, evidence));
  return evidence;
}

Result<Evidence> check_killed_supervisor(Bench& bench) {
  Evidence evidence;
  for (const int at : {1, 100, 200}) {
    const Workload workload{.seed = bench.seed + 4, .lines = 200, .kills_supervisor_at = at};
    TRY_ASSIGN(const std::string run, submit(bench, workload));
    TRY_ASSIGN(auto following, follow(bench, run));
    TRY(finish_whole(following, workload));
    ++evidence.interruptions;
    evidence.facts.push_back("its supervisor was killed at line " + std::to_string(at) +
                             " of 200, another one took over");
    TRY(prove_ended(bench.clients, run, workload, evidence));
  }
  return evidence;
}

Result<Evidence> check_two_followers(Bench& bench) {
  Evidence evidence;
  const Workload workload{.seed = bench.seed + 5};
  TRY_ASSIGN(const std::string run, submit(bench, workload));
  TRY_ASSIGN(auto first, follow(bench, run));
  TRY_ASSIGN(auto second, follow(bench, run));
  TRY(first.read_until(1));
  TRY(finish_whole(second, workload));
  TRY(finish_whole(first, workload));
  evidence.facts.emplace_back("both showed each byte once");
  TRY(prove_ended(bench.clients, run, workload, evidence));
  return evidence;
}

Result<Evidence> check_cancel(Bench& bench) {
  Evidence evidence;
  const Workload workload{.seed = bench.seed + 6, .lines = 100'000, .lines_a_pause = 10};
  TRY_ASSIGN(const std::string run, submit(bench, workload));
  TRY_ASSIGN(auto following, follow(bench, run));
  TRY(following.read_until(1));
  TRY(bench.clients.ask({"cancel", run}));
  TRY(bench.clients.ask({"cancel", run}));
  TRY_ASSIGN(const int code, following.finish());
  if (code != kCancelExit)
    return fail(Errc::internal, "a following command ended with exit code " + std::to_string(code) + ", not 130");
  evidence.facts.emplace_back("canceled twice, which is once");
  TRY(prove_canceled(bench.clients, run, workload, evidence));
  return evidence;
}

constexpr std::array kChecks = {
    Check{"end", "runs end as their scripts do, with every byte of their log", check_end},
    Check{"submit", "a killed submit loses nothing and starts nothing twice", check_killed_submit},
    Check{"follow", "killed watchers harm nothing", check_killed_client},
    Check{"connection", "a cut connection is taken up at the exact byte", check_cut_connection},
    Check{"supervisor", "a killed supervisor does not end its run", check_killed_supervisor, true},
    Check{"both", "two commands may follow one run", check_two_followers},
    Check{"cancel", "a cancel ends a run, and its end is true", check_cancel},
};

}  // namespace

std::span<const Check> all_checks() {
  return kChecks;
}

Result<int> clean_up(const Clients& clients) {
  TRY_ASSIGN(const std::vector<std::string> runs, base::list_directory(clients.store().runs()));
  int removed = 0;
  for (const std::string& run : runs) {
    if (!base::exists(clients.store().run(run).plan())) continue;  // of a submit that was killed before it was one
    TRY(clients.run({"cancel", run}));
    TRY(clients.ask({"rm", run}));
    ++removed;
  }
  TRY(base::remove_tree(clients.store().root));
  return removed;
}

}  // namespace trainctl::cli::selftest
