// SPDX-License-Identifier: Apache-2.0
#include "base/private_directory.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.hpp"

namespace trainctl::base {

bool make_private_directory(const std::filesystem::path& folder) {
  struct stat status{};
  return make_directory(folder).has_value() && ::lstat(folder.c_str(), &status) == 0 && S_ISDIR(status.st_mode) &&
         status.st_uid == ::geteuid() && (status.st_mode & 077U) == 0;
}

}  // namespace trainctl::base
