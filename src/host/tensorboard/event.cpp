// SPDX-License-Identifier: Apache-2.0
#include "host/tensorboard/event.hpp"

#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

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
  std::memcpy(&value, bytes.data(), sizeof value);
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

/// The first number of a repeated field (packed or not) that fits the type: float_val = 5, double_val = 6, int_val = 7,
/// int64_val = 10, half_val = 13.
std::optional<double> read_repeated(std::uint64_t type, const ProtoField& field) {
  ProtoField one = field;
  if (field.type == Type::bytes) {
    if (field.number == 5 && field.bytes.size() >= 4) return to_double(load_exact<float>(field.bytes.substr(0, 4)));
    if (field.number == 6 && field.bytes.size() >= 8) return load_exact<double>(field.bytes.substr(0, 8));
    if (field.number == 5 || field.number == 6 || !ProtoReader(field.bytes).varint(one.value)) return std::nullopt;
  }
  if (field.number == 5 && type == kFloat) return static_cast<double>(one.as_float());
  if (field.number == 6 && type == kDouble) return one.as_double();
  if (field.number == 7 && type == kInt32) return static_cast<double>(static_cast<std::int32_t>(one.value));
  if (field.number == 10 && type == kInt64) return static_cast<double>(static_cast<std::int64_t>(one.value));
  if (field.number == 13 && (type == kHalf || type == kBfloat16))
    return small_float(type, static_cast<std::uint16_t>(one.value));
  return std::nullopt;
}

/// TensorShapeProto: true when it holds exactly one number.
bool is_single(std::string_view shape) {
  ProtoReader reader(shape);
  for (ProtoField field; reader.next(field);) {
    if (field.number == 3 && field.value != 0) return false;  // unknown rank
    if (field.number != 2 || field.type != Type::bytes) continue;
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
  std::optional<double> repeated;
  std::string_view content;
  // Fields may come in any order; the type decides about the others.
  ProtoReader first(tensor);
  for (ProtoField field; first.next(field);) {
    if (field.number == 1 && field.type == Type::varint) type = field.value;
    if (field.number == 2 && field.type == Type::bytes && !is_single(field.bytes)) return std::nullopt;
    if (field.number == 4 && field.type == Type::bytes) content = field.bytes;
  }
  if (first.malformed()) return std::nullopt;
  if (!content.empty()) return read_content(type, content);
  ProtoReader second(tensor);
  for (ProtoField field; second.next(field) && !repeated;)
    if (field.number >= 5) repeated = read_repeated(type, field);
  // proto3 writes no zeros: a tensor of one number without any value is a zero.
  const bool number = type == kFloat || type == kDouble || type == kInt32 || type == kInt64;
  if (!repeated && number) return 0.0;
  return repeated;
}

/// SummaryMetadata.plugin_data.plugin_name
std::string_view plugin_name(std::string_view metadata) {
  ProtoReader reader(metadata);
  for (ProtoField field; reader.next(field);) {
    if (field.number != 1 || field.type != Type::bytes) continue;
    ProtoReader plugin(field.bytes);
    for (ProtoField part; plugin.next(part);)
      if (part.number == 1 && part.type == Type::bytes) return part.bytes;
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
    if (field.number == 1 && field.type == Type::bytes) scalar.tag = field.bytes;
    if (field.number == 2 && field.type == Type::fixed32) value = static_cast<double>(field.as_float());
    if (field.number == 8 && field.type == Type::bytes) tensor = field.bytes;
    if (field.number == 9 && field.type == Type::bytes) plugin = plugin_name(field.bytes);
  }
  if (reader.malformed()) return false;
  if (!value && !tensor.empty() && (plugin.empty() || plugin == "scalars")) value = read_tensor(tensor);
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
    if (field.number == 1 && field.type == Type::fixed64) event.wall_time = field.as_double();
    if (field.number == 2 && field.type == Type::varint) event.step = static_cast<std::int64_t>(field.value);
    if (field.number != 5 || field.type != Type::bytes) continue;
    ProtoReader summary(field.bytes);
    for (ProtoField value; summary.next(value);)
      if (value.number == 1 && value.type == Type::bytes && !read_value(value.bytes, event)) return false;
    if (summary.malformed()) return false;
  }
  return !reader.malformed();
}

}  // namespace trainctl::host
