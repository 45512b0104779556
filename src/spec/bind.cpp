// SPDX-License-Identifier: Apache-2.0
#include "spec/bind.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "base/text.hpp"
#include "spec/run_configuration.hpp"

namespace trainctl::spec {
namespace {

std::string text_of(const Json& value) {
  if (const auto* text = value.get_ptr<const std::string*>()) return *text;
  return base::dump_json(value);
}

Scalar scalar_of(const Json& value) {
  if (value.is_boolean()) return *value.get_ptr<const bool*>();
  if (value.is_number_float()) return *value.get_ptr<const double*>();
  if (value.is_number()) return value.get<std::int64_t>();
  if (value.is_string()) return text_of(value);
  return nullptr;
}

}  // namespace

void read(const Json& value, std::string& out) {
  out = text_of(value);
}
void read(const Json& value, bool& out) {
  out = value.is_boolean() && value.get<bool>();
}
void read(const Json& value, std::int64_t& out) {
  out = value.is_number() ? value.get<std::int64_t>() : 0;
}
void read(const Json& value, double& out) {
  out = value.is_number() ? value.get<double>() : 0;
}
void read(const Json& value, Duration& out) {
  out = base::parse_duration(text_of(value)).value_or(Duration{});
}

void read(const Json& value, ByteSize& out) {
  out.bytes = base::parse_size(text_of(value)).value_or(0);
}

void read(const Json& value, CommandLine& out) {
  if (value.is_string()) {
    out = text_of(value);
    return;
  }
  std::vector<std::string> argv;
  for (const Json& item : value) argv.push_back(text_of(item));
  out = std::move(argv);
}

void read(const Json& value, TextMap& out) {
  out.clear();
  for (const auto& [key, item] : value.items()) {
    if (!item.is_null()) out.emplace_back(key, text_of(item));
  }
}

void read(const Json& value, std::vector<Parameter>& out) {
  out.clear();
  for (const auto& [key, item] : value.items()) {
    if (item.is_array()) {
      std::vector<Scalar> list;
      for (const Json& one : item) list.push_back(scalar_of(one));
      out.push_back({key, std::move(list)});
    } else {
      out.push_back({key, scalar_of(item)});
    }
  }
}

}  // namespace trainctl::spec
