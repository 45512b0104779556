// SPDX-License-Identifier: Apache-2.0
// Which files of a run folder are mirrored. Asked every two seconds of hundreds of runs where nobody tells what changed
// (inotify's instances are few, and supervisors want theirs), so what did not change is not listed again.
#pragma once

#include <sys/stat.h>

#include <ctime>
#include <filesystem>
#include <string>
#include <vector>

#include "format/paths.hpp"

namespace trainctl::host {

class RunListing {
 public:
  /// Lists anew when a folder has changed, or may have: always with `doubtful`, for file systems that other machines
  /// write to.
  void refresh(const format::RunPaths& run, bool doubtful);

  /// attempts/*/{events.jsonl, nodes/**, logs/**, metrics/**}, relative to the run folder.
  [[nodiscard]] const std::vector<std::string>& files() const { return files_; }
  /// 0 when there is none yet.
  [[nodiscard]] int last_attempt() const { return last_attempt_; }

 private:
  struct Folder {
    std::filesystem::path path;
    timespec changed{};
    bool exists = false;
  };
  [[nodiscard]] bool is_settled() const;
  void note(const format::RunPaths& run, const std::string& relative);
  std::vector<std::string> visit(const format::RunPaths& run, const std::string& relative);
  void collect(const format::RunPaths& run, const std::string& relative, int depth);

  std::vector<Folder> folders_;
  std::vector<std::string> files_;
  int last_attempt_ = 0;
  std::time_t listed_ = 0;
};

}  // namespace trainctl::host
