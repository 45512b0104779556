// SPDX-License-Identifier: Apache-2.0
// Where-expressions: any bytes parse or are refused with a position inside the text.
// compiled with: index/where.cpp
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "index/where.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trainctl;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto where = index::parse_where(text);
  if (!where && (!where.error().at || where.error().at->column == 0 || where.error().at->column > size + 1))
    std::abort();
  if (where && where->kind == index::Where::Kind::comparison && where->field.parts.empty()) std::abort();
  (void)index::parse_field(text, "--sort");
  return 0;
}
