// SPDX-License-Identifier: Apache-2.0
// client/inputs.json: the inputs of a run that are sent to its target, as they were when the run was planned.
//   {"items": [{"digest", "path", "manifest"}]}
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::format {

struct SentInput {
  std::string digest;    ///< SHA-256 of the manifest
  std::string path;      ///< the file or folder on this machine
  std::string manifest;  ///< its text: the first component of each path is the name of `path`
};

Result<> write_sent_inputs(const std::filesystem::path& file, const std::vector<SentInput>& inputs);
/// A missing file is an empty list.
Result<std::vector<SentInput>> read_sent_inputs(const std::filesystem::path& file);

}  // namespace trainctl::format
