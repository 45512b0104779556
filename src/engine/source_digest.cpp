// SPDX-License-Identifier: Apache-2.0
#include "engine/source_digest.hpp"

#include <optional>
#include <string>
#include <utility>

#include "engine/supervision.hpp"
#include "format/paths.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

Result<std::optional<target::FileDigest>> source_digest(const format::RunPaths& run, const std::string& file) {
  TRY_ASSIGN(const auto there, open_run(run));
  if (there.target->capabilities().in_place) return std::nullopt;
  TRY_ASSIGN(const auto cancel, target::Cancel::create());
  TRY_ASSIGN(auto digest, there.target->digest(there.ref, file, cancel));
  return std::optional(std::move(digest));
}

}  // namespace trainctl::engine
