// SPDX-License-Identifier: Apache-2.0
// The operations that open a stream of data: watch and fetch.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "host/stdio/growth.hpp"
#include "host/stdio/observed_source.hpp"
#include "host/stdio/operations.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

class WatchSource : public Source {
 public:
  explicit WatchSource(GrowthWatcher watcher) : watcher_(std::move(watcher)) {}

  Result<std::optional<Piece>> next(std::size_t max_bytes) override {
    TRY_ASSIGN(auto growth, watcher_.next(max_bytes));
    if (!growth) {
      if (!watcher_.done()) return std::optional<Piece>{};
      return std::optional<Piece>(Piece{nullptr, {}, Json::object()});
    }
    if (!growth->notice.is_null()) return std::optional<Piece>(Piece{std::move(growth->notice), {}, nullptr});
    Piece piece;
    // Data goes on where it was: a note only when the file changes.
    if (growth->run != run_ || growth->file != file_ || growth->offset != offset_)
      piece.note = {{"run", growth->run}, {"file", growth->file}, {"offset", growth->offset}};
    run_ = std::move(growth->run);
    file_ = std::move(growth->file);
    offset_ = growth->offset + growth->bytes.size();
    piece.bytes = std::move(growth->bytes);
    return std::optional<Piece>(std::move(piece));
  }
  [[nodiscard]] int fd() const override { return watcher_.fd(); }
  [[nodiscard]] int wait_ms() const override { return watcher_.wait_ms(); }
  void look() override { watcher_.look(); }

 private:
  GrowthWatcher watcher_;
  std::string run_, file_;
  std::uint64_t offset_ = 0;
};

class FetchSource : public Source {
 public:
  FetchSource(base::UniqueFd fd, std::uint64_t offset, std::uint64_t count, Json note)
      : fd_(std::move(fd)), offset_(offset), left_(count), note_(std::move(note)) {}

  Result<std::optional<Piece>> next(std::size_t max_bytes) override {
    Piece piece;
    piece.note = std::exchange(note_, nullptr);
    piece.bytes.resize(static_cast<std::size_t>(std::min<std::uint64_t>(max_bytes, left_)));
    ssize_t got = -1;
    do {
      got = ::pread(fd_.get(), piece.bytes.data(), piece.bytes.size(), static_cast<off_t>(offset_));
    } while (got < 0 && errno == EINTR);
    if (got < 0) return fail_errno("read the file", errno);
    piece.bytes.resize(static_cast<std::size_t>(got));
    offset_ += piece.bytes.size();
    left_ -= piece.bytes.size();
    given_ += piece.bytes.size();
    if (left_ == 0 || got == 0) piece.end = {{"bytes", given_}};
    return std::optional<Piece>(std::move(piece));
  }

 private:
  base::UniqueFd fd_;
  std::uint64_t offset_ = 0, left_ = 0, given_ = 0;
  Json note_;
};

/// Of the bytes that a fetch would send. Gives way after each step, so that who asks meanwhile is answered.
class DigestSource : public Source {
 public:
  DigestSource(base::UniqueFd fd, std::uint64_t offset, std::uint64_t count, Json note)
      : fd_(std::move(fd)), offset_(offset), left_(count), note_(std::move(note)) {}

  Result<std::optional<Piece>> next(std::size_t) override {
    for (std::uint64_t done = 0; done < kHashedAtOnce; done += buffer_.size()) {
      buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kHashedPiece, left_)));
      const ssize_t got = ::pread(fd_.get(), buffer_.data(), buffer_.size(), static_cast<off_t>(offset_));
      if (got < 0 && errno == EINTR) return std::optional<Piece>{};
      if (got < 0) return fail_errno("read the file", errno);
      buffer_.resize(static_cast<std::size_t>(got));
      hash_.update(buffer_);
      offset_ += buffer_.size();
      left_ -= buffer_.size();
      given_ += buffer_.size();
      if (left_ > 0 && got > 0) continue;
      over_ = true;
      return std::optional<Piece>(Piece{std::move(note_), {}, {{"bytes", given_}, {"sha256", hash_.finish_hex()}}});
    }
    return std::optional<Piece>{};
  }
  [[nodiscard]] int wait_ms() const override { return over_ ? -1 : 0; }

 private:
  static constexpr std::uint64_t kHashedPiece = 1U << 20U;
  static constexpr std::uint64_t kHashedAtOnce = 16U << 20U;

  base::UniqueFd fd_;
  std::uint64_t offset_ = 0, left_ = 0, given_ = 0;
  Json note_;
  base::Sha256 hash_;
  std::string buffer_;
  bool over_ = false;
};

