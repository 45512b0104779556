// SPDX-License-Identifier: Apache-2.0
// Looks files up (fstatat, readlinkat) while somebody else goes on walking the tree: most of the time of a scan is
// spent in these calls. Several threads, as on network file systems each call waits for an answer; small trees are
// looked up by the caller's thread alone.
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace trainctl::snapshot {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

/// A name that shall be looked up and what was found.
struct Lookup {
  std::size_t entry = 0;   ///< the caller's number for it
  std::uint32_t name = 0;  ///< where it begins in the names of its batch
  mode_t mode = 0;         ///< 0: it is gone
  std::uint64_t size = 0;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  std::uint64_t inode = 0;
};

/// The names of one directory, which stays open until they are looked up.
struct LookupBatch {
  Directory directory;
  std::string names = {};  ///< each with its NUL
  std::vector<Lookup> lookups = {};
  std::map<std::size_t, std::string> targets = {};  ///< of links, by entry

  void add(std::string_view name, std::size_t entry) {
    lookups.push_back({.entry = entry, .name = static_cast<std::uint32_t>(names.size())});
    names.append(name).push_back('\0');
  }
};

class StatAhead {
 public:
  StatAhead() = default;
  StatAhead(const StatAhead&) = delete;
  StatAhead& operator=(const StatAhead&) = delete;
  ~StatAhead();

  /// At most two dozen batches wait (each holds a descriptor); then the caller looks them up itself.
  void add(LookupBatch batch);
  /// Waits for all that was added; in the order of add. Their directories are closed.
  std::vector<LookupBatch> finish();

 private:
  void work();
  static void look_up(LookupBatch& batch);
  void start_thread(std::size_t waiting);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<LookupBatch> batches_;  // stable addresses: looked up without the lock
  std::size_t next_ = 0;             // the first that nobody has taken
  bool ended_ = false;
  std::size_t names_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace trainctl::snapshot
