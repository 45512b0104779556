// SPDX-License-Identifier: Apache-2.0
// Sends what a host lacks of snapshots, by content: what is there already is never sent again, and a large file goes on
// where an earlier connection broke.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>

#include "target/host/runner_client.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

/// A manifest of the local snapshot store, with all that it names.
struct Parcel {
  enum class Kind : std::uint8_t { snapshot, input };
  std::string digest;
  Kind kind = Kind::snapshot;
};

struct SendProgress {
  std::uint64_t objects = 0;  ///< to send: files by content, and manifests
  std::uint64_t bytes = 0;    ///< to send
  std::uint64_t sent = 0;     ///< of the bytes
  std::uint64_t skipped = 0;  ///< bytes that the host has already
};

/// Returns when the host has all parcels, durably. `store` is the local store. `progress` is called now and then while
/// something is sent.
Result<SendProgress> send_parcels(RunnerClient& client, const std::filesystem::path& store,
                                  std::span<const Parcel> parcels, const Cancel& cancel,
                                  const std::function<void(const SendProgress&)>& progress = {});

}  // namespace trainctl::target
