// SPDX-License-Identifier: Apache-2.0
// A spare: a private copy of a snapshot that was made ahead, while nobody waited, for the next run of the same source
// directory. That run takes it and changes what differs, instead of making thousands of files (decision 0016).
//   <store>/snapshots/spare/<key>/tree   as materialise() makes it
//                                /stamp  of which snapshot, and how each file and folder was found when it was done
//   <store>/snapshots/spare/.draft-*     of a maker that died, or a spare that did not serve; the next maker removes it
//   <store>/snapshots/spare.gone-*       all of them, while they are removed
//   <store>/snapshots/spare.lock         flock'ed by whoever makes or removes spares
// Never trusted on its word: inode, size, mtime and ctime of every file and folder must be those of the stamp, whose
// boot must be this one (a spare is not synced).
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/file.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

inline constexpr std::uint64_t kSpareAboveFiles = 1'000;  ///< smaller trees are made in no time
inline constexpr std::uint64_t kSpareUpToBytes = UINT64_C(2) << 30U;
inline constexpr std::uint64_t kSpareShareOfDisk = 10;  ///< at most this part of what is free
inline constexpr std::size_t kMostSpares = 4;           ///< the ones made longest ago make room

/// Until a maker, which has the lowest priority, has seen that it shall stop.
inline constexpr std::chrono::milliseconds kMakerStops = std::chrono::seconds(10);

/// What names a source: text that two sources share only when their snapshots resemble each other.
std::string spare_key(std::string_view source);

/// Is the tree large enough to be worth one, and small enough to afford it? Never on a network file system, where a
/// file's times may be those of a cache.
bool is_worth_a_spare(const Store& store, std::uint64_t files, std::uint64_t bytes);

/// Empty when somebody makes or removes spares already.
Result<std::optional<base::FileLock>> lock_spares(const Store& store);

/// Makes the spare of `key`, unless there is one. The caller holds lock_spares(). Gives up (Errc::canceled) when
/// remove_spares() wants it.
Result<> make_spare(const Store& store, std::string_view key, std::string_view digest);

/// Makes `destination` (which must not exist; its parent must) the private copy of `digest` from the spare of `key`.
/// False, and no `destination`, when there is none, or one that is too different, or that is not as it was left.
bool take_spare(const Store& store, std::string_view key, std::string_view digest,
                const std::filesystem::path& destination);

/// Removes all spares, and stops who makes one. None is made while the lock that is returned lives. Errc::timeout.
Result<base::FileLock> remove_spares(const Store& store, std::chrono::milliseconds wait = kMakerStops);

}  // namespace trainctl::snapshot
