// SPDX-License-Identifier: Apache-2.0
#include "snapshot/snapshot.hpp"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "base/text.hpp"
#include "snapshot/freeze.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/pack.hpp"
#include "snapshot/scan.hpp"
#include "snapshot/stat_cache.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLargest = 5;
constexpr std::size_t kNamed = 50;
constexpr std::uint64_t kProgressEvery = 64;
constexpr std::string_view kSizeField = "snapshot.size";
constexpr std::int64_t kForeignClockSlack = 2'000'000'000;

std::string size_list(const std::vector<Sized>& files) {
  std::string text;
  for (const Sized& file : files) {
    text += (text.empty() ? "" : ", ") + base::to_utf8(file.path) + " " + base::format_size(file.size);
  }
  return text;
}

std::string size_text(const Contents& contents) {
  return base::format_size(contents.bytes) + " in " + base::format_count(contents.files) +
         " files; the largest: " + size_list(contents.largest);
}

constexpr std::string_view kLeaveOutHint =
    "leave out what the run does not need with lines in .trainctlignore (gitignore syntax)";

Contents contents_of(const Scan& found) {
  Contents contents;
  contents.files = found.files;
  contents.bytes = found.bytes;
  contents.left_out = found.left_out;
  contents.warnings = found.warnings;
  contents.largest = largest_files(found, kLargest);
  if (contents.bytes > kWarnBytes || contents.files > kWarnFiles) {
    contents.warnings.push_back("the source directory is large: " + size_text(contents) + "; " +
                                std::string(kLeaveOutHint));
  }
  return contents;
}

/// One call of take().
class Taking {
 public:
  Taking(const TakeOptions& options, Store store, StatCache cache, Scan found)
      : options_(options), store_(std::move(store)), scan_(std::move(found)), cache_(std::move(cache)) {}

  Result<Snapshot> run();

 private:
  Result<> choose();
  Result<> read_chosen();
  void judge(Frozen state, ScanEntry& file, int number);
  [[nodiscard]] Result<> report_failures() const;
  std::string manifest_digest();
  Result<std::string> write_manifest();
  Result<std::string> keep_manifest();
  void report_progress(bool force);

  const TakeOptions& options_;
  Store store_;
  Scan scan_;
  Snapshot result_;
  StatCache cache_;
  std::vector<std::size_t> to_read_;
  std::vector<bool> settled_;  // per entry: may be remembered
  std::vector<bool> gone_;     // per entry: vanished while we looked
  std::vector<std::string> unreadable_;
  std::vector<std::string> changing_;
  int errno_ = 0;
  bool any_gone_ = false;
  Progress progress_;
};

/// Finds the files whose hash is not known, or whose blob the store has lost.
Result<> Taking::choose() {
  settled_.assign(scan_.entries.size(), false);
  gone_.assign(scan_.entries.size(), false);
  HashSet known;
  const bool blobs_are_there = !cache_.empty() && store_.has(to_hex(cache_.manifest()));
  for (std::size_t i = 0; i < scan_.entries.size(); ++i) {
    ScanEntry& file = scan_.entries[i];
    if (file.entry.type != EntryType::file) continue;
    if (const Hash* hash = cache_.next(file)) {
      file.entry.hash = *hash;
      settled_[i] = true;
      if (!blobs_are_there) known.insert(*hash);
    } else {
      to_read_.push_back(i);
    }
  }
  if (known.empty()) return {};
  TRY_ASSIGN(const HashSet lost, store_.missing(std::move(known)));
  if (lost.empty()) return {};
  to_read_.clear();
  for (std::size_t i = 0; i < scan_.entries.size(); ++i) {
    const ManifestEntry& entry = scan_.entries[i].entry;
    if (entry.type != EntryType::file || (settled_[i] && !lost.contains(entry.hash))) continue;
    settled_[i] = false;
    to_read_.push_back(i);
  }
  return {};
}

void Taking::report_progress(bool force) {
  if (options_.progress && (force || progress_.files % kProgressEvery == 0)) options_.progress(progress_);
}

void Taking::judge(Frozen state, ScanEntry& file, int number) {
  const std::size_t at = static_cast<std::size_t>(&file - scan_.entries.data());
  switch (state) {
    case Frozen::stored:
      ++result_.read_files;
      result_.read_bytes += file.entry.size;
      break;
    case Frozen::vanished:
      gone_[at] = true;
      any_gone_ = true;
      result_.warnings.push_back(base::to_utf8(file.entry.path) + " vanished while the snapshot was taken");
      break;
    case Frozen::unreadable:
      unreadable_.push_back(file.entry.path);
      errno_ = number;
      break;
    case Frozen::changing:
      changing_.push_back(file.entry.path);
      break;
  }
}

Result<> Taking::report_failures() const {
  if (!unreadable_.empty()) {
    Error error = system_error("read " + name_list(unreadable_, kNamed), errno_);
    error.hint = "change the permissions, or leave them out with a line in .trainctlignore";
    return fail(std::move(error));
  }
  if (!changing_.empty()) {
    return fail(
        Errc::io,
        name_list(changing_, kNamed) + (changing_.size() == 1 ? " keeps" : " keep") + " changing while being read",
        "stop what writes to it, or leave it out with a line in .trainctlignore");
  }
  return {};
}

