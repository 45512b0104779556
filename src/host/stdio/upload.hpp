// SPDX-License-Identifier: Apache-2.0
// What a client sends on the stream of a `put`.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "host/stdio/incoming_blob.hpp"
#include "host/stdio/operations.hpp"
#include "snapshot/store.hpp"

namespace trainctl::host {

/// Objects come as announced: notes name them, data is their bytes one behind the other. A blob is visible when its
/// hash was verified, a manifest when all its blobs are there, and everything is durable when finish() returns.
class Upload {
 public:
  static Result<std::unique_ptr<Upload>> open(const StdioContext& context, const Json& request);

  Result<> announce(const Json& note);
  Result<> receive(std::string_view bytes);
  /// The part of a blob that an earlier connection left is being read: call work() until it is not, before anything
  /// else.
  [[nodiscard]] bool busy() const { return file_ && file_->behind(); }
  Result<> work() { return file_->catch_up(); }
  /// The reply.
  Result<Json> finish();

 private:
  enum class Kind : std::uint8_t { blob, snapshot, input };
  struct Object {
    snapshot::Hash hash = {};
    std::uint64_t size = 0;
    std::uint64_t offset = 0;
    Kind kind = Kind::blob;
  };
  struct Manifest {
    Kind kind = Kind::snapshot;
    std::string text;
  };

  Upload(std::filesystem::path root, snapshot::Store store, base::UniqueFd use);
  static Result<Object> read_object(const Json& item);
  /// Opens the first announced object, and finishes those that have no bytes to wait for.
  Result<> begin();
  Result<> complete();
  Result<> keep_manifest(const Manifest& manifest);

  std::filesystem::path root_;
  snapshot::Store store_;
  base::UniqueFd use_;  ///< keeps the removal of unused blobs away
  snapshot::BlobWriter blobs_;
  std::deque<Object> announced_;  ///< the first one is being received
  bool begun_ = false;
  std::string buffer_;                  ///< of a small blob or a manifest
  std::unique_ptr<IncomingBlob> file_;  ///< of a large blob
  std::vector<Manifest> manifests_;
  std::uint64_t objects_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace trainctl::host
