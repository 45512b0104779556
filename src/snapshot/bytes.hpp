// SPDX-License-Identifier: Apache-2.0
// Numbers in our binary files: little-endian, as every machine we build for.
#pragma once

#include <array>
#include <cstring>
#include <string>
#include <string_view>

namespace trainctl::snapshot {

template <class T>
void put(std::string& out, T value) {
  std::array<char, sizeof(T)> bytes{};
  std::memcpy(bytes.data(), &value, sizeof(T));
  out.append(bytes.data(), bytes.size());
}

/// The caller has checked that `data` reaches to `at` + sizeof(T).
template <class T>
T get(std::string_view data, std::size_t at) {
  T value{};
  std::memcpy(&value, data.data() + at, sizeof(T));
  return value;
}

}  // namespace trainctl::snapshot
