// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/growth.hpp"

#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/gang/membership.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kTail = 64U << 10U;
constexpr std::string_view kFirstLeadFile = "attempts/1/events.jsonl";

/// attempts/<n>/events.jsonl
bool is_lead_file(std::string_view name) {
  return name.ends_with("/events.jsonl") && std::count(name.begin(), name.end(), '/') == 2;
}

std::string lead_file(int attempt) {
  return "attempts/" + std::to_string(attempt) + "/events.jsonl";
}

std::string logs_folder(int attempt) {
  return "attempts/" + std::to_string(attempt) + "/logs/";
}

bool is_silent(const std::string& folder, std::string_view file) {
  return !folder.empty() && file.starts_with(folder);
}

/// The length of the whole lines of the lead's file before the one that tells an attempt's end. The events are written
/// by us, without blanks; inside a text the quotes would have backslashes.
std::size_t before_end(std::string_view bytes) {
  const std::size_t end = bytes.find(R"("type":"end")");
  const std::size_t last = bytes.substr(0, end).rfind('\n');
  return last == std::string_view::npos ? 0 : last + 1;
}

}  // namespace

Result<GrowthWatcher> GrowthWatcher::open(const std::filesystem::path& store, std::vector<WatchedRun> runs,
                                          GrowthOptions options) {
  GrowthWatcher watcher;
  watcher.options_ = options;
  watcher.network_ = base::is_network_file_system(store);
  if (!watcher.network_ && options.follow) watcher.inotify_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  for (WatchedRun& wanted : runs) {
    Run run;
    run.paths = run_here(store, wanted.run);
    run.missing = !base::exists(run.paths.plan());
    if (run.missing && !options.tolerate_missing)
      return fail(Errc::not_found, "no run " + wanted.run + " on this host");
    for (auto& [name, cursor] : wanted.cursors) {
      run.files[name].have = cursor.have;
      run.files[name].tail = std::move(cursor.tail);
    }
    watcher.runs_.push_back(std::move(run));
  }
  for (std::size_t i = 0; i < watcher.runs_.size(); ++i) {
    if (!watcher.runs_[i].missing) watcher.scan(i);
  }
  return watcher;
}

/// Whether there is a new one.
bool GrowthWatcher::watch_folders(std::size_t index) {
  if (!inotify_) return false;
  const std::size_t before = watched_.size();
  const format::RunPaths& run = runs_[index].paths;
  std::vector<std::filesystem::path> folders = {run.root, run.attempts()};
  for (int n = 1; n <= runs_[index].listing.last_attempt(); ++n) {
    const format::AttemptPaths attempt = run.attempt(n);
    folders.insert(folders.end(), {attempt.root, attempt.logs(), attempt.metrics(), attempt.root / "nodes"});
    if (const auto nodes = base::list_directory(attempt.root / "nodes")) {
      for (const std::string& node : *nodes) folders.push_back(attempt.root / "nodes" / node);
    }
  }
  for (const auto& folder : folders) {
    if (watched_.contains(folder.string())) continue;
    const int watch = ::inotify_add_watch(inotify_.get(), folder.c_str(),
                                          IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_ONLYDIR);
    if (watch < 0) continue;
    watched_[folder.string()] = watch;
    folders_[watch] = index;
  }
  return watched_.size() != before;
}

/// The fold, when the lead's file grew since the last one: a flooding log must not parse the events each time.
std::optional<format::RunState> GrowthWatcher::fold_if_grown(Run& run) {
  const int attempt = run.listing.last_attempt();
  const std::uint64_t size = base::file_size(run.paths.attempt(attempt).events()).value_or(0);
  if (attempt == run.folded_attempt && size == run.folded_size) return std::nullopt;
  run.folded_attempt = attempt;
  run.folded_size = size;
  auto state = format::fold_run(run.paths);
  if (!state) return std::nullopt;
  return std::move(*state);
}

/// What the lead says, if it has said anything since.
void GrowthWatcher::read_state(Run& run) const {
  const auto state = fold_if_grown(run);
  if (!state) return;
  if (format::is_terminal(state->state) && !state->end.is_null()) {
    run.ended = true;
    run.end = {{"run", run.paths.id()}, {"ended", true}, {"state", to_string(state->state)}};
    run.end["cause"] = state->cause ? Json(to_string(*state->cause)) : Json(nullptr);
  } else {
    run.current = {{"run", run.paths.id()}, {"current", true}, {"state", to_string(state->state)}};
  }
  const bool goes_on = !run.ended && state->state != format::State::retrying;
  run.silent_logs = goes_on && !options_.logs ? logs_folder(state->attempt) : std::string();
}

void GrowthWatcher::scan(std::size_t index) {
  Run& run = runs_[index];
  run.dirty = false;
  run.listing.refresh(run.paths, network_);
  // Ended is asked before the sizes are read: whatever was written before the end is then in these sizes.
  if (!run.ended) read_state(run);
  // What appeared before the end that was just read, and before the watches, has to be listed too.
  if (watch_folders(index) || run.ended) run.listing.refresh(run.paths, network_);
  for (const std::string& name : run.listing.files())
    run.files[name].size = base::file_size(run.paths.root / name).value_or(0);
  // Of what the lead says no more than before the others were listed: a copy must not hear of an attempt's end first.
  if (!run.ended && run.folded_attempt > 0) run.files[lead_file(run.folded_attempt)].size = run.folded_size;
}

