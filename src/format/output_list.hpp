// SPDX-License-Identifier: Apache-2.0
// attempts/<n>/outputs.jsonl: what lay below work/outputs when the run ended, one line a file, in the byte order of the
// paths. It appears whole, right before the `end`.
//   {"path","size","sha256","mode"}   a regular file; sha256 is null when it was not read to its end, mode is "0644"
//   {"path","link"}                   a symbolic link, as it is; never followed
//   {"path","special"}                "fifo", "socket" or "device"
// A path (or link) that is not UTF-8 is given as `path_base64` (`link_base64`) instead.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::format {

struct OutputEntry {
  std::string path;  ///< relative to outputs/, raw bytes
  std::uint64_t size = 0;
  std::optional<std::string> sha256 = {};  ///< 64 hex digits
  mode_t mode = 0;                         ///< permission bits
  std::optional<std::string> link = {};    ///< the target of a symbolic link
  std::string special = {};
};

/// With the newline.
std::string to_line(const OutputEntry& entry);

/// A missing file is an empty optional. Lines that cannot be understood are skipped.
Result<std::optional<std::vector<OutputEntry>>> read_output_list(const std::filesystem::path& path);

}  // namespace trainctl::format
