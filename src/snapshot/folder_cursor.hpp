// SPDX-License-Identifier: Apache-2.0
// Goes through a tree in manifest order with one open descriptor per level. Links are never followed below the root, so
// a folder that is swapped for a link meanwhile cannot lead outside.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

class FolderCursor {
 public:
  enum class Missing { fail, make };  ///< make: mkdir with mode 0777 less the umask

  /// `root` is borrowed.
  FolderCursor(int root, Missing missing) : root_(root), missing_(missing) {}

  /// The folder that holds `path` (a safe relative path), and the last component in `name`. An errno as the error's
  /// cause: Errc::not_found when a folder is gone or was replaced.
  Result<int> parent_of(std::string_view path, std::string& name);

 private:
  struct Level {
    std::string name;
    base::UniqueFd fd;
  };
  Result<> go_down(const std::string& name, std::string_view path);

  int root_;
  Missing missing_;
  std::vector<Level> levels_;
};

}  // namespace trainctl::snapshot
