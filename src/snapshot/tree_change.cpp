// SPDX-License-Identifier: Apache-2.0
#include "snapshot/tree_change.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "snapshot/folder_cursor.hpp"
#include "snapshot/manifest.hpp"
#include "snapshot/materialise.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {
namespace {

/// Is there anything of `entries` below the folder?
bool is_needed(const std::vector<ManifestEntry>& entries, const std::string& folder) {
  const ManifestEntry itself{.type = EntryType::directory, .path = folder};
  const auto next = std::lower_bound(entries.begin(), entries.end(), itself, comes_before);
  return next != entries.end() && next->path.starts_with(folder + "/");
}

Result<> remove(FolderCursor& cursor, const std::string& path, int flags) {
  std::string name;
  TRY_ASSIGN(const int folder, cursor.parent_of(path, name));
  if (::unlinkat(folder, name.c_str(), flags) != 0) return fail_errno("remove " + base::to_utf8(path), errno);
  return {};
}

Result<> remove_entries(const std::vector<ManifestEntry>& removed, const std::vector<ManifestEntry>& to, int root) {
  std::set<std::string, std::greater<>> folders;  // the deepest first
  FolderCursor cursor(root, FolderCursor::Missing::fail);
  for (const ManifestEntry& entry : removed) {
    TRY(remove(cursor, entry.path, entry.type == EntryType::directory ? AT_REMOVEDIR : 0));
    for (std::size_t slash = entry.path.rfind('/'); slash != std::string::npos && slash > 0;
         slash = entry.path.rfind('/', slash - 1)) {
      std::string folder = entry.path.substr(0, slash);
      if (is_needed(to, folder)) break;
      folders.insert(std::move(folder));
    }
  }
  FolderCursor upwards(root, FolderCursor::Missing::fail);
  for (const std::string& folder : folders) TRY(remove(upwards, folder, AT_REMOVEDIR));
  return {};
}

}  // namespace

TreeChange difference(const std::vector<ManifestEntry>& from, const std::vector<ManifestEntry>& to) {
  TreeChange change;
  auto old = from.begin();
  auto now = to.begin();
  while (old != from.end() || now != to.end()) {
    if (old != from.end() && now != to.end() && *old == *now) {
      ++old;
      ++now;
    } else if (now == to.end() || (old != from.end() && comes_before(*old, *now))) {
      change.removed.push_back(*old++);
    } else if (old == from.end() || comes_before(*now, *old)) {
      change.added.push_back(*now++);
    } else {
      change.removed.push_back(*old++);
      change.added.push_back(*now++);
    }
  }
  return change;
}

Result<> apply(const Store& store, const TreeChange& change, const std::vector<ManifestEntry>& to, int root) {
  TRY(remove_entries(change.removed, to, root));
  TRY(make_entries(store, change.added, root));
  return {};
}

}  // namespace trainctl::snapshot
