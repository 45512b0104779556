// SPDX-License-Identifier: Apache-2.0
#include "host/tensorboard/record.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/hash.hpp"

namespace trainctl::host {
namespace {

static_assert(std::endian::native == std::endian::little, "event files are read as they lie in memory");

template <class T>
T load(std::string_view bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// The length in the header at `at`, when its checksum is right.
std::optional<std::uint64_t> sound_header(std::string_view bytes, std::size_t at) {
  if (load<std::uint32_t>(bytes, at + 8) != masked_crc32c(bytes.substr(at, 8))) return std::nullopt;
  return load<std::uint64_t>(bytes, at);
}

RecordCut pass_damage(std::string_view bytes) {
  if (std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; })) return {CutKind::partial, kRecordHeader};
  std::size_t at = 1;
  while (at + kRecordHeader <= bytes.size() && !sound_header(bytes, at)) ++at;
  return {CutKind::lost, at};
}

}  // namespace

std::uint32_t masked_crc32c(std::string_view bytes) {
  const std::uint32_t crc = base::crc32c(bytes);
  return std::rotr(crc, 15) + 0xa282ead8U;
}

RecordCut cut_record(std::string_view bytes) {
  if (bytes.size() < kRecordHeader) return {CutKind::partial, kRecordHeader};
  const auto length = sound_header(bytes, 0);
  // A length near 2^64 with a right checksum is no length a writer meant.
  if (!length || *length > (std::uint64_t{1} << 48U)) return pass_damage(bytes);
  const std::uint64_t whole = *length + kRecordFrame;
  if (*length > kMaxRecord) return {CutKind::too_long, whole};
  if (bytes.size() < whole) return {CutKind::partial, whole};
  const auto size = static_cast<std::size_t>(*length);
  const std::string_view payload = bytes.substr(kRecordHeader, size);
  if (load<std::uint32_t>(bytes, kRecordHeader + size) != masked_crc32c(payload)) return {CutKind::damaged, whole};
  return {CutKind::record, whole, payload};
}

}  // namespace trainctl::host
