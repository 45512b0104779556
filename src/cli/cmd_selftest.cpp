// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/exit_code.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/selftest/checks.hpp"
#include "cli/selftest/clients.hpp"
#include "target/registry.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

using selftest::Check;
using selftest::Evidence;

struct SelftestArguments {
  std::string target = "local";
  std::vector<std::string> only;
  std::string patience = "5m";
  std::optional<std::uint64_t> seed;
  bool keep = false;
};

struct Verdict {
  const Check* check = nullptr;
  Result<Evidence> evidence;
  std::chrono::milliseconds took{};
};

Json to_json(const Verdict& verdict) {
  Json line = {{"check", verdict.check->name},
               {"claim", verdict.check->title},
               {"passed", verdict.evidence.has_value()},
               {"seconds", static_cast<double>(verdict.took.count()) / 1000.0},
               {"interruptions", verdict.evidence ? verdict.evidence->interruptions : 0},
               {"evidence", verdict.evidence ? Json(verdict.evidence->facts) : Json::array()}};
  if (!verdict.evidence) line["error"] = error_to_json(verdict.evidence.error());
  return line;
}

void print_verdict(Context& context, const Verdict& verdict) {
  if (context.json) return;
  Stream& out = context.out;
  const bool passed = verdict.evidence.has_value();
  out.line(out.paint(passed ? Style::green : Style::red, passed ? "✓ " : "✗ ") + verdict.check->title + "   " +
           out.paint(Style::dim, base::format_duration(verdict.took)));
  if (passed) {
    for (const std::string& fact : verdict.evidence->facts) out.line("    " + printable(fact));
  } else {
    out.line("    " + printable(verdict.evidence.error().message));
  }
  out.flush();
}

/// The checks that were asked for and make sense on this target.
ResultAll<std::vector<const Check*>> chosen_checks(const SelftestArguments& arguments, bool batch) {
  std::vector<const Check*> chosen;
  std::vector<std::string> unknown = arguments.only;
  for (const Check& check : selftest::all_checks()) {
    std::erase(unknown, check.name);
    const bool wanted = arguments.only.empty() ||
                        std::find(arguments.only.begin(), arguments.only.end(), check.name) != arguments.only.end();
    if (wanted && !(check.hosts_only && batch)) chosen.push_back(&check);
  }
  if (unknown.empty()) return chosen;
  std::vector<std::string> names;
  for (const Check& check : selftest::all_checks()) names.emplace_back(check.name);
  return tl::make_unexpected(Errors{Error{.code = Errc::invalid,
                                          .message = "there is no check \"" + unknown.front() + "\"",
                                          .hint = "there are " + base::join(names, ", ")}});
}

/// Makes the checks one after the other; stops where the target cannot be used, or at Ctrl-C.
std::vector<Verdict> make_checks(Context& context, selftest::Bench& bench, const std::vector<const Check*>& checks) {
  std::vector<Verdict> verdicts;
  for (const Check* check : checks) {
    const std::uint64_t began = base::mono_ns();
    Verdict verdict{.check = check, .evidence = check->run(bench)};
    verdict.took = std::chrono::milliseconds((base::mono_ns() - began) / 1'000'000U);
    print_verdict(context, verdict);
    const bool hopeless = !verdict.evidence && (verdicts.empty() || verdict.evidence.error().code == Errc::canceled);
    verdicts.push_back(std::move(verdict));
    if (hopeless) break;
  }
  return verdicts;
}

int conclude(Context& context, const SelftestArguments& arguments, std::uint32_t seed,
             const std::vector<Verdict>& verdicts, std::size_t planned) {
  int interruptions = 0;
  Json checks = Json::array();
  std::size_t passed = 0;
  for (const Verdict& verdict : verdicts) {
    checks.push_back(to_json(verdict));
    if (!verdict.evidence) continue;
    ++passed;
    interruptions += verdict.evidence->interruptions;
  }
  const bool whole = passed == planned;
  if (context.json) {
    context.print({{"target", arguments.target},
                   {"seed", seed},
                   {"passed", whole},
                   {"interruptions", interruptions},
                   {"checks", std::move(checks)}});
  } else {
    context.out.line(std::to_string(passed) + " of " + std::to_string(planned) + " checks passed, " +
                     std::to_string(interruptions) + " interruptions" +
                     (whole ? ": nothing lost, nothing doubled" : "; seed " + std::to_string(seed)));
  }
  if (!verdicts.empty() && !verdicts.back().evidence && verdicts.back().evidence.error().code == Errc::canceled)
    return base::exit_code_for(Errc::canceled);
  return whole ? 0 : 1;
}

int selftest_action(Context& context, const SelftestArguments& arguments) {
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  const auto patience = base::parse_duration(arguments.patience);
  if (!patience) return report(context, Error(patience.error()).with_context("read --patience"));
  const auto here = std::filesystem::current_path();
  const std::string name = target::anchor_target(arguments.target, here);
  const auto definition = target::resolve_target(name, here);
  if (!definition) return report(context, definition.error());
  const bool batch = definition->value("launcher", definition->value("type", "")) == "slurm";
  const auto checks = chosen_checks(arguments, batch);
  if (!checks) return report(context, checks.error());
  auto clients = selftest::Clients::create(store->paths().root, name, *patience);
  if (!clients) return report(context, clients.error());
  const auto seed = static_cast<std::uint32_t>(arguments.seed.value_or(base::mono_ns() / 1000U) % 1'000'000U);
  context.note("selftest of " + printable(arguments.target) + ", seed " + std::to_string(seed) +
               (batch ? " (without killing the supervisor, which is the job itself)" : ""));
  context.err.flush();
  selftest::Bench bench{.clients = *clients, .seed = seed};
  const std::vector<Verdict> verdicts = make_checks(context, bench, *checks);
  if (arguments.keep) {
    context.note("kept: TRAINCTL_HOME=" + clients->store().root.string());
  } else if (const auto removed = selftest::clean_up(*clients); !removed) {
    context.warn("its runs were not all removed: " + printable(removed.error().message) + "; they are in " +
                 clients->store().root.string());
  }
  if (const auto left = clients->leave(); !left) context.warn(printable(left.error().message));
  return conclude(context, arguments, seed, verdicts, checks->size());
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<SelftestArguments>();
  app.add_option("target", arguments->target, "What to try; local when left out")->type_name("TARGET");
  app.add_option("--only", arguments->only, "Only this check (may be given several times)")
      ->type_name("CHECK")
      ->one_value_each();
  app.add_option("--patience", arguments->patience, "How long one step may take, a queue included; 5m")
      ->type_name("TIME");
  app.add_option("--seed", arguments->seed, "Of what the runs print")->type_name("N");
  app.add_flag("--keep", arguments->keep, "Keep the runs of the checks to look at them");
  return [arguments](Context& context) { return selftest_action(context, *arguments); };
}

}  // namespace

Command selftest_command() {
  return {"selftest",
          "Other",
          "Prove on a target that runs survive what happens to those who watch them",
          false,
          configure,
          Completes::target,
          "Starts small runs there, kills commands and supervisors, cuts the connection, and proves from what is\n"
          "recorded that no run was lost, none was started twice, and each byte of each log is there once.\n"
          "Everything is removed afterwards. Exit code 0: all is proven."};
}

}  // namespace trainctl::cli
