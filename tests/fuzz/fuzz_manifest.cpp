// SPDX-License-Identifier: Apache-2.0
// Manifests of snapshots: one that is read is written back to the same bytes; compared with any other good manifest it
// gives the same entries as when it is read as a whole, and is refused when that is.
// compiled with: snapshot/manifest.cpp snapshot/manifest_change.cpp
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "snapshot/manifest.hpp"
#include "snapshot/manifest_change.hpp"

using namespace trainctl::snapshot;

namespace {

void require(bool holds) {
  if (!holds) __builtin_trap();
}

/// The new entries are those that the base has not, and all of them.
void compare(std::string_view text, std::string_view base) {
  const auto had = parse_manifest(base);
  if (!had) return;
  const auto whole = parse_manifest(text);
  const auto change = parse_change(text, base);
  require(whole.has_value() == change.has_value());
  if (!whole) return;
  const auto is_in = [](const ManifestEntry& entry, const auto& entries) {
    return std::find(entries.begin(), entries.end(), entry) != entries.end();
  };
  std::uint64_t kept = 0;
  for (const ManifestEntry& entry : *whole) {
    require(is_in(entry, change->added) != is_in(entry, *had));
    if (is_in(entry, *had)) kept += entry.size;
  }
  require(kept == change->bytes_kept);
  for (const ManifestEntry& entry : change->added) require(is_in(entry, *whole));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Two manifests with a byte of zero between them, which neither may have. Headers are put before both: the fuzzer has
  // better things to find.
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t middle = input.find('\0');
  const std::string text = std::string(kManifestHeader) + std::string(input.substr(0, middle));
  const std::string base =
      std::string(kManifestHeader) +
      std::string(middle == std::string_view::npos ? std::string_view() : input.substr(middle + 1));
  if (const auto entries = parse_manifest(text)) require(manifest_text(*entries) == text);
  compare(text, base);
  compare(text, text);
  (void)parse_change(input, base);
  return 0;
}