Result<std::uint64_t> number_member(const Json& request, const char* key, std::uint64_t fallback) {
  const auto found = request.find(key);
  if (found == request.end() || found->is_null()) return fallback;
  if (!found->is_number_unsigned() || found->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX))
    return fail(Errc::invalid, std::string("\"") + key + "\" is not a number of bytes");
  return found->get<std::uint64_t>();
}

Result<WatchedRun> watched_run(const Json& item) {
  WatchedRun watched;
  TRY_ASSIGN(watched.run, run_member(item));
  const auto cursors = item.find("cursors");
  if (cursors == item.end()) return watched;
  if (!cursors->is_object()) return fail(Errc::invalid, "\"cursors\" is not an object");
  for (const auto& entry : cursors->items()) {
    FileCursor cursor;
    if (!entry.value().is_object()) return fail(Errc::invalid, "a cursor is not an object");
    TRY_ASSIGN(cursor.have, number_member(entry.value(), "have", 0));
    if (entry.value().contains("tail")) {
      TRY_ASSIGN(cursor.tail, text_member(entry.value(), "tail"));
    }
    watched.cursors[entry.key()] = std::move(cursor);
  }
  return watched;
}

}  // namespace

Result<std::unique_ptr<Source>> operate_watch(const StdioContext& context, const Json& request) {
  const auto runs = request.find("runs");
  if (runs == request.end() || !runs->is_array() || runs->empty())
    return fail(Errc::invalid, "the request has no list \"runs\"");
  std::vector<WatchedRun> watched;
  std::vector<std::string> names;
  for (const Json& item : *runs) {
    TRY_ASSIGN(auto one, watched_run(item));
    names.push_back(one.run);
    watched.push_back(std::move(one));
  }
  GrowthOptions options{.follow = true, .tolerate_missing = true};
  if (const auto follow = request.find("follow"); follow != request.end()) {
    if (!follow->is_boolean()) return fail(Errc::invalid, "\"follow\" is true or false");
    options.follow = follow->get<bool>();
  }
  if (const auto logs = request.find("logs"); logs != request.end()) {
    if (!logs->is_boolean()) return fail(Errc::invalid, "\"logs\" is true or false");
    options.logs = logs->get<bool>();
  }
  TRY_ASSIGN(auto watcher, GrowthWatcher::open(context.store, std::move(watched), options));
  return with_observations(context, names, options.follow, std::make_unique<WatchSource>(std::move(watcher)));
}

Result<std::unique_ptr<Source>> operate_fetch(const StdioContext& context, const Json& request) {
  TRY_ASSIGN(const std::string run, run_member(request));
  TRY_ASSIGN(const std::string file, text_member(request, "file"));
  TRY_ASSIGN(const std::uint64_t offset, number_member(request, "offset", 0));
  TRY_ASSIGN(const std::uint64_t count, number_member(request, "count", static_cast<std::uint64_t>(INT64_MAX)));
  if (file != "plan.json" && !file.starts_with("attempts/"))
    return fail(Errc::denied, "only plan.json and files below attempts/ can be fetched, not \"" + file + "\"");
  TRY_ASSIGN(auto fd, open_beneath(format::StorePaths{context.store}.run(run).root, file));
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("look at " + file, errno);
  if (!S_ISREG(status.st_mode)) return fail(Errc::denied, "\"" + file + "\" is not a regular file");
  const std::int64_t modified = std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  Json note = {{"run", run},
               {"file", file},
               {"offset", offset},
               {"size", static_cast<std::uint64_t>(status.st_size)},
               {"mode", status.st_mode & 0777U},
               {"mtime_ns", modified}};
  const auto digest = request.find("digest");
  if (digest != request.end() && *digest == true)
    return std::unique_ptr<Source>(std::make_unique<DigestSource>(std::move(fd), offset, count, std::move(note)));
  return std::unique_ptr<Source>(std::make_unique<FetchSource>(std::move(fd), offset, count, std::move(note)));
}

}  // namespace trainctl::host