void GrowthWatcher::look() {
  alignas(inotify_event) std::array<char, 16384> buffer;  // NOLINT: filled by read
  bool any = false;
  ssize_t got = 0;
  while (inotify_ && (got = ::read(inotify_.get(), buffer.data(), buffer.size())) > 0) {
    for (std::size_t at = 0; at + sizeof(inotify_event) <= static_cast<std::size_t>(got);) {
      inotify_event event{};
      std::memcpy(&event, buffer.data() + at, sizeof event);
      at += sizeof event + event.len;
      any = true;
      const auto found = folders_.find(event.wd);
      if (found != folders_.end()) runs_[found->second].dirty = true;
      if ((event.mask & IN_Q_OVERFLOW) != 0) any = false;
    }
  }
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    if (!runs_[i].told && (runs_[i].dirty || !any)) scan(i);
  }
}

std::optional<Growth> GrowthWatcher::check(const Run& run, const std::string& name, File& file) {
  file.checked = true;
  bool good = file.have <= file.size;
  if (good && !file.tail.empty() && file.have > 0) {
    const std::uint64_t count = std::min(file.have, kTail);
    const auto bytes = base::read_range(run.paths.root / name, file.have - count, count);
    good = bytes && base::sha256_hex(*bytes) == file.tail;
  }
  if (good) return std::nullopt;
  file.broken = true;
  Growth growth{run.paths.id(), name, file.have, {}, {}};
  growth.notice = {{"run", growth.run}, {"file", name}, {"mismatch", true}, {"size", file.size}};
  return growth;
}

std::optional<Growth> GrowthWatcher::take(Run& run, const std::string& name, File& file, std::size_t max_bytes) {
  if (file.broken) return std::nullopt;
  if (!file.checked || file.size < file.have) {
    if (auto mismatch = check(run, name, file)) return mismatch;
  }
  if (file.size <= file.have) return std::nullopt;
  const std::uint64_t count = std::min<std::uint64_t>(max_bytes, file.size - file.have);
  auto bytes = base::read_range(run.paths.root / name, file.have, count);
  if (!bytes || bytes->empty()) {  // truncated or unreadable since the look: the next one tells
    file.size = file.have;
    return std::nullopt;
  }
  Growth growth{run.paths.id(), name, file.have, std::move(*bytes), nullptr};
  file.have += growth.bytes.size();
  return growth;
}

/// What the lead says while its attempt goes on. A later attempt's file is begun behind everything of the earlier ones.
std::optional<Growth> GrowthWatcher::take_news(Run& run, std::size_t max_bytes) {
  for (auto& [name, file] : run.files) {
    if (!is_lead_file(name) || file.size == file.held || (file.have == 0 && name != kFirstLeadFile)) continue;
    const std::uint64_t have = file.have;
    auto growth = take(run, name, file, max_bytes);
    if (!growth) continue;
    if (!growth->notice.is_null()) return growth;
    growth->bytes.resize(before_end(growth->bytes));
    file.have = have + growth->bytes.size();
    if (!growth->bytes.empty()) return growth;
    file.held = file.size;
  }
  return std::nullopt;
}

std::optional<Growth> GrowthWatcher::take_next(Run& run, std::size_t max_bytes) {
  if (auto news = take_news(run, max_bytes)) return news;
  auto file = run.files.upper_bound(run.last_file);
  for (std::size_t looked = 0; looked < run.files.size(); ++looked, ++file) {
    if (file == run.files.end()) file = run.files.begin();
    if (is_lead_file(file->first) || is_silent(run.silent_logs, file->first)) continue;
    auto growth = take(run, file->first, file->second, max_bytes);
    if (!growth) continue;
    run.last_file = file->first;
    return growth;
  }
  for (auto& [name, lead] : run.files) {
    if (!is_lead_file(name)) continue;
    if (auto growth = take(run, name, lead, max_bytes)) return growth;
  }
  return std::nullopt;
}

/// What is said of a run behind its last byte; empty while more may come.
std::optional<Growth> GrowthWatcher::last_word(Run& run) const {
  Json notice;
  if (run.missing) {
    notice = {{"run", run.paths.id()}, {"missing", true}};
  } else if (run.ended && !run.dirty) {
    notice = run.end;
  } else if (!options_.follow) {
    notice = run.current;
  } else {
    return std::nullopt;
  }
  run.told = true;
  return Growth{run.paths.id(), {}, 0, {}, std::move(notice)};
}

Result<std::optional<Growth>> GrowthWatcher::next(std::size_t max_bytes) {
  // Runs take turns, and the files of a run: a flooding log must not keep the metrics back.
  for (std::size_t tried = 0; tried < runs_.size(); ++tried) {
    Run& run = runs_[turn_ % runs_.size()];
    ++turn_;
    if (run.told) continue;
    if (auto growth = take_next(run, max_bytes)) return growth;
    if (auto word = last_word(run)) return word;
  }
  return std::optional<Growth>{};
}

void GrowthWatcher::resume(const std::string& run, const std::string& file, const FileCursor& cursor) {
  const auto found = std::find_if(runs_.begin(), runs_.end(), [&run](const Run& one) { return one.paths.id() == run; });
  if (found == runs_.end()) return;
  File& resumed = found->files[file];
  resumed.have = cursor.have;
  resumed.tail = cursor.tail;
  resumed.checked = false;
  resumed.broken = false;
}

bool GrowthWatcher::done() const {
  return std::all_of(runs_.begin(), runs_.end(), [](const Run& run) { return run.told; });
}

}  // namespace trainctl::host
