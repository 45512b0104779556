// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "archive/contact.hpp"
#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "cli/all_ranks.hpp"
#include "cli/attach.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/index_view.hpp"
#include "cli/log_times.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "cli/refresh.hpp"
#include "cli/time_text.hpp"
#include "engine/source_digest.hpp"
#include "engine/supervision.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr std::uint64_t kBlock = 256U << 10U;

struct LogsArguments {
  std::string run = "@";
  bool follow = false;
  std::optional<std::uint64_t> tail;
  std::string since;
  bool timestamps = false;
  std::string rank_text = "0";  ///< a number, or "all"
  int rank = 0;
  std::optional<int> attempt;
  bool verify = false;
  bool environment = false;
};

/// The offset at which the last `lines` lines begin.
Result<std::uint64_t> tail_offset(const std::filesystem::path& log, std::uint64_t lines) {
  const std::uint64_t size = base::file_size(log).value_or(0);
  std::uint64_t end = size;
  std::uint64_t seen = 0;
  if (lines == 0) return size;
  while (end > 0) {
    const std::uint64_t begin = end - std::min(end, kBlock);
    TRY_ASSIGN(const std::string block, base::read_range(log, begin, end - begin));
    for (std::size_t i = block.size(); i > 0; --i) {
      const bool last_byte = begin + i == size;
      if (block[i - 1] == '\n' && !last_byte && ++seen == lines) return begin + i;
    }
    end = begin;
  }
  return 0;
}

std::uint64_t recorded_size(const Json& end_line, const std::filesystem::path& log) {
  const std::uint64_t size = base::file_size(log).value_or(0);
  if (!end_line.is_object()) return size;
  const auto sizes = end_line.find("logs");
  if (sizes == end_line.end() || !sizes->is_object()) return size;
  std::string name = log.filename().string();
  if (const auto end = name.find(".log."); end != std::string::npos) name.resize(end + 4);  // of a copy: "std.log.2"
  const auto found = sizes->find(name);
  return found != sizes->end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : size;
}

/// The copy of a run elsewhere against its source, as far as the copy has come.
Result<std::optional<target::FileDigest>> compare_with_source(const format::RunPaths& run,
                                                              const std::filesystem::path& log, const std::string& hash,
                                                              std::uint64_t size) {
  std::string file = log.lexically_relative(run.root).generic_string();
  // The newest copy is what the source has under its one name; older ones are kept although the source lost them.
  if (const auto end = file.find(".log."); end != std::string::npos) file.resize(end + 4);
  auto asked = engine::source_digest(run, file);
  if (!asked && asked.error().code == Errc::invalid) return std::nullopt;  // a target that keeps no files
  TRY_ASSIGN(auto source, std::move(asked));
  if (!source || source->size != size || source->sha256 == hash) return source;
  return fail(Errc::store, "the copy differs from the log on its target: " + source->sha256 + " there",
              "trainctl attach finds the first byte that differs and copies anew from there");
}

/// Size and hash of the log against what the end recorded, and against its source where that is elsewhere.
int verify(Context& context, const format::RunPaths& run, const format::AttemptPaths& attempt,
           const std::filesystem::path& log) {
  const auto hash = base::sha256_file_hex(log);
  if (!hash) return report(context, hash.error());
  const std::uint64_t size = base::file_size(log).value_or(0);
  const Json end_line = format::last_end(attempt.events());  // of what is shown, not of the run
  const std::uint64_t recorded = recorded_size(end_line, log);
  const auto source = compare_with_source(run, log, *hash, size);
  if (!source) return report(context, source.error());
  if (context.json) {
    context.print({{"log", log.string()},
                   {"source", *source ? Json{{"size", (*source)->size}, {"sha256", (*source)->sha256}} : Json(nullptr)},
                   {"size", size},
                   {"recorded", end_line.is_object() ? Json(recorded) : Json(nullptr)},
                   {"sha256", *hash},
                   {"whole", size >= recorded}});
  } else {
    context.out.line(*hash + "  " + log.string() + "  " + std::to_string(size) + " bytes");
    if (*source && (*source)->size == size) context.note("the same bytes as on its target");
    if (*source && (*source)->size != size)
      context.note("its target has " + std::to_string((*source)->size) + " bytes by now: trainctl sync, then again");
  }
  if (size >= recorded) return 0;
  const archive::Contact contact = archive::read_contact(run);
  const bool more_there = contact.seen && !contact.whole;
  return report(context, Error{.code = Errc::store,
                               .message = "the log has a gap: " + std::to_string(recorded - size) + " of " +
                                          std::to_string(recorded) + " bytes recorded at the end are missing",
                               .hint = more_there ? "its target has not given all of it: trainctl sync " + run.id()
                                                  : "the machine lost power before they reached the disk"});
}

