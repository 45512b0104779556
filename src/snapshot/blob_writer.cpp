// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/ulid.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/pack.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBatch = 8U << 20U;

/// Writes `data` at the end of the file, durably. When that fails the file gets its old length back: we hold the lock,
/// and nothing names the bytes yet.
Result<> append_durably(int fd, const fs::path& path, std::string_view data, std::uint64_t size) {
  auto written = base::pwrite_all(fd, data, size);
  if (written) written = base::sync_file(fd);
  if (written) return {};
  // Should that fail too, bytes that nothing names stay behind: they cost space and no more.
  [[maybe_unused]] const int cut = ::ftruncate(fd, static_cast<off_t>(size));
  return fail(std::move(written).error().with_context("writing " + path.string()));
}

Result<std::uint64_t> size_of(int fd, const fs::path& path) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return fail_errno("read " + path.string(), errno);
  return static_cast<std::uint64_t>(info.st_size);
}

}  // namespace

Result<> BlobWriter::add(const Hash& hash, std::string_view data) {
  if (wanted_.contains(hash)) return {};
  BlobPlace place;
  place.hash = hash;
  place.size = static_cast<std::uint32_t>(data.size());
  const std::string stored = pack_data(data, place.codec);
  place.stored = static_cast<std::uint32_t>(stored.size());
  place.offset = buffer_.size() + kPackHead;
  buffer_ += encode_pack_head(place);
  buffer_ += stored;
  wanted_.emplace(hash, pending_.size());
  pending_.push_back(place);
  return buffer_.size() < kBatch ? Result<>() : flush();
}

// Reads the index from `from` on, takes what it names out of wanted_, and notes the last pack.
Result<> BlobWriter::forget_known(std::uint64_t& from) {
  TRY_ASSIGN(const std::string data, read_index(store_.index(), from));
  for (std::size_t at = 0; at < data.size(); at += kIndexRecord) {
    const auto place = decode_index_record(std::string_view(data).substr(at, kIndexRecord));
    if (!place) continue;
    last_pack_ = std::max(last_pack_, place->pack);
    wanted_.erase(place->hash);
  }
  from += data.size();
  return {};
}

Result<> BlobWriter::append_pending() {
  std::string data;
  std::vector<BlobPlace> places;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    BlobPlace place = pending_[i];
    if (!wanted_.contains(place.hash)) continue;
    data.append(buffer_, place.offset - kPackHead, kPackHead + place.stored);
    place.offset = data.size() - place.stored;
    places.push_back(place);
  }
  fs::path path = pack_path(store_.packs(), last_pack_);
  constexpr int kFlags = O_RDWR | O_CREAT | O_NOFOLLOW;
  TRY_ASSIGN(base::UniqueFd pack, base::open_file(path, kFlags));
  TRY_ASSIGN(std::uint64_t pack_size, size_of(pack.get(), path));
  if (pack_size > 0 && pack_size + data.size() > kPackLimit) {
    path = pack_path(store_.packs(), ++last_pack_);
    TRY_ASSIGN(pack, base::open_file(path, kFlags));
    TRY_ASSIGN(pack_size, size_of(pack.get(), path));
  }
  TRY(append_durably(pack.get(), path, data, pack_size));
  if (pack_size == 0) TRY(base::sync_directory(store_.packs()));

  TRY_ASSIGN(const base::UniqueFd index, base::open_file(store_.index(), kFlags));
  TRY_ASSIGN(const std::uint64_t index_size, size_of(index.get(), store_.index()));
  std::string records((kIndexRecord - index_size % kIndexRecord) % kIndexRecord, '\0');  // pads a torn record
  for (BlobPlace& place : places) {
    place.offset += pack_size;
    place.pack = last_pack_;
    records += encode_index_record(place);
  }
  TRY(append_durably(index.get(), store_.index(), records, index_size));
  if (index_size == 0) TRY(base::sync_directory(store_.root()));
  return {};
}

Result<> BlobWriter::flush() {
  std::uint64_t seen = 0;
  TRY(forget_known(seen));
  if (!wanted_.empty()) {
    TRY_ASSIGN(const base::FileLock lock,
               base::FileLock::acquire(store_.root() / "lock", static_cast<int>(lock_timeout_.count())));
    TRY(forget_known(seen));
    if (!wanted_.empty()) TRY(append_pending());
  }
  buffer_.clear();
  pending_.clear();
  wanted_.clear();
  return {};
}

Result<base::UniqueFd> BlobWriter::open_temporary(fs::path& path) const {
  path = store_.root() / "tmp" / base::random_hex(16);
  return base::open_file(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW);
}

Result<> BlobWriter::keep_loose(const Hash& hash, base::UniqueFd file, const fs::path& path) {
  const fs::path target = store_.loose(hash);
  TRY_ASSIGN(const std::uint64_t size, size_of(file.get(), path));
  if (base::file_size(target) == size) {
    ::unlink(path.c_str());
    return {};
  }
  TRY(base::sync_file(file.get()));
  TRY_ASSIGN(const bool fresh, base::make_directory(target.parent_path()));
  if (fresh) folders_.insert(target.parent_path().parent_path().string());
  if (::rename(path.c_str(), target.c_str()) != 0) return fail_errno("write " + target.string(), errno);
  folders_.insert(target.parent_path().string());
  return {};
}

Result<> BlobWriter::finish() {
  if (!pending_.empty()) TRY(flush());
  for (const std::string& folder : folders_) TRY(base::sync_directory(folder));
  folders_.clear();
  return {};
}

}  // namespace trainctl::snapshot
