// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace trainctl::host {

/// What stands before the tags of an event file: a function of its folder (relative to the working directory) alone.
/// All up to the last general folder is left out: logs, runs, tensorboard, lightning_logs, version_3, time stamps,
/// outputs. When there is no general folder, the first one is left out (the script's log directory) unless it names a
/// part of the data (train, validation …).
///   logs/train → "train"   runs/Nov23_12-00-00_host → ""   runs/lr0.1 → "lr0.1"   my_model/eval → "eval"
std::string tag_prefix(std::string_view folder);

}  // namespace trainctl::host