Result<std::uint64_t> first_offset(const LogsArguments& arguments, const format::AttemptPaths& attempt,
                                   const std::filesystem::path& log) {
  std::uint64_t from = 0;
  if (arguments.tail) {
    TRY_ASSIGN(from, tail_offset(log, *arguments.tail));
  }
  if (!arguments.since.empty()) {
    TRY_ASSIGN(const base::WallTime since, parse_since(arguments.since));
    TRY_ASSIGN(const LogTimes times, LogTimes::read(attempt.times(arguments.rank)));
    const std::uint64_t size = base::file_size(log).value_or(0);
    from = std::max(from, std::min(times.offset_since(since), size));
  }
  return from;
}

Result<> check_log(const format::RunState& state, const std::filesystem::path& log, const LogsArguments& arguments) {
  if (arguments.attempt && (*arguments.attempt < 1 || *arguments.attempt > state.attempt)) {
    return fail(Errc::not_found, "the run has " + std::to_string(state.attempt) +
                                     (state.attempt == 1 ? " attempt" : " attempts") + ", none is number " +
                                     std::to_string(*arguments.attempt));
  }
  const bool wanted = arguments.rank > 0 || arguments.environment;
  const bool may_come = !format::is_terminal(state.state) && (arguments.follow || !arguments.environment);
  if (!wanted || may_come || base::exists(log)) return {};
  return fail(Errc::not_found, "the run has no " + log.filename().string());
}

/// Whatever the run did, showing its log worked; only our own errors and leaving are reported.
int print_or_follow(Context& context, const archive::Store& store, const format::RunPaths& run,
                    const AttachOptions& options) {
  const int code = attach(context, store, run.id(), options);
  const auto end = format::fold_run(run);
  return end && format::is_terminal(end->state) && code == format::exit_code_of(end->state, end->cause) ? 0 : code;
}

/// Which part of which attempt is shown, and whether following may go on into later ones.
AttachOptions shown_part(const Context& context, const LogsArguments& arguments, int attempt, int copy,
                         std::uint64_t from) {
  AttachOptions options{.summary = context.json,
                        .follow = arguments.follow,
                        .only_reads = true,
                        .timestamps = arguments.timestamps,
                        .environment = arguments.environment,
                        .rank = arguments.rank};
  if (arguments.attempt || (attempt > 0 && !arguments.follow)) options.attempt = attempt;
  options.first_attempt = attempt;
  options.from = from;
  // Of a copy that has several files only the whole shows the earlier ones too.
  if (from > 0 || arguments.tail || !arguments.since.empty()) options.copy = copy;
  return options;
}

int show_log(Context& context, const archive::Store& store, const format::RunPaths& run, const format::RunState& state,
             const LogsArguments& arguments) {
  const int shown = arguments.attempt.value_or(state.attempt);
  const format::AttemptPaths attempt = run.attempt(shown);
  const int copy = format::last_log_copy(attempt, arguments.rank);
  const auto log = arguments.environment ? attempt.environment_log() : attempt.log_copy(arguments.rank, copy);
  if (const auto there = check_log(state, log, arguments); !there) return report(context, there.error());
  if (arguments.verify) return verify(context, run, attempt, log);
  const auto from = first_offset(arguments, attempt, log);
  if (!from) return report(context, from.error());
  return print_or_follow(context, store, run, shown_part(context, arguments, shown, copy, *from));
}

