// SPDX-License-Identifier: Apache-2.0
#include "cli/target_test.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/exit_code.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/output.hpp"
#include "engine/target_findings.hpp"
#include "target/cancel.hpp"
#include "target/registry.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

using engine::Finding;

struct Opened {
  Json definition;
  std::unique_ptr<target::Target> target;
};

ResultAll<Opened> open_named(const std::string& name) {
  Opened opened;
  auto definition = target::resolve_target(name, std::filesystem::current_path());
  if (!definition) return tl::make_unexpected(std::move(definition).error());
  opened.definition = std::move(*definition);
  const auto store = archive::Store::open();
  if (!store) return tl::make_unexpected(Errors{store.error()});
  auto target = target::open_target(opened.definition, store->paths().root);
  if (!target) return tl::make_unexpected(Errors{std::move(target).error()});
  opened.target = std::move(*target);
  return opened;
}

/// One host of several is a target of its own here.
std::vector<Json> hosts_of(const Json& definition) {
  if (!definition.contains("hosts") || definition["hosts"].size() < 2) return {definition};
  std::vector<Json> all;
  for (const Json& host : definition["hosts"]) {
    all.push_back(definition);
    all.back()["hosts"] = Json::array({host});
  }
  return all;
}

const char* word(Finding::Level level) {
  if (level == Finding::Level::problem) return "problem";
  return level == Finding::Level::note ? "note" : "fine";
}

std::string mark(const Stream& out, Finding::Level level) {
  if (level == Finding::Level::fine) return out.paint(Style::green, out.utf8() ? "✓" : "ok");
  if (level == Finding::Level::note) return out.paint(Style::yellow, "!");
  return out.paint(Style::red, out.utf8() ? "✗" : "x");
}

void print(Context& context, const std::vector<Finding>& findings) {
  std::size_t width = 0;
  for (const Finding& one : findings) width = std::max(width, one.what.size());
  for (const Finding& one : findings) {
    context.out.line("  " + mark(context.out, one.level) + " " + one.what +
                     std::string(width - one.what.size() + 2, ' ') + printable(one.text));
    if (!one.hint.empty()) context.out.line("      " + context.out.paint(Style::dim, printable(one.hint)));
  }
}

struct Tested {
  Json json;
  int code = 0;
};

Tested test_host(Context& context, const Json& definition) {
  const std::string host =
      definition.contains("hosts") ? definition["hosts"].front().get<std::string>() : definition.value("name", "");
  Tested tested{.json = {{"host", host}}};
  auto target = target::open_target(definition, "/");
  auto cancel = target::Cancel::create();
  if (!target || !cancel) {
    tested.code = report(context, target ? cancel.error() : target.error());
    return tested;
  }
  const auto probe = (*target)->probe(*cancel);
  if (!context.json) context.out.line(context.out.paint(Style::bold, printable(host)));
  if (!probe) {
    tested.json["error"] = error_to_json(probe.error());
    tested.code = base::exit_code_for(probe.error().code);
    if (!context.json) print(context, {{Finding::Level::problem, "reach", probe.error().message, probe.error().hint}});
    return tested;
  }
  const auto findings = engine::target_findings(*probe, definition);
  tested.json["probe"] = *probe;
  tested.json["findings"] = Json::array();
  for (const Finding& one : findings) {
    tested.json["findings"].push_back(
        {{"level", word(one.level)}, {"what", one.what}, {"text", one.text}, {"hint", one.hint}});
    if (one.level == Finding::Level::problem && tested.code == 0) tested.code = base::exit_code_for(Errc::cannot_start);
  }
  if (!context.json) print(context, findings);
  return tested;
}

bool agreed(Context& context, const std::string& question) {
  context.err.write(question + " [y/N] ");
  context.err.flush();
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace

int test_target(Context& context, const std::string& name) {
  const auto definition = target::resolve_target(name, std::filesystem::current_path());
  if (!definition) return report(context, definition.error());
  int code = 0;
  Json items = Json::array();
  for (const Json& one : hosts_of(*definition)) {
    Tested tested = test_host(context, one);
    if (code == 0) code = tested.code;
    items.push_back(std::move(tested.json));
  }
  if (context.json) context.print({{"name", name}, {"definition", *definition}, {"items", std::move(items)}});
  return code;
}

int clean_target(Context& context, const std::string& name, bool all, bool yes) {
  const auto opened = open_named(name);
  if (!opened) return report(context, opened.error());
  if (!yes) {
    if (::isatty(STDIN_FILENO) == 0 || !context.err.is_terminal()) {
      return report(context,
                    Error{.code = Errc::invalid, .message = "this removes what " + name + " keeps", .hint = "--yes"});
    }
    const std::string what = all ? "every trace of trainctl" : "all ended runs and what only they need";
    if (!agreed(context, "Remove " + what + " from " + printable(name) + "?")) return 130;
  }
  auto cancel = target::Cancel::create();
  if (!cancel) return report(context, cancel.error());
  const auto cleaned = opened->target->clean(all, *cancel);
  if (!cleaned) return report(context, cleaned.error());
  if (context.json) {
    context.print(*cleaned);
    return 0;
  }
  const auto runs = cleaned->value("runs", std::uint64_t{0});
  context.out.line(printable(name) + ": " + base::format_count(runs) + (runs == 1 ? " run" : " runs") + " removed, " +
                   base::format_size(cleaned->value("bytes", std::uint64_t{0})) + " freed");
  for (const Json& kept : cleaned->value("kept", Json::array()))
    context.note("goes on and stays: " + printable(kept.value("name", "")));
  return 0;
}

}  // namespace trainctl::cli
