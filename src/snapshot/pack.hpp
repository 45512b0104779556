// SPDX-License-Identifier: Apache-2.0
// The two files that hold small blobs: packs (data) and the index (where each blob lies). Both are only ever appended
// to.
//
// packs/<number>.pack: records {"TCBLOB1\n", 32 bytes hash, u32 stored, u32 size, u32 codec, u32 crc32c of the fields
// before}, then `stored` bytes. index: records of 64 bytes {32 bytes hash, u64 offset of the data, u32 pack, u32
// stored, u32 size, u32 codec, u32 0, u32 crc32c of the fields before}; one that is torn or damaged is skipped, so
// bytes that no index record names do not exist. All numbers little-endian. codec: 0 as it is, 1 zstd.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/fd.hpp"
#include "snapshot/manifest.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

enum class Codec : std::uint32_t { plain = 0, zstd = 1 };

struct BlobPlace {
  Hash hash = {};
  std::uint64_t offset = 0;  ///< of the stored bytes
  std::uint32_t pack = 0;
  std::uint32_t stored = 0;
  std::uint32_t size = 0;
  Codec codec = Codec::plain;
};

inline constexpr std::size_t kIndexRecord = 64;
inline constexpr std::size_t kPackHead = 56;
inline constexpr std::uint64_t kPackLimit = 64U << 20U;
inline constexpr std::uint64_t kLooseAbove = 1U << 20U;  ///< larger blobs are files of their own

std::string encode_index_record(const BlobPlace& place);
std::optional<BlobPlace> decode_index_record(std::string_view record);
std::string encode_pack_head(const BlobPlace& place);
/// hash, stored, size and codec; the position is the caller's.
std::optional<BlobPlace> decode_pack_head(std::string_view head);

using HashSet = std::unordered_set<Hash, HashOf>;
using PlaceMap = std::unordered_map<Hash, BlobPlace, HashOf>;

/// The bytes of index from `from` on, whole records only; a missing index is empty.
Result<std::string> read_index(const std::filesystem::path& index, std::uint64_t from);

std::filesystem::path pack_path(const std::filesystem::path& folder, std::uint32_t number);

/// zstd when that saves an eighth, else the data as it is. `codec` is set.
std::string pack_data(std::string_view data, Codec& codec);
/// The blob of stored bytes; Errc::store when they do not give `size` bytes.
Result<std::string> unpack_data(std::string_view stored, const BlobPlace& place);

/// Reads blobs from packs, which stay open.
class PackReader {
 public:
  explicit PackReader(std::filesystem::path folder) : folder_(std::move(folder)) {}
  /// The blob; its length is checked, its hash only with `verify`.
  Result<std::string> read(const BlobPlace& place, bool verify);

 private:
  Result<int> open_pack(std::uint32_t number);
  std::filesystem::path folder_;
  std::unordered_map<std::uint32_t, base::UniqueFd> packs_;
};

}  // namespace trainctl::snapshot