/// Behind the log, where it is seen.
void note_age(Context& context, const std::string& old) {
  if (old.empty() || context.json) return;
  context.out.flush();
  context.note(context.err.paint(Style::dim, old));
}

int logs_action(Context& context, const LogsArguments& arguments) {
  if (arguments.environment && (arguments.timestamps || !arguments.since.empty())) {
    return report(context, Error{.code = Errc::invalid,
                                 .message = "the log of building an environment has no times",
                                 .hint = "leave --timestamps and --since away; --tail and --follow work"});
  }
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  const auto id = store->resolve(arguments.run);
  if (!id) return report(context, id.error());
  const format::RunPaths run = store->run(*id);
  if (auto supervised = engine::ensure_supervised(run, engine::Start::adopt_only); !supervised)
    return report(context, supervised.error());
  const std::string old = bring_up_to_date(run, arguments.follow);
  const auto state = format::fold_run(run);
  if (!state) return report(context, state.error());
  note_read_only(context, *store, state->state);
  const int code = show_log(context, *store, run, *state, arguments);
  note_age(context, old);
  return code;
}

int all_ranks_action(Context& context, const LogsArguments& arguments) {
  if (arguments.tail || !arguments.since.empty() || arguments.timestamps || arguments.verify || arguments.environment) {
    return report(context, Error{.code = Errc::invalid,
                                 .message = "--rank all shows whole logs",
                                 .hint = "for the other options name one rank"});
  }
  const auto store = archive::Store::open();
  if (!store) return report(context, store.error());
  const auto id = store->resolve(arguments.run);
  if (!id) return report(context, id.error());
  const format::RunPaths run = store->run(*id);
  if (auto supervised = engine::ensure_supervised(run, engine::Start::adopt_only); !supervised)
    return report(context, supervised.error());
  const std::string old = bring_up_to_date(run, arguments.follow);
  const auto state = format::fold_run(run);
  if (!state) return report(context, state.error());
  std::optional<int> attempt = arguments.attempt;
  if (!attempt && state->attempt > 0 && !arguments.follow) attempt = state->attempt;
  const int code = show_all_ranks(context, run, attempt, arguments.follow);
  note_age(context, old);
  return code;
}

Action configure(Options& app) {
  const auto arguments = std::make_shared<LogsArguments>();
  app.add_option("run", arguments->run, "The run; your last one when left out")->type_name("RUN");
  app.add_flag("-f,--follow", arguments->follow, "Go on as the log grows");
  app.add_option("-n,--tail", arguments->tail, "Only the last N lines")->type_name("N");
  app.add_option("--since", arguments->since, "Only what was written since then: 10m, 2h, or a time")
      ->type_name("TIME");
  app.add_flag("-t,--timestamps", arguments->timestamps, "The time before each line");
  app.add_option("--rank", arguments->rank_text, "This rank's log, or all: each line with its rank in front")
      ->type_name("N|all");
  app.add_option("--attempt", arguments->attempt, "This attempt's log; the last one when left out")->type_name("N");
  app.add_flag("--verify", arguments->verify,
               "Print size and SHA-256, compare with what the end recorded and with its target");
  app.add_flag("--environment", arguments->environment, "The log of building the environment");
  return [arguments](Context& context) {
    if (arguments->rank_text == "all") return all_ranks_action(context, *arguments);
    const std::string& text = arguments->rank_text;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), arguments->rank);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || arguments->rank < 0) {
      return report(context, Error{.code = Errc::invalid,
                                   .message = "--rank: \"" + text + "\" is not a rank",
                                   .hint = "a number from 0, or all"});
    }
    return logs_action(context, *arguments);
  };
}

}  // namespace

Command logs_command() {
  return {"logs",
          "Looking",
          "Show what a run printed, byte for byte",
          true,
          configure,
          Completes::run,
          "In a pipe the bytes are those the script wrote; on a terminal dangerous escape sequences are removed."};
}

}  // namespace trainctl::cli
