// SPDX-License-Identifier: Apache-2.0
// The framing of TensorBoard's event files (TFRecord): u64le length | u32le crc of the length | payload | u32le crc of
// the payload. The crc is CRC-32C, rotated right by 15 bits, plus 0xa282ead8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace trainctl::host {

inline constexpr std::size_t kRecordHeader = 12;
inline constexpr std::size_t kRecordFrame = 16;                        ///< header and the crc behind the payload
inline constexpr std::uint64_t kMaxRecord = std::uint64_t{64} << 20U;  ///< longer payloads are passed over unread

enum class CutKind {
  record,    ///< `payload` is whole and its checksum right
  too_long,  ///< a sound header of a record over kMaxRecord: `used` reaches behind it, perhaps behind the bytes
  damaged,   ///< a sound header, but the payload's checksum is wrong
  lost,      ///< no sound header here: `used` bytes on one stands, or the end is near
  partial,   ///< the record is not all there; `used` says how many bytes it takes, as far as is known
};

struct RecordCut {
  CutKind kind = CutKind::partial;
  std::uint64_t used = 0;
  std::string_view payload = {};
};

/// What stands at the beginning of `bytes`. Nothing but zeros is a part that is not written yet (network file systems
/// show a file's new size before its bytes).
RecordCut cut_record(std::string_view bytes);

std::uint32_t masked_crc32c(std::string_view bytes);

}  // namespace trainctl::host
