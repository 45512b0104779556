// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/index_view.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/remote_runs.hpp"
#include "cli/run_table.hpp"
#include "cli/signals.hpp"
#include "cli/time_text.hpp"
#include "engine/supervision.hpp"
#include "format/state.hpp"
#include "index/index.hpp"
#include "index/query.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr std::chrono::milliseconds kBudget{50};
constexpr std::size_t kMostAdopted = 64;
constexpr std::size_t kMostRefreshed = 10'000;
constexpr std::chrono::milliseconds kRefreshDeadline{5000};
constexpr std::size_t kTerminalRows = 20;
constexpr std::size_t kPipeRows = 100;
constexpr int kWatchMs = 500;

struct LsArguments {
  std::vector<std::string> states, sort, columns;
  std::string since, where, after;
  std::optional<std::uint64_t> limit;
  bool watch = false, csv = false, all = false, refresh = false;
};

std::vector<std::string> split_all(const std::vector<std::string>& texts) {
  std::vector<std::string> words;
  for (const std::string& text : texts) {
    for (const std::string& word : base::split(text, ',')) {
      if (!base::trim(word).empty()) words.emplace_back(base::trim(word));
    }
  }
  return words;
}

Result<std::vector<format::State>> read_states(const std::vector<std::string>& texts) {
  std::vector<format::State> states;
  std::vector<std::string_view> names = {"active", "ended"};
  for (const format::State state : format::kAllStates) names.push_back(format::to_string(state));
  for (const std::string& word : split_all(texts)) {
    const auto state = format::parse_state(word);
    if (state) states.push_back(*state);
    if (!state && word != "active" && word != "ended") {
      const auto near = base::suggest(word, names);
      return fail(
          Errc::invalid, "there is no state \"" + word + "\"",
          near ? "did you mean " + *near + "?" : "active, ended, or one of running, queued, succeeded, failed, …");
    }
    for (const format::State each : format::kAllStates) {
      if (!state && format::is_terminal(each) == (word == "ended")) states.push_back(each);
    }
  }
  return states;
}

Result<index::RunQuery> read_query(const Context& context, const LsArguments& arguments) {
  index::RunQuery query;
  TRY_ASSIGN(query.states, read_states(arguments.states));
  if (!arguments.since.empty()) {
    TRY_ASSIGN(query.since, parse_since(arguments.since));
  }
  query.where = arguments.where;
  query.sort = split_all(arguments.sort);
  query.columns = split_all(arguments.columns);
  query.after = arguments.after;
  query.parse_time = [](std::string_view text) { return parse_since(text); };
  query.limit = context.out.is_terminal() && !context.json && !arguments.csv ? kTerminalRows : kPipeRows;
  if (arguments.limit) query.limit = static_cast<std::size_t>(std::min<std::uint64_t>(*arguments.limit, 1'000'000));
  if (arguments.all) query.limit = 1'000'000'000;
  query.count_more = !context.json && !arguments.csv;
  return query;
}

struct Listing {
  index::RunPage page;
  index::Refreshed refreshed;
  std::vector<std::string> open;  ///< runs that have not ended
  bool empty_store = false;
};

Result<Listing> list(const Context& context, const archive::Store& store, index::RunQuery query) {
  query.now = base::wall_now();
  Listing listing;
  TRY_ASSIGN(const auto index, index::Index::open(store, index::Mode::read));
  {
    IndexProgress progress(context);
    TRY_ASSIGN(listing.refreshed, index->refresh(kBudget, progress.callback()));
  }
  TRY_ASSIGN(listing.page, index->query(query));
  TRY_ASSIGN(listing.open, index->open_runs(kMostAdopted));
  if (listing.page.rows.empty()) {
    TRY_ASSIGN(const index::RunPage any, index->query({.limit = 1}));
    listing.empty_store = any.rows.empty();
  }
  return listing;
}

Json to_json(const archive::Store& store, const Listing& listing) {
  Json items = Json::array();
  for (const index::RunRow& row : listing.page.rows) items.push_back(row_to_json(store, row));
  return {{"items", std::move(items)},
          {"next", listing.page.next ? Json(*listing.page.next) : Json(nullptr)},
          {"as_of", base::format_utc(listing.refreshed.complete ? base::wall_now() : listing.refreshed.as_of)}};
}

std::string listing_text(const Context& context, const archive::Store& store, const LsArguments& arguments,
                         const Listing& listing) {
  if (context.json) return base::dump_json(to_json(store, listing)) + "\n";
  if (arguments.csv) return run_csv(listing.page, split_all(arguments.columns));
  if (listing.page.rows.empty()) return {};
  return run_table(context, store, listing.page, base::wall_now());
}

std::string talk(const Listing& listing, const LsArguments& arguments) {
  const index::RunPage& page = listing.page;
  std::string text;
  const auto add = [&text](const std::string& line) { text += (text.empty() ? "" : "\n") + line; };
  if (listing.empty_store) {
    add("no runs yet. Start one: trainctl run train.py   or: trainctl init");
  } else if (page.rows.empty()) {
    add(arguments.after.empty() ? "no run matches" : "no more runs");
  }
  for (const std::string& note : page.notes) add("note: " + printable(note));
  if (page.next && page.more > 0) {
    // Counting is given up after a while; then only that there are more is known.
    const std::string count =
        page.more > 1 ? base::format_count(page.more) + (page.more_is_least ? " or more" : "") : "";
    const std::string shown = page.more_is_least && count.empty() ? "many" : count.empty() ? "1" : count;
    add("… " + shown + " more (-n N, or --all)");
  }
  if (const std::string as_of = as_of_text(listing.refreshed); !as_of.empty()) add(as_of);
  return text;
}

