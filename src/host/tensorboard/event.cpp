// SPDX-License-Identifier: Apache-2.0
#include "host/tensorboard/event.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "host/tensorboard/protobuf.hpp"

namespace trainctl::host {
namespace {

using Type = ProtoField::Type;

// tensorflow.DataType
enum : std::uint64_t { kFloat = 1, kDouble = 2, kInt32 = 3, kInt64 = 9, kBfloat16 = 14, kHalf = 19 };

double half_to_double(std::uint16_t bits) {
  const bool negative = (bits >> 15U) != 0;
  const int exponent = (bits >> 10U) & 31;
  const int fraction = bits & 1023;
  double value = 0;
  if (exponent == 31)
    value = fraction == 0 ? HUGE_VAL : NAN;
  else if (exponent == 0)
    value = std::ldexp(fraction, -24);
  else
    value = std::ldexp(1024 + fraction, exponent - 25);
  return negative ? -value : value;
}

double small_float(std::uint64_t type, std::uint16_t bits) {
  if (type == kHalf) return half_to_double(bits);
  return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U));
}

template <class T>
std::optional<T> load_exact(std::string_view bytes) {
  T value{};
  if (bytes.size() != sizeof value) return std::nullopt;
  bytes.copy(reinterpret_cast<char*>(&value), sizeof value);
  return value;
}

template <class T>
std::optional<double> to_double(std::optional<T> value) {
  if (!value) return std::nullopt;
  return static_cast<double>(*value);
}

/// TensorProto.tensor_content of one number.
std::optional<double> read_content(std::uint64_t type, std::string_view content) {
  switch (type) {
    case kFloat:
      return to_double(load_exact<float>(content));
    case kDouble:
      return load_exact<double>(content);
    case kInt32:
      return to_double(load_exact<std::int32_t>(content));
    case kInt64:
      return to_double(load_exact<std::int64_t>(content));
    case kHalf:
    case kBfloat16:
      if (const auto bits = load_exact<std::uint16_t>(content)) return small_float(type, *bits);
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

/// The first element of a repeated field of numbers, packed or not, as the bits it has on the wire.
std::optional<std::uint64_t> first_element(const ProtoField& field) {
  if (field.type != Type::bytes) return field.value;
  std::uint64_t bits = 0;
  if (field.number == 5) {
    const auto value = load_exact<std::uint32_t>(field.bytes.substr(0, sizeof(std::uint32_t)));
    return value ? std::optional<std::uint64_t>(*value) : std::nullopt;
  }
  if (field.number == 6) return load_exact<std::uint64_t>(field.bytes.substr(0, sizeof bits));
  return ProtoReader(field.bytes).varint(bits) ? std::optional(bits) : std::nullopt;
}

/// The field that holds the numbers of a type: float_val = 5, double_val = 6, int_val = 7, int64_val = 10,
/// half_val = 13; 0 for other types.
std::uint32_t field_of(std::uint64_t type) {
  switch (type) {
    case kFloat:
      return 5;
    case kDouble:
      return 6;
    case kInt32:
      return 7;
    case kInt64:
      return 10;
    case kHalf:
    case kBfloat16:
      return 13;
    default:
      return 0;
  }
}

double number_of(std::uint64_t type, std::uint64_t bits) {
  switch (type) {
    case kFloat:
      return static_cast<double>(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    case kDouble:
      return std::bit_cast<double>(bits);
    case kInt32:
      return static_cast<double>(static_cast<std::int32_t>(bits));
    case kInt64:
      return static_cast<double>(static_cast<std::int64_t>(bits));
    default:
      return small_float(type, static_cast<std::uint16_t>(bits));
  }
}

/// TensorShapeProto: true when it holds exactly one number.
bool is_single(std::string_view shape) {
  ProtoReader reader(shape);
  for (ProtoField field; reader.next(field);) {
    if (field.number == 3 && field.value != 0) return false;  // unknown rank
    if (!field.is(2, Type::bytes)) continue;
    std::uint64_t size = 0;
    ProtoReader dimension(field.bytes);
    for (ProtoField part; dimension.next(part);)
      if (part.number == 1) size = part.value;
    if (size != 1) return false;
  }
  return !reader.malformed();
}

std::optional<double> read_tensor(std::string_view tensor) {
  std::uint64_t type = 0;
  std::string_view content;
  bool single = true;
  // Fields may come in any order; the type decides about the others.
  ProtoReader first(tensor);
  for (ProtoField field; first.next(field);) {
    if (field.is(1, Type::varint)) type = field.value;
    if (field.is(2, Type::bytes)) single = is_single(field.bytes);
    if (field.is(4, Type::bytes)) content = field.bytes;
  }
  const std::uint32_t wanted = field_of(type);
  if (first.malformed() || !single || wanted == 0) return std::nullopt;
  if (!content.empty()) return read_content(type, content);
  ProtoReader second(tensor);
  for (ProtoField field; second.next(field);) {
    if (field.number != wanted) continue;
    const auto bits = first_element(field);
    return bits ? std::optional(number_of(type, *bits)) : std::nullopt;
  }
  return 0.0;  // proto3 writes no zeros
}

/// SummaryMetadata.plugin_data.plugin_name
std::string_view plugin_name(std::string_view metadata) {
  ProtoReader reader(metadata);
  for (ProtoField field; reader.next(field);) {
    if (!field.is(1, Type::bytes)) continue;
    ProtoReader plugin(field.bytes);
    for (ProtoField part; plugin.next(part);)
      if (part.is(1, Type::bytes)) return part.bytes;
  }
  return {};
}

bool read_value(std::string_view bytes, SummaryEvent& event) {
  SummaryScalar scalar;
  std::optional<double> value;
  std::string_view tensor;
  std::string_view plugin;
  ProtoReader reader(bytes);
  for (ProtoField field; reader.next(field);) {
    if (field.is(1, Type::bytes)) scalar.tag = field.bytes;
    if (field.is(2, Type::fixed32)) value = static_cast<double>(field.as_float());
    if (field.is(8, Type::bytes)) tensor = field.bytes;
    if (field.is(9, Type::bytes)) plugin = plugin_name(field.bytes);
  }
  if (reader.malformed()) return false;
  const bool scalar_plugin = plugin.empty() || plugin == "scalars";
  if (!value && !tensor.empty() && scalar_plugin) value = read_tensor(tensor);
  if (!value || scalar.tag.empty()) return true;
  scalar.value = *value;
  event.scalars.push_back(scalar);
  return true;
}

}  // namespace

bool decode_event(std::string_view payload, SummaryEvent& event) {
  event.wall_time = 0;
  event.step = 0;
  event.scalars.clear();
  ProtoReader reader(payload);
  for (ProtoField field; reader.next(field);) {
    if (field.is(1, Type::fixed64)) event.wall_time = field.as_double();
    if (field.is(2, Type::varint)) event.step = static_cast<std::int64_t>(field.value);
    if (!field.is(5, Type::bytes)) continue;
    ProtoReader summary(field.bytes);
    for (ProtoField value; summary.next(value);)
      if (value.is(1, Type::bytes) && !read_value(value.bytes, event)) return false;
    if (summary.malformed()) return false;
  }
  return !reader.malformed();
}

}  // namespace trainctl::host
