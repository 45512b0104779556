// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/incoming_blob.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/store.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kSlice = 8U << 20U;
constexpr std::uint64_t kSyncEvery = 32U << 20U;
constexpr std::uint64_t kRoomForRuns = 32U << 20U;

}  // namespace

Result<> check_room(const std::filesystem::path& folder, std::uint64_t bytes) {
  const std::uint64_t free = base::free_bytes(folder);
  if (bytes == 0 || bytes + kRoomForRuns <= free) return {};
  return fail(Errc::store,
              base::host_name() + " has " + base::format_size(free) + " free in " + folder.string() + ", and " +
                  base::format_size(bytes) + " are to be sent there (" + base::format_size(kRoomForRuns) +
                  " stay free for runs)",
              "free some space there (trainctl target clean), then submit again; nothing that is there is sent twice");
}

std::uint64_t partial_size(const snapshot::Store& store, const snapshot::Hash& hash) {
  return base::file_size(store.partial(hash)).value_or(0);
}

Result<std::unique_ptr<IncomingBlob>> IncomingBlob::open(const snapshot::Store& store, snapshot::BlobWriter& blobs,
                                                         const snapshot::Hash& hash, std::uint64_t size,
                                                         std::uint64_t offset) {
  auto file = std::unique_ptr<IncomingBlob>(new IncomingBlob(blobs, hash, size));
  if (offset > size) return fail(Errc::invalid, "the offset of an object is behind its end");
  TRY(check_room(store.root(), size - offset));
  if (size > kKeepPartAbove) {
    TRY(file->open_partial(store, offset));
  } else if (offset > 0) {
    return fail(Errc::invalid, "no part of blob " + snapshot::to_hex(hash) + " is kept");
  }
  if (!file->fd_) {
    TRY_ASSIGN(file->fd_, blobs.open_temporary(file->path_));
  }
  return file;
}

Result<> IncomingBlob::open_partial(const snapshot::Store& store, std::uint64_t offset) {
  const auto path = store.partial(hash_);
  TRY(base::make_directories(path.parent_path()));
  TRY_ASSIGN(base::UniqueFd fd, base::open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW));
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    if (offset == 0) return {};  // two clients send the same file: this one into a file of its own
    Error error{.code = Errc::unavailable, .message = "blob " + snapshot::to_hex(hash_) + " is being sent by another"};
    error.retryable = true;
    return fail(std::move(error));
  }
  struct stat status{};
  if (::fstat(fd.get(), &status) != 0) return fail_errno("look at " + path.string(), errno);
  if (offset > static_cast<std::uint64_t>(status.st_size))
    return fail(Errc::invalid, "less than that is here of blob " + snapshot::to_hex(hash_));
  if (::ftruncate(fd.get(), static_cast<off_t>(offset)) != 0) return fail_errno("write " + path.string(), errno);
  fd_ = std::move(fd);
  path_ = path;
  temporary_ = false;
  offset_ = offset;
  return {};
}

IncomingBlob::~IncomingBlob() {
  if (temporary_ && fd_) ::unlink(path_.c_str());
}

Result<> IncomingBlob::catch_up() {
  std::string bytes(static_cast<std::size_t>(std::min(kSlice, offset_ - hashed_)), '\0');
  ssize_t got = -1;
  do {
    got = ::pread(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(hashed_));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return fail_errno("read " + path_.string(), errno);
  if (got == 0) return fail(Errc::store, path_.string() + " became shorter meanwhile");
  bytes.resize(static_cast<std::size_t>(got));
  sha_.update(bytes);
  hashed_ += bytes.size();
  return {};
}

Result<> IncomingBlob::write(std::string_view bytes) {
  TRY(base::pwrite_all(fd_.get(), bytes, offset_));
  sha_.update(bytes);
  offset_ += bytes.size();
  hashed_ = offset_;
  // So that the sync at the end of gigabytes does not keep everybody else waiting.
  if (offset_ - synced_ >= kSyncEvery) {
    base::start_sync(fd_.get());
    synced_ = offset_;
  }
  return {};
}

Result<> IncomingBlob::keep() {
  if (sha_.finish() != hash_) {
    ::unlink(path_.c_str());
    Error error{.code = Errc::io, .message = "what came of blob " + snapshot::to_hex(hash_) + " has another hash"};
    error.hint = "it was damaged on the way or here, or the file changed while it was sent: try again";
    error.retryable = true;
    return fail(std::move(error));
  }
  TRY(blobs_.keep_loose(hash_, std::move(fd_), path_));
  return {};
}

}  // namespace trainctl::host