/// Runs whose supervisor died get a new one; a run that never began is left to who made it.
void adopt(const Context& context, const archive::Store& store, const std::vector<std::string>& ids) {
  for (const std::string& id : ids) {
    if (const auto done = engine::ensure_supervised(store.run(id), engine::Start::adopt_only); !done) {
      context.warn("cannot look after run " + id + ": " + done.error().message);
    }
  }
}

/// What a redraw shows: the list and what there is to say about it.
std::string screen_text(const Context& context, const archive::Store& store, const LsArguments& arguments,
                        const Listing& listing) {
  std::string text = listing_text(context, store, arguments, listing);
  if (context.json || arguments.csv) return text;
  const std::string notes = talk(listing, arguments);
  return notes.empty() ? text : text + context.out.paint(Style::dim, notes) + "\n";
}

int watch(Context& context, const archive::Store& store, const LsArguments& arguments, const index::RunQuery& query) {
  const SignalInbox signals;
  std::string before;
  bool first = true;
  for (;;) {
    const auto listing = list(context, store, query);
    if (!listing) return report(context, listing.error());
    if (first) adopt(context, store, listing->open);
    std::string text = screen_text(context, store, arguments, *listing);
    if (first || text != before) {
      if (context.out.is_terminal() && !context.json) context.out.write("\x1b[H\x1b[2J");
      context.out.write(text);
      context.out.flush();
      before = std::move(text);
    }
    first = false;
    if (context.out.closed()) return 0;
    pollfd ready{signals.fd(), POLLIN, 0};
    (void)::poll(&ready, 1, kWatchMs);  // a signal or the next look, whichever comes first
    const int signal = signals.take();
    if (signal == SIGINT || signal == SIGTERM || signal == SIGHUP) return 0;
    if (signal == SIGWINCH) before.clear();
  }
}

/// Every run that has not ended is asked for where it is.
Result<> ask_targets(const Context& context, const archive::Store& store) {
  TRY_ASSIGN(const auto index, index::Index::open(store, index::Mode::read));
  TRY(index->refresh(kBudget));
  TRY_ASSIGN(const auto open, index->open_runs(kMostRefreshed));
  (void)refresh_runs(context, store, open, kRefreshDeadline, target::Until::state);
  return {};
}

int ls_action(Context& context, const LsArguments& arguments) {
  if (context.json && arguments.csv) {
    return report(context, Error{.code = Errc::invalid, .message = "--json and --csv exclude each other"});
  }
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  const auto query = read_query(context, arguments);
  if (!query) return report(context, query.error());
  if (arguments.refresh) {
    if (auto asked = ask_targets(context, *store); !asked) return report(context, asked.error());
  }
  if (arguments.watch) return watch(context, *store, arguments, *query);
  const auto listing = list(context, *store, *query);
  if (!listing) return report(context, listing.error());
  context.out.write(listing_text(context, *store, arguments, *listing));
  context.out.flush();
  if (!context.json) {
    if (const std::string text = talk(*listing, arguments); !text.empty())
      context.note(context.err.paint(Style::dim, text));
  }
  adopt(context, *store, listing->open);
  return 0;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<LsArguments>();
  app.add_option("--state", arguments->states, "Only these: running, failed, …; active or ended")
      ->type_name("STATE,…")
      ->one_value_each();
  app.add_option("--since", arguments->since, "Only runs created since then: 10m, 7d, or a time")->type_name("TIME");
  app.add_option("--where", arguments->where, "Only runs for which this is true")->type_name("EXPRESSION");
  app.add_option("--sort", arguments->sort, "By a column, metric or parameter; -NAME falls; newest first when left out")
      ->type_name("NAME,…")
      ->one_value_each();
  app.add_option("--columns", arguments->columns, "These columns, metrics or parameters")
      ->type_name("NAME,…")
      ->one_value_each();
  app.add_option("-n,--limit", arguments->limit, "At most N runs; 20 on a terminal, 100 otherwise")->type_name("N");
  app.add_flag("--all", arguments->all, "All runs");
  app.add_option("--after", arguments->after, "The page after this one: `next` of --json")->type_name("TOKEN");
  app.add_flag("--refresh", arguments->refresh, "Ask all targets first, 5 s at most");
  app.add_flag("--watch", arguments->watch, "Go on and draw again when something changes");
  app.add_flag("--csv", arguments->csv, "As CSV");
  return [arguments](Context& context) { return ls_action(context, *arguments); };
}

}  // namespace

Command ls_command() {
  return {"ls",
          "Looking",
          "List runs",
          true,
          configure,
          Completes::nothing,
          "Expressions of --where: NAME OPERATOR VALUE, combined with and, or, not and parentheses.\n"
          "  NAME      a column (state, name, created, duration, exit_code, cause, experiment, target, user, …),\n"
          "            metrics.NAME (.last .best .min .max .step), parameters.NAME, tags.NAME\n"
          "  OPERATOR  = != < <= > >=, ~ and !~ compare with a pattern such as \"dig*\"\n"
          "  VALUE     a number, word or \"text\"; null; for times 7d (ago) or 2026-11-23\n"
          "Examples:\n"
          "  trainctl ls --where 'metrics.accuracy > 0.9 and parameters.lr <= 0.1' --sort -accuracy\n"
          "  trainctl ls --state failed --since 7d\n"
          "  trainctl ls --columns name,accuracy,parameters.lr --csv --all > runs.csv"};
}

}  // namespace trainctl::cli
