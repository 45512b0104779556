// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"

namespace trainctl::host {

enum class FoundKind {
  tensorboard,  ///< events.out.tfevents.*
  chainer,      ///< log
  lightning,    ///< metrics.csv
};

/// Which of them are looked for.
struct WantedKinds {
  bool tensorboard = true;
  bool chainer = true;
  bool lightning = true;

  [[nodiscard]] bool any() const { return tensorboard || chainer || lightning; }
};

struct FoundFile {
  std::string name = {};  ///< relative to the working directory
  std::filesystem::path path = {};
  FoundKind kind = FoundKind::tensorboard;
};

struct FinderRoot {
  std::filesystem::path path;
  std::string name = {};  ///< what names of files in it begin with: "", "outputs/"
};

/// Finds metric files that scripts write, below some folders. A folder is read again only when its time of change
/// differs: a look costs one stat(2) a folder. That needs no inotify watch (their number is limited for the user's
/// whole login) and works on network file systems.
class FileFinder {
 public:
  /// Files last written before `since` belong to someone else (the snapshot, an earlier attempt).
  FileFinder(std::vector<FinderRoot> roots, base::WallTime since, WantedKinds wanted = {})
      : roots_(std::move(roots)), since_(since), wanted_(wanted) {}

  /// The files that are new since the last look.
  std::vector<FoundFile> look();
  [[nodiscard]] std::size_t folders() const { return folders_.size(); }
  /// There are more folders than are looked at.
  [[nodiscard]] bool overflown() const { return overflown_; }

 private:
  struct Folder {
    std::string name;
    std::int64_t changed_ns = -1;  ///< -1: to be read whatever it says
    int depth = 0;
  };
  bool read_folder(const std::filesystem::path& path, const Folder& folder, std::vector<FoundFile>& found);
  void consider_file(const std::filesystem::path& path, const std::string& name, std::string_view base_name,
                     std::vector<FoundFile>& found);

  std::vector<FinderRoot> roots_;
  base::WallTime since_;
  WantedKinds wanted_;
  std::map<std::filesystem::path, Folder> folders_ = {};
  std::set<std::filesystem::path> known_ = {};
  std::vector<std::pair<std::filesystem::path, Folder>> pending_ = {};
  bool overflown_ = false;
};

enum class QuickLook {
  none,     ///< no such file
  found,    ///< there is one
  unknown,  ///< too many entries to say
};

/// Whether a wanted file written since then lies below one of the roots, in at most `budget` entries of folders.
QuickLook look_for_metric_files(const std::vector<FinderRoot>& roots, base::WallTime since, WantedKinds wanted,
                                int budget);

}  // namespace trainctl::host
