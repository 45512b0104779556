// SPDX-License-Identifier: Apache-2.0
#include "snapshot/folder_cursor.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "base/fd.hpp"
#include "base/text.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

Result<> FolderCursor::go_down(const std::string& name, std::string_view path) {
  const int parent = levels_.empty() ? root_ : levels_.back().fd.get();
  if (missing_ == Missing::make && ::mkdirat(parent, name.c_str(), 0777) != 0 && errno != EEXIST) {
    return fail_errno("make the folder of " + base::to_utf8(path), errno);
  }
  base::UniqueFd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd)
    return fail_errno("open the folder of " + base::to_utf8(path), errno == ENOTDIR || errno == ELOOP ? ENOENT : errno);
  levels_.push_back({.name = name, .fd = std::move(fd)});
  return {};
}

Result<int> FolderCursor::parent_of(std::string_view path, std::string& name) {
  std::size_t level = 0;
  std::size_t begin = 0;
  for (std::size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/', begin)) {
    const std::string_view part = path.substr(begin, slash - begin);
    begin = slash + 1;
    if (level < levels_.size() && levels_[level].name == part) {
      ++level;
      continue;
    }
    levels_.resize(level);
    TRY(go_down(std::string(part), path));
    ++level;
  }
  levels_.resize(level);
  name = path.substr(begin);
  return levels_.empty() ? root_ : levels_.back().fd.get();
}

}  // namespace trainctl::snapshot
