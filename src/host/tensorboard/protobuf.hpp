// SPDX-License-Identifier: Apache-2.0
// The wire format of protocol buffers, one field at a time (https://protobuf.dev/programming-guides/encoding).
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace trainctl::host {

struct ProtoField {
  std::uint32_t number = 0;
  enum class Type { varint, fixed64, bytes, fixed32 } type = Type::varint;
  std::uint64_t value = 0;      ///< of varint, fixed64 and fixed32
  std::string_view bytes = {};  ///< of bytes

  [[nodiscard]] bool is(std::uint32_t wanted, Type wanted_type) const {
    return number == wanted && type == wanted_type;
  }
  [[nodiscard]] double as_double() const { return std::bit_cast<double>(value); }
  [[nodiscard]] float as_float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(value)); }
};

/// Reads the fields of a message in turn. Groups, which nobody writes any more, count as malformed.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view message) : rest_(message) {}

  /// False at the end, and where the message is malformed.
  bool next(ProtoField& field) {
    if (rest_.empty() || malformed_) return false;
    std::uint64_t key = 0;
    if (!varint(key) || key >> 3U == 0 || key >> 32U != 0) return fail();
    field.number = static_cast<std::uint32_t>(key >> 3U);
    switch (key & 7U) {
      case 0:
        field.type = ProtoField::Type::varint;
        return varint(field.value) || fail();
      case 1:
        field.type = ProtoField::Type::fixed64;
        return fixed<std::uint64_t>(field.value) || fail();
      case 2:
        field.type = ProtoField::Type::bytes;
        return bytes(field.bytes) || fail();
      case 5:
        field.type = ProtoField::Type::fixed32;
        return fixed<std::uint32_t>(field.value) || fail();
      default:
        return fail();
    }
  }

  bool varint(std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 70 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      if (shift < 64) value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
      if ((byte & 0x80U) == 0) return true;
    }
    return false;
  }
  [[nodiscard]] bool malformed() const { return malformed_; }

 private:
  bool fail() {
    malformed_ = true;
    return false;
  }
  template <class T>
  bool fixed(std::uint64_t& value) {
    if (rest_.size() < sizeof(T)) return false;
    T raw{};
    rest_.copy(reinterpret_cast<char*>(&raw), sizeof raw);
    value = raw;
    rest_.remove_prefix(sizeof raw);
    return true;
  }
  bool bytes(std::string_view& out) {
    std::uint64_t size = 0;
    if (!varint(size) || size > rest_.size()) return false;
    out = rest_.substr(0, static_cast<std::size_t>(size));
    rest_.remove_prefix(out.size());
    return true;
  }

  std::string_view rest_;
  bool malformed_ = false;
};

}  // namespace trainctl::host
