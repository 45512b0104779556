// SPDX-License-Identifier: Apache-2.0
// A temporary folder with a source tree and a store, removed at the end.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "base/file.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/stat_cache.hpp"
#include "support/catch.hpp"

namespace trainctl::snapshot::test {

namespace fs = std::filesystem;

class Tree {
 public:
  Tree() {
    std::string name = (fs::temp_directory_path() / "trainctl-snapshot-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    root_ = fs::canonical(name);
    fs::create_directories(source());
  }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  ~Tree() { static_cast<void>(base::remove_tree(root_)); }

  [[nodiscard]] const fs::path& root() const { return root_; }
  [[nodiscard]] fs::path source() const { return root_ / "source"; }
  [[nodiscard]] fs::path store() const { return root_ / "store"; }

  void write(const std::string& path, std::string_view text = "x\n", mode_t mode = 0644) const {
    const fs::path file = source() / path;
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << text;
    REQUIRE(::chmod(file.c_str(), mode) == 0);
  }

  [[nodiscard]] Result<Snapshot> try_take() const { return take({.source = source(), .store = store()}); }
  [[nodiscard]] Snapshot taken() const {
    auto snapshot = try_take();
    INFO((snapshot ? std::string() : snapshot.error().message));
    REQUIRE(snapshot);
    return std::move(*snapshot);
  }
  /// The paths of a snapshot, directories with a slash, joined by spaces.
  [[nodiscard]] std::string listed() const { return paths(taken().digest); }
  [[nodiscard]] std::string paths(std::string_view digest) const {
    std::string text;
    for (const ManifestEntry& entry : entries(digest)) {
      text += (text.empty() ? "" : " ") + entry.path + (entry.type == EntryType::directory ? "/" : "");
    }
    return text;
  }
  [[nodiscard]] std::vector<ManifestEntry> entries(std::string_view digest) const {
    auto opened = Store::open(store());
    REQUIRE(opened);
    auto manifest = opened->manifest(digest);
    REQUIRE(manifest);
    return std::move(*manifest);
  }

 private:
  fs::path root_;
};

/// Waits until a file written now would get a later time than those that exist. A stamp may be ahead of the coarse
/// clock by more than a tick (since Linux 6.13 they are fine where somebody looked at the file before), but not of the
/// fine one.
inline void next_tick() {
  timespec now{};
  REQUIRE(::clock_gettime(CLOCK_REALTIME, &now) == 0);
  while (coarse_now_ns() <= now.tv_sec * 1'000'000'000LL + now.tv_nsec) ::sched_yield();
}

inline std::string slurp(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace trainctl::snapshot::test
