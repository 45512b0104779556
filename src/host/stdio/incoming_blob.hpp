// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "base/fd.hpp"
#include "base/hash.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// A large blob on its way into the snapshot store. One above kKeepPartAbove is written where a later connection finds
/// it and goes on; a smaller one is forgotten when it does not become whole.
class IncomingBlob {
 public:
  static constexpr std::uint64_t kKeepPartAbove = 64U << 20U;

  /// `offset`: so much is there already (partial_size). Errc::invalid when it is not, Errc::store when the disk has no
  /// room, Errc::unavailable (retryable) while somebody else sends the same part.
  static Result<std::unique_ptr<IncomingBlob>> open(const snapshot::Store& store, snapshot::BlobWriter& blobs,
                                                    const snapshot::Hash& hash, std::uint64_t size,
                                                    std::uint64_t offset);
  ~IncomingBlob();
  IncomingBlob(const IncomingBlob&) = delete;
  IncomingBlob& operator=(const IncomingBlob&) = delete;

  /// What was there has to be read before more may be written: call catch_up(), a slice each.
  [[nodiscard]] bool behind() const { return hashed_ < offset_; }
  Result<> catch_up();

  [[nodiscard]] std::uint64_t left() const { return size_ - offset_; }
  Result<> write(std::string_view bytes);
  /// All bytes are there: the blob becomes visible, durably. Errc::io (retryable) when it is not what its name says;
  /// nothing of it is kept then.
  Result<> keep();

 private:
  IncomingBlob(snapshot::BlobWriter& blobs, const snapshot::Hash& hash, std::uint64_t size)
      : blobs_(blobs), hash_(hash), size_(size) {}
  Result<> open_partial(const snapshot::Store& store, std::uint64_t offset);

  snapshot::BlobWriter& blobs_;
  snapshot::Hash hash_;
  std::uint64_t size_ = 0;
  std::uint64_t offset_ = 0;  ///< written
  std::uint64_t hashed_ = 0;  ///< of them, in sha_
  std::uint64_t synced_ = 0;
  base::Sha256 sha_;
  base::UniqueFd fd_;
  std::filesystem::path path_;
  bool temporary_ = true;
};

/// How much of a blob an earlier connection left here; 0 = nothing to go on from.
std::uint64_t partial_size(const snapshot::Store& store, const snapshot::Hash& hash);

/// Errc::store unless `bytes` fit on the disk of `folder`, with some room left for the runs.
Result<> check_room(const std::filesystem::path& folder, std::uint64_t bytes);

}  // namespace trainctl::host
