// SPDX-License-Identifier: Apache-2.0
// One builder at a time. The lock file says who: "pid start-time since-ns boot:pid-namespace". The tools of a build
// inherit the lock and carry a variable that names it; those that outlive a killed builder are ended by the next one.
#pragma once

#include <filesystem>
#include <string>

#include "base/file.hpp"
#include "host/environment/environment.hpp"

namespace trainctl::host {

/// Waits for the lock without a deadline and says for whom, through options.progress; Errc::canceled by cancel_fd.
/// `name` is what the message calls the environment.
Result<base::FileLock> acquire_build_lock(const std::filesystem::path& path, const std::string& name,
                                          const EnsureOptions& options);

/// "NAME=value" that every tool of the build is started with.
std::string build_lock_mark(const std::filesystem::path& path);

}  // namespace trainctl::host
