// SPDX-License-Identifier: Apache-2.0
#include "index/index.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "index/query.hpp"
#include "index/refresh.hpp"
#include "index/run_writer.hpp"
#include "index/schema.hpp"
#include "index/sqlite.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr int kReadWaitMs = 60;
constexpr int kDeadlineMs = 30'000;
constexpr std::uint64_t kLargeWal = 4U << 20U;

std::filesystem::path with_suffix(const std::filesystem::path& path, const char* suffix) {
  return path.string() + suffix;
}

/// The time of change of the lock file is when the index last was complete: one system call, no write to the database.
void mark_complete(int lock, base::WallTime time) {
  const auto us = time.time_since_epoch().count();
  const timespec at{static_cast<time_t>(us / 1'000'000), static_cast<long>(us % 1'000'000 * 1000)};
  const std::array<timespec, 2> times = {at, at};
  (void)::futimens(lock, times.data());  // then as_of is older than it could be
}

}  // namespace

Index::~Index() = default;

Result<std::unique_ptr<Index>> Index::open(const archive::Store& store, Mode mode) {
  std::unique_ptr<Index> index(new Index(store));
  const auto& path = store.paths().index_lock();
  if (mode == Mode::exclusive) {
    TRY_ASSIGN(index->lock_, base::FileLock::acquire(path, kDeadlineMs));
    TRY(index->open_writer());
    return index;
  }
  auto lock = base::FileLock::acquire(path, kReadWaitMs);
  if (!lock && lock.error().code == Errc::timeout) {
    if (index->open_reader()) return index;
    // There is nothing to read yet: who holds the lock is about to make it.
    lock = base::FileLock::acquire(path, kDeadlineMs);
    if (!lock && lock.error().code == Errc::timeout) return fail(std::move(lock).error());
  }
  if (!lock) {
    TRY(index->open_memory(lock.error()));
    return index;
  }
  index->lock_ = std::move(*lock);
  if (auto opened = index->open_writer(); !opened) TRY(index->open_memory(opened.error()));
  return index;
}

Result<> Index::open_memory(const Error& why) {
  lock_.reset();
  not_kept_ = why.message;
  TRY_ASSIGN(auto memory, Database::open_in_memory());
  // What is there saves reading every run folder.
  const bool copied = open_reader() && memory->copy_from(*database_);
  const auto current = copied ? schema_is_current(*memory) : Result<bool>(false);
  if (!current || !*current) {
    TRY_ASSIGN(memory, Database::open_in_memory());
    TRY(create_schema(*memory));
  }
  database_ = std::move(memory);
  return {};
}

Result<> Index::open_reader() {
  TRY_ASSIGN(database_, Database::open(store_.paths().index(), Access::read));
  TRY_ASSIGN(const bool current, schema_is_current(*database_));
  if (!current) return fail(Errc::store, "the index is being made");
  return {};
}

Result<> Index::open_writer() {
  const auto path = store_.paths().index();
  if (!base::exists(path)) return start_over();
  // Whatever is wrong with the file, the answer is the same: it is disposable.
  auto opened = Database::open(path, Access::write);
  if (!opened) return start_over();
  database_ = std::move(*opened);
  const auto ready = configure_writer(*database_, !base::is_network_file_system(store_.paths().root));
  const auto current = ready ? schema_is_current(*database_) : Result<bool>(false);
  return current && *current ? Result<>{} : start_over();
}

Result<> Index::start_over() {
  database_.reset();
  const auto path = store_.paths().index();
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) TRY(base::remove_tree(with_suffix(path, suffix)));
  {
    // SQLite would make it readable for everyone.
    TRY_ASSIGN(const base::UniqueFd made, base::open_file(path, O_WRONLY | O_CREAT | O_EXCL));
  }
  mark_complete(lock_->fd(), base::WallTime{});
  TRY_ASSIGN(database_, Database::open(path, Access::write));
  TRY(configure_writer(*database_, !base::is_network_file_system(store_.paths().root)));
  return create_schema(*database_);
}

base::WallTime Index::last_complete() const {
  struct stat status{};
  if (::stat(store_.paths().index_lock().c_str(), &status) != 0) return {};
  return base::WallTime(std::chrono::seconds(status.st_mtim.tv_sec) +
                        std::chrono::microseconds(status.st_mtim.tv_nsec / 1000));
}