Result<> Taking::read_chosen() {
  if (to_read_.empty()) return {};
  progress_.files_to_read = to_read_.size();
  for (const std::size_t i : to_read_) progress_.bytes_to_read += scan_.entries[i].entry.size;
  report_progress(true);
  BlobWriter blobs(store_, options_.lock_timeout);
  Freezer freezer(scan_.directory.get(), blobs, base::is_network_file_system(scan_.root) ? kForeignClockSlack : 0);
  for (const std::size_t i : to_read_) {
    ScanEntry& file = scan_.entries[i];
    const std::uint64_t size = file.entry.size;
    bool settled = false;
    auto state = freezer.freeze(file, settled);
    if (!state) return fail(std::move(state).error().with_context("storing " + base::to_utf8(file.entry.path)));
    settled_[i] = settled;
    judge(*state, file, freezer.last_errno());
    ++progress_.files;
    progress_.bytes += size;
    report_progress(size > kLooseAbove);
  }
  TRY(report_failures());
  TRY(blobs.finish());
  report_progress(true);
  return {};
}

// The digest comes first, from a small buffer: for an unchanged tree the megabytes of text are never put together.
std::string Taking::manifest_digest() {
  constexpr std::size_t kChunk = 64U << 10U;
  base::Sha256 sha;
  std::string chunk(kManifestHeader);
  for (std::size_t i = 0; i < scan_.entries.size(); ++i) {
    if (any_gone_ && gone_[i]) continue;
    append_line(chunk, scan_.entries[i].entry);
    if (chunk.size() < kChunk) continue;
    sha.update(chunk);
    chunk.clear();
  }
  sha.update(chunk);
  return sha.finish_hex();
}

Result<std::string> Taking::write_manifest() {
  std::string digest = manifest_digest();
  if (store_.has(digest)) {
    store_.touch(digest);
    return digest;
  }
  std::string text(kManifestHeader);
  for (std::size_t i = 0; i < scan_.entries.size(); ++i) {
    if (!any_gone_ || !gone_[i]) append_line(text, scan_.entries[i].entry);
  }
  return store_.add_manifest(text);
}

Result<std::string> Taking::keep_manifest() {
  result_.files = 0;
  result_.bytes = 0;
  for (std::size_t i = 0; i < scan_.entries.size(); ++i) {
    const ManifestEntry& entry = scan_.entries[i].entry;
    if (entry.type != EntryType::file || (any_gone_ && gone_[i])) continue;
    ++result_.files;
    result_.bytes += entry.size;
  }
  TRY_ASSIGN(std::string digest, write_manifest());
  StatCacheWriter next;
  Hash hash;
  parse_hash(digest, hash);
  if (hash == cache_.manifest() && to_read_.empty()) return digest;
  for (std::size_t i = 0; i < scan_.entries.size(); ++i) {
    if (settled_[i]) next.add(scan_.entries[i]);
  }
  // Only a cache: a failure costs reading once more, nothing else.
  static_cast<void>(base::write_file_atomic(store_.cache_path(scan_.root), std::move(next).finish(hash)));
  return digest;
}

Result<Snapshot> Taking::run() {
  static_cast<Contents&>(result_) = contents_of(scan_);
  if (result_.bytes > options_.max_bytes) {
    Error error{.code = Errc::invalid,
                .message = "the source directory is too large for a snapshot: " + size_text(result_)};
    error.field = kSizeField;
    error.hint = kLeaveOutHint;
    return fail(std::move(error));
  }
  TRY_ASSIGN(const base::UniqueFd in_use, store_.use());
  TRY(choose());
  TRY(read_chosen());
  TRY_ASSIGN(result_.digest, keep_manifest());
  return std::move(result_);
}

}  // namespace

Result<Snapshot> take(const TakeOptions& options) {
  std::error_code error;
  const fs::path source = fs::canonical(options.source, error);
  if (error) return fail_errno("find the source directory " + options.source.string(), error.value());
  TRY_ASSIGN(Store store, Store::open(options.store));
  StatCache cache = StatCache::load(store.cache_path(source));
  TRY_ASSIGN(Scan found,
             scan({.source = source, .store = options.store, .secrets = options.secrets, .expected = cache.size()}));
  return Taking(options, std::move(store), std::move(cache), std::move(found)).run();
}

Result<Preview> preview(const fs::path& source, const fs::path& store, std::uint64_t max_bytes,
                        const std::vector<fs::path>& secrets) {
  constexpr std::uint64_t kCountLimit = 100'000;
  TRY_ASSIGN(const Scan found,
             scan({.source = source, .store = store, .secrets = secrets, .count_limit = kCountLimit}));
  Preview result;
  static_cast<Contents&>(result) = contents_of(found);
  for (const ScanEntry& entry : found.entries) {
    if (entry.entry.type == EntryType::file || !entry.entry.target.empty())
      result.items.push_back({.path = entry.entry.path, .size = entry.entry.size, .target = entry.entry.target});
  }
  result.too_large = result.bytes > max_bytes;
  return result;
}

bool is_too_large(const Error& error) {
  return error.field == kSizeField;
}

}  // namespace trainctl::snapshot
