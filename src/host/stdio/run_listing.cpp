// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/run_listing.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"

namespace trainctl::host {
namespace {

constexpr int kDepth = 8;  // nodes/<k>/… and logs/… are flat; a deeper tree is not ours
/// A folder may change twice within the grain of its time stamp (the kernel's 4 ms, 2 s on some disks): only what is
/// older than this when it is listed shows every later change.
constexpr std::time_t kGrainS = 3;

bool same(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

bool RunListing::is_settled() const {
  if (folders_.empty()) return false;
  return std::all_of(folders_.begin(), folders_.end(), [this](const Folder& folder) {
    struct stat now{};
    if (::stat(folder.path.c_str(), &now) != 0) return !folder.exists;
    return folder.exists && same(now.st_mtim, folder.changed) && now.st_mtim.tv_sec + kGrainS < listed_;
  });
}

void RunListing::refresh(const format::RunPaths& run, bool doubtful) {
  if (!doubtful && is_settled()) return;
  folders_.clear();
  files_.clear();
  listed_ = std::time(nullptr);
  for (const std::string& attempt : visit(run, "attempts")) {
    const std::string base = "attempts/" + attempt;
    note(run, base);
    if (base::file_size(run.root / base / "events.jsonl")) files_.push_back(base + "/events.jsonl");
    for (const char* folder : {"/logs", "/metrics", "/nodes"}) collect(run, base + folder, 0);
  }
  last_attempt_ = format::last_attempt(run);
}

void RunListing::note(const format::RunPaths& run, const std::string& relative) {
  Folder folder{.path = run.root / relative};
  struct stat now{};
  folder.exists = ::stat(folder.path.c_str(), &now) == 0;
  folder.changed = now.st_mtim;
  folders_.push_back(std::move(folder));
}

/// The names in a folder, whose time is noted before they are read.
std::vector<std::string> RunListing::visit(const format::RunPaths& run, const std::string& relative) {
  note(run, relative);
  auto names = base::list_directory(folders_.back().path);
  return names ? std::move(*names) : std::vector<std::string>();
}

void RunListing::collect(const format::RunPaths& run, const std::string& relative, int depth) {
  if (depth > kDepth) return;
  for (const std::string& name : visit(run, relative)) {
    if (name.starts_with('.')) continue;  // not yet under its name
    const std::string path = (std::filesystem::path(relative) / name).string();
    std::error_code ignored;
    const auto status = std::filesystem::symlink_status(run.root / path, ignored);
    if (std::filesystem::is_directory(status)) {
      collect(run, path, depth + 1);
    } else if (std::filesystem::is_regular_file(status)) {
      files_.push_back(path);
    }
  }
}

}  // namespace trainctl::host