Result<Refreshed> Index::refresh(std::chrono::milliseconds budget, const Progress& progress) {
  if (!lock_ && not_kept_.empty()) {
    Refreshed stale{.as_of = last_complete()};
    stale.held_by = base::lock_holder(store_.paths().index_lock());
    return stale;
  }
  auto done = refresh_once(budget, progress);
  if (done) return done;
  if (database_->damaged() && lock_) return rebuild(progress);
  if (!not_kept_.empty()) return done;
  // The disk became full, or read-only.
  TRY(open_memory(done.error()));
  return refresh_once(budget, progress);
}

Result<Refreshed> Index::refresh_once(std::chrono::milliseconds budget, const Progress& progress) {
  TRY_ASSIGN(RunWriter writer, RunWriter::make(*database_));
  Refresher refresher(*database_, store_, std::move(writer));
  Refreshed result;
  bool stopped = false;
  TRY(refresher.discover([&](std::uint64_t done, std::uint64_t total) {
    stopped = progress && !progress(done, total);
    if (!checkpoint_if_large()) stopped = true;
    return !stopped;
  }));
  base::WallTime began;
  TRY_ASSIGN(const bool all, refresher.sweep(budget, began));
  result.complete = all && !stopped;
  if (result.complete) {
    if (lock_) mark_complete(lock_->fd(), began);
    result.as_of = began;
  } else {
    result.as_of = last_complete();
  }
  result.added = refresher.added();
  result.updated = refresher.updated();
  result.removed = refresher.removed();
  result.not_kept = not_kept_;
  TRY(checkpoint_if_large());
  return result;
}

Result<> Index::checkpoint_if_large() {
  if (!lock_) return {};
  const auto size = base::file_size(with_suffix(store_.paths().index(), "-wal"));
  if (size.value_or(0) < kLargeWal) return {};
  // Readers may hold it back: nobody waits for them, the next one moves it on. Emptied, so that its size says how much
  // is left to move.
  auto moved = database_->execute("PRAGMA busy_timeout=0; PRAGMA wal_checkpoint(TRUNCATE); PRAGMA busy_timeout=2000");
  return moved || !database_->damaged() ? Result<>{} : moved;
}

Result<RunPage> Index::query(const RunQuery& query) {
  auto page = query_runs(*database_, query);
  if (page || !lock_ || !database_->damaged()) return page;
  TRY(rebuild({}));
  return query_runs(*database_, query);
}

Result<std::vector<std::string>> Index::open_runs(std::size_t most) {
  return ids_where("terminal=0", most);
}

Result<std::vector<std::string>> Index::ended_elsewhere(std::size_t most) {
  return ids_where("terminal=1 AND target IS NOT NULL AND target<>'local'", most);
}

Result<std::vector<std::string>> Index::ids_where(const std::string& condition, std::size_t most) {
  TRY_ASSIGN(Statement rows,
             database_->prepare("SELECT id FROM runs WHERE " + condition + " ORDER BY key DESC LIMIT ?1"));
  rows.bind(1, static_cast<std::int64_t>(most));
  std::vector<std::string> ids;
  for (;;) {
    TRY_ASSIGN(const bool row, rows.step());
    if (!row) return ids;
    ids.emplace_back(rows.text(0));
  }
}

Result<std::vector<Finding>> Index::check() {
  std::vector<Finding> findings;
  const char* const hint = "trainctl store rebuild makes the index anew";
  auto rows = database_->prepare("PRAGMA quick_check(20)");
  for (;;) {
    if (!rows) {
      findings.push_back({"index.db", rows.error().message, hint});
      return findings;
    }
    const auto row = rows->step();
    if (!row) {
      findings.push_back({"index.db", row.error().message, hint});
      return findings;
    }
    if (!*row) break;
    if (rows->text(0) != "ok") findings.push_back({"index.db", std::string(rows->text(0)), hint});
  }
  TRY_ASSIGN(const std::vector<std::string> folders, list_ulids(store_.paths().runs()));
  TRY_ASSIGN(const std::int64_t known, database_->integer("SELECT count(*) FROM runs"));
  if (static_cast<std::uint64_t>(known) != folders.size()) {
    findings.push_back(
        {"index.db", "has " + std::to_string(known) + " runs, the store " + std::to_string(folders.size()), hint});
  }
  return findings;
}

Result<Refreshed> Index::rebuild(const Progress& progress) {
  if (!lock_) {
    TRY_ASSIGN(lock_, base::FileLock::acquire(store_.paths().index_lock(), kDeadlineMs));
  }
  not_kept_.clear();
  TRY(start_over());
  return refresh_once(std::chrono::seconds(60), progress);
}

}  // namespace trainctl::index
