// SPDX-License-Identifier: Apache-2.0
// First byte: how long the path is; then the path, then the rules.
// compiled with: snapshot/glob.cpp snapshot/ignore.cpp
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "snapshot/ignore.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 4096) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t length = 1 + data[0] % (size - 1);
  const std::string_view path = text.substr(1, length);
  const std::string_view rules = text.substr(1 + length);
  const bool as_file = trainctl::snapshot::leaves_out(rules, path, false);
  // What leaves out a directory leaves out everything below it.
  if (!as_file || path.ends_with('/')) return 0;
  if (!trainctl::snapshot::leaves_out(rules, path, true)) {
    // Only a rule for directories can decide otherwise for the same path, and it must then take back.
    if (rules.find('!') == std::string_view::npos) __builtin_trap();
  }
  return 0;
}
