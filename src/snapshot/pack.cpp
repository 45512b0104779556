// SPDX-License-Identifier: Apache-2.0
#include "snapshot/pack.hpp"

#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/hash.hpp"
#include "snapshot/bytes.hpp"
#include "snapshot/manifest.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

constexpr std::string_view kBlobMagic = "TCBLOB1\n";
constexpr int kLevel = 1;
constexpr std::size_t kWorthTrying = 512;

bool known_codec(std::uint32_t codec) {
  return codec <= static_cast<std::uint32_t>(Codec::zstd);
}

}  // namespace

std::string encode_index_record(const BlobPlace& place) {
  std::string out;
  put(out, place.hash);
  put(out, place.offset);
  put(out, place.pack);
  put(out, place.stored);
  put(out, place.size);
  put(out, static_cast<std::uint32_t>(place.codec));
  put(out, std::uint32_t{0});
  put(out, base::crc32c(out));
  return out;
}

std::optional<BlobPlace> decode_index_record(std::string_view record) {
  if (record.size() != kIndexRecord || get<std::uint32_t>(record, 60) != base::crc32c(record.substr(0, 60)))
    return std::nullopt;
  BlobPlace place;
  std::memcpy(place.hash.data(), record.data(), 32);
  place.offset = get<std::uint64_t>(record, 32);
  place.pack = get<std::uint32_t>(record, 40);
  place.stored = get<std::uint32_t>(record, 44);
  place.size = get<std::uint32_t>(record, 48);
  const auto codec = get<std::uint32_t>(record, 52);
  if (!known_codec(codec)) return std::nullopt;
  place.codec = static_cast<Codec>(codec);
  return place;
}

std::string encode_pack_head(const BlobPlace& place) {
  std::string out(kBlobMagic);
  put(out, place.hash);
  put(out, place.stored);
  put(out, place.size);
  put(out, static_cast<std::uint32_t>(place.codec));
  put(out, base::crc32c(out));
  return out;
}

std::optional<BlobPlace> decode_pack_head(std::string_view head) {
  if (head.size() < kPackHead || !head.starts_with(kBlobMagic)) return std::nullopt;
  if (get<std::uint32_t>(head, 52) != base::crc32c(head.substr(0, 52))) return std::nullopt;
  BlobPlace place;
  std::memcpy(place.hash.data(), head.data() + 8, 32);
  place.stored = get<std::uint32_t>(head, 40);
  place.size = get<std::uint32_t>(head, 44);
  const auto codec = get<std::uint32_t>(head, 48);
  if (!known_codec(codec)) return std::nullopt;
  place.codec = static_cast<Codec>(codec);
  return place;
}

Result<std::string> read_index(const std::filesystem::path& index, std::uint64_t from) {
  if (!base::exists(index)) return std::string();
  TRY_ASSIGN(std::string data, base::read_range(index, from, UINT64_C(1) << 32U));
  data.resize(data.size() - data.size() % kIndexRecord);
  return data;
}

std::filesystem::path pack_path(const std::filesystem::path& folder, std::uint32_t number) {
  std::string name = std::to_string(number);
  if (name.size() < 6) name.insert(0, 6 - name.size(), '0');
  return folder / (name + ".pack");
}

std::string pack_data(std::string_view data, Codec& codec) {
  codec = Codec::plain;
  if (data.size() < kWorthTrying) return std::string(data);
  std::string packed(data.size() - data.size() / 8, '\0');  // too small for what would save less than an eighth
  const std::size_t size = ZSTD_compress(packed.data(), packed.size(), data.data(), data.size(), kLevel);
  if (ZSTD_isError(size) != 0U) return std::string(data);
  codec = Codec::zstd;
  packed.resize(size);
  return packed;
}

Result<std::string> unpack_data(std::string_view stored, const BlobPlace& place) {
  if (place.codec == Codec::plain && stored.size() == place.size) return std::string(stored);
  if (place.codec == Codec::zstd && place.size <= kLooseAbove) {
    std::string data(place.size, '\0');
    const std::size_t size = ZSTD_decompress(data.data(), data.size(), stored.data(), stored.size());
    if (ZSTD_isError(size) == 0U && size == place.size) return data;
  }
  return fail(Errc::store, "blob " + to_hex(place.hash) + " in pack " + std::to_string(place.pack) + " is damaged",
              "trainctl store check lists what is affected");
}

Result<int> PackReader::open_pack(std::uint32_t number) {
  const auto known = packs_.find(number);
  if (known != packs_.end()) return known->second.get();
  TRY_ASSIGN(base::UniqueFd fd, base::open_file(pack_path(folder_, number), O_RDONLY | O_NOFOLLOW));
  return packs_.emplace(number, std::move(fd)).first->second.get();
}

Result<std::string> PackReader::read(const BlobPlace& place, bool verify) {
  TRY_ASSIGN(const int fd, open_pack(place.pack));
  if (place.stored > kLooseAbove + 1024) return unpack_data({}, place);
  std::string stored(place.stored, '\0');
  for (std::size_t have = 0; have < stored.size();) {
    const ssize_t count =
        ::pread(fd, stored.data() + have, stored.size() - have, static_cast<off_t>(place.offset + have));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read " + pack_path(folder_, place.pack).string(), errno);
    if (count == 0) return unpack_data({}, place);
    have += static_cast<std::size_t>(count);
  }
  TRY_ASSIGN(std::string data, unpack_data(stored, place));
  if (verify && hash_bytes(data) != place.hash) {
    return fail(
        Errc::store,
        "blob " + to_hex(place.hash) + " in pack " + std::to_string(place.pack) + " is damaged: its hash differs",
        "trainctl store check lists what is affected");
  }
  return data;
}

}  // namespace trainctl::snapshot
