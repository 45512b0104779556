// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>

#include <string>
#include <string_view>

#include "base/file.hpp"
#include "format/paths.hpp"

namespace trainctl::host {

/// logs/runner.log, for what children of the supervisor have to say. Made with the first line.
class RunnerLog {
 public:
  explicit RunnerLog(const format::AttemptPaths& attempt) : path_(attempt.runner_log()) {}
  void say(std::string_view text) const {
    const auto log = base::open_file(path_, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW);
    if (log) (void)base::write_all(log->get(), std::string(text) + "\n");
  }

 private:
  format::fs::path path_;
};

}  // namespace trainctl::host
