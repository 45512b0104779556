// SPDX-License-Identifier: Apache-2.0
// Freezes a source directory into the store, and says beforehand what that would be.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "snapshot/scan.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

inline constexpr std::uint64_t kWarnBytes = 100'000'000;
inline constexpr std::uint64_t kWarnFiles = 2'000;
inline constexpr std::uint64_t kAskBytes = 1'000'000'000;

struct Progress {
  std::uint64_t files = 0;  ///< read so far
  std::uint64_t files_to_read = 0;
  std::uint64_t bytes = 0;
  std::uint64_t bytes_to_read = 0;
};

struct TakeOptions {
  std::filesystem::path source;
  std::filesystem::path store;
  std::vector<std::filesystem::path> secrets = {};  ///< files that hold secrets: left out
  std::uint64_t max_bytes =
      kAskBytes;  ///< a larger source is the error is_too_large(); UINT64_MAX when the user agreed
  std::chrono::milliseconds lock_timeout = std::chrono::seconds(60);
  std::function<void(const Progress&)> progress = {};  ///< called now and then while files are read
};

/// What was, or would be, frozen.
struct Contents {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::vector<LeftOut> left_out;
  std::vector<std::string> warnings;  ///< complete sentences, the size warning with the five largest files among them
  std::vector<Sized> largest;         ///< five
};

struct Snapshot : Contents {
  std::string digest;            ///< SHA-256 of the manifest, hex
  std::uint64_t read_files = 0;  ///< how many were read; the others were unchanged since the last time
  std::uint64_t read_bytes = 0;
};

struct Preview : Contents {
  std::vector<Sized> items;  ///< every file, in manifest order
  bool too_large = false;    ///< take() would refuse
};

/// Durable when it returns. Errors: source missing; files that cannot be read, all of them named; a file that changes
/// while it is read, three times; too large; the store is full (nothing half-written becomes visible). Safe against any
/// number of concurrent calls and against being killed at any point.
Result<Snapshot> take(const TakeOptions& options);

/// Only walks: reads no file, writes nothing; `store` need not exist.
Result<Preview> preview(const std::filesystem::path& source, const std::filesystem::path& store,
                        std::uint64_t max_bytes = kAskBytes, const std::vector<std::filesystem::path>& secrets = {});

/// True for the error of a source above max_bytes. Its message names the largest files.
bool is_too_large(const Error& error);

}  // namespace trainctl::snapshot
