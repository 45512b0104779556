// SPDX-License-Identifier: Apache-2.0
#include "index/refresh.hpp"

#include <dirent.h>
#include <stdint.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/ulid.hpp"
#include "format/paths.hpp"
#include "index/index.hpp"
#include "index/run_record.hpp"
#include "index/schema.hpp"
#include "index/sqlite.hpp"
#include "trainctl/result.hpp"

namespace trainctl::index {
namespace {

constexpr std::size_t kBatch = 256;
constexpr std::size_t kVeryMany = 4096;  ///< so many new runs are faster without indices
constexpr std::int64_t kSettledNs = 2'000'000'000;

struct Closer {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

std::int64_t folder_mtime_ns(const std::filesystem::path& folder) {
  struct stat status{};
  if (::stat(folder.c_str(), &status) != 0) return 0;
  return status.st_mtim.tv_sec * INT64_C(1'000'000'000) + status.st_mtim.tv_nsec;
}

/// A transaction that is rolled back unless committed.
class Transaction {
 public:
  static Result<Transaction> begin(Database& database) {
    TRY(database.execute("BEGIN IMMEDIATE"));
    return Transaction(database);
  }
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    if (database_ != nullptr) (void)database_->execute("ROLLBACK");  // nothing more can be done here
  }
  Result<> commit() { return std::exchange(database_, nullptr)->execute("COMMIT"); }

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace

Result<std::vector<std::string>> list_ulids(const std::filesystem::path& folder) {
  std::vector<std::string> ids;
  const std::unique_ptr<DIR, Closer> open(::opendir(folder.c_str()));
  if (!open) {
    if (errno == ENOENT) return ids;
    return fail_errno("list " + folder.string(), errno);
  }
  errno = 0;
  while (const dirent* entry = ::readdir(open.get())) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
    const std::string_view name(entry->d_name);
    if (base::is_ulid(name)) ids.emplace_back(name);
  }
  if (errno != 0) return fail_errno("list " + folder.string(), errno);
  return ids;
}

Result<Refresher::Known> Refresher::load() {
  TRY_ASSIGN(Statement row, database_.prepare("SELECT highest,known,digest,folder_mtime FROM progress"));
  TRY(row.step());
  Known known;
  known.highest = row.text(0);
  known.count = static_cast<std::uint64_t>(row.integer(1));
  known.digest = static_cast<std::uint64_t>(row.integer(2));
  known.folder_mtime = row.integer(3);
  return known;
}

Result<> Refresher::save(const Known& known) {
  TRY_ASSIGN(Statement row, database_.prepare("UPDATE progress SET highest=?1,known=?2,digest=?3,folder_mtime=?4"));
  row.bind(1, std::string_view(known.highest)).bind(2, static_cast<std::int64_t>(known.count));
  return row.bind(3, static_cast<std::int64_t>(known.digest)).bind(4, known.folder_mtime).run();
}

Result<> Refresher::discover(const Progress& progress) {
  const std::filesystem::path folder = store_.paths().runs();
  TRY_ASSIGN(Known known, load());
  const std::int64_t mtime = folder_mtime_ns(folder);
  if (mtime == known.folder_mtime && mtime != 0) return {};
  TRY_ASSIGN(std::vector<std::string> listed, list_ulids(folder));
  // Cheap when runs were only added: the ids up to the highest known one are the known ones if number and digest agree.
  Known seen;
  std::vector<std::string> fresh;
  for (std::string& id : listed) {
    if (id > known.highest) {
      fresh.push_back(std::move(id));
    } else {
      ++seen.count;
      seen.digest += id_digest(id);
    }
  }
  if (seen.count != known.count || seen.digest != known.digest) {
    TRY_ASSIGN(listed, list_ulids(folder));
    TRY_ASSIGN(fresh, difference(listed, known));
  }
  const bool bulk = fresh.size() > kVeryMany && fresh.size() > known.count;
  if (bulk) TRY(drop_indices(database_));
  TRY_ASSIGN(const bool all, take_in(std::move(fresh), known, progress));
  // Also when there was little to do: who dropped them may have been killed.
  TRY(create_indices(database_));
  // A folder that changed just now may change again without a new time of change; then look again next time.
  const std::int64_t now = base::wall_now().time_since_epoch().count() * 1000;
  const std::int64_t settled = all && now - mtime > kSettledNs ? mtime : 0;
  if (settled == known.folder_mtime) return {};
  known.folder_mtime = settled;
  return save(known);
}

Result<std::vector<std::string>> Refresher::difference(const std::vector<std::string>& listed, Known& known) {
  std::vector<std::string> there = listed;
  std::sort(there.begin(), there.end());
  std::vector<std::string> stored;
  TRY_ASSIGN(Statement rows, database_.prepare("SELECT id FROM runs ORDER BY id"));
  for (;;) {
    TRY_ASSIGN(const bool row, rows.step());
    if (!row) break;
    stored.emplace_back(rows.text(0));
  }
  std::vector<std::string> gone;
  std::vector<std::string> fresh;
  std::set_difference(stored.begin(), stored.end(), there.begin(), there.end(), std::back_inserter(gone));
  std::set_difference(there.begin(), there.end(), stored.begin(), stored.end(), std::back_inserter(fresh));
  TRY_ASSIGN(Transaction transaction, Transaction::begin(database_));
  Known kept;
  for (const std::string& id : gone) {
    TRY_ASSIGN(const std::int64_t key, writer_.key_of(id));
    TRY(writer_.remove(key));
    ++removed_;
  }
  for (const std::string& id : stored) {
    if (std::binary_search(gone.begin(), gone.end(), id)) continue;
    ++kept.count;
    kept.digest += id_digest(id);
    kept.highest = id;
  }
  known = kept;
  TRY(save(known));
  TRY(transaction.commit());
  return fresh;
}

Result<bool> Refresher::take_in(std::vector<std::string> ids, Known& known, const Progress& progress) {
  std::sort(ids.begin(), ids.end());
  for (std::size_t begin = 0; begin < ids.size(); begin += kBatch) {
    if (progress && !progress(begin, ids.size())) return false;
    TRY_ASSIGN(Transaction transaction, Transaction::begin(database_));
    Known next = known;
    for (std::size_t i = begin; i < std::min(ids.size(), begin + kBatch); ++i) {
      TRY(writer_.ingest(store_.run(ids[i]), 0, 0));
      ++next.count;
      next.digest += id_digest(ids[i]);
      next.highest = std::max(next.highest, ids[i]);
      ++added_;
    }
    TRY(save(next));
    TRY(transaction.commit());
    known = next;
  }
  if (progress && !ids.empty()) (void)progress(ids.size(), ids.size());
  return true;
}

Result<bool> Refresher::sweep(std::chrono::milliseconds budget, base::WallTime& began) {
  struct Open {
    std::int64_t key;
    std::string id, signature;
    int attempts;
  };
  TRY_ASSIGN(const std::int64_t from, database_.integer("SELECT sweep_key FROM progress"));
  TRY_ASSIGN(const std::int64_t since, database_.integer("SELECT sweep_began FROM progress"));
  began = from == 0 ? base::wall_now() : base::WallTime(std::chrono::microseconds(since));
  std::vector<Open> open;
  TRY_ASSIGN(Statement rows,
             database_.prepare("SELECT key,id,signature,attempts FROM runs WHERE terminal=0 AND key>?1 ORDER BY key"));
  rows.bind(1, from);
  for (;;) {
    TRY_ASSIGN(const bool row, rows.step());
    if (!row) break;
    open.push_back(
        {rows.integer(0), std::string(rows.text(1)), std::string(rows.text(2)), static_cast<int>(rows.integer(3))});
  }
  const std::uint64_t deadline = base::mono_ns() + static_cast<std::uint64_t>(budget.count()) * 1'000'000U;
  std::optional<Transaction> transaction;
  const auto begin_once = [&]() -> Result<> {
    if (transaction) return {};
    TRY_ASSIGN(Transaction made, Transaction::begin(database_));
    transaction.emplace(std::move(made));
    return {};
  };
  std::int64_t reached = from;
  bool all = true;
  for (const Open& run : open) {
    if (base::mono_ns() > deadline) {
      all = false;
      break;
    }
    reached = run.key;
    const format::RunPaths paths = store_.run(run.id);
    if (!run.signature.empty() && run_signature(paths, run.attempts) == run.signature) continue;
    TRY(begin_once());
    TRY(writer_.ingest(paths, run.key, run.attempts));
    ++updated_;
  }
  if (!all || from != 0) {
    TRY(begin_once());
    TRY_ASSIGN(Statement mark, database_.prepare("UPDATE progress SET sweep_key=?1,sweep_began=?2"));
    TRY(mark.bind(1, all ? 0 : reached).bind(2, std::int64_t{began.time_since_epoch().count()}).run());
  }
  if (transaction) TRY(transaction->commit());
  return all;
}

}  // namespace trainctl::index
