// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::host {

struct OutputListing {
  std::uint64_t files = 0;            ///< regular files; links and others are listed, but not counted
  std::uint64_t bytes = 0;            ///< of those files
  std::uint64_t unread = 0;           ///< files that were listed without a hash because `hurry` said so
  std::vector<std::string> problems;  ///< sentences: what could not be listed or read, the first five
};

/// Is there anything for list_outputs to say about? One look: false for an empty or missing folder.
bool has_outputs(const std::filesystem::path& folder);

/// Writes what lies below `folder` to `list` (format/output_list.hpp), in the byte order of the paths: whole (a hidden
/// draft beside it, fdatasync, rename) or not at all. Links are listed, never followed; `folder` as a link is an error.
/// Without any entry no file is written. Once `hurry` is true the rest is listed without being read.
Result<OutputListing> list_outputs(const std::filesystem::path& folder, const std::filesystem::path& list,
                                   const std::function<bool()>& hurry);

}  // namespace trainctl::host
