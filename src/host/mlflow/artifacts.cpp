// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/artifacts.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/ulid.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

bool lies_below(const std::filesystem::path& outputs, const std::filesystem::path& path) {
  std::error_code problem;
  const auto root = std::filesystem::canonical(outputs, problem);
  if (problem) return false;
  const auto real = std::filesystem::weakly_canonical(path, problem);
  return !problem && (real == root || real.string().starts_with(root.string() + "/"));
}

IncomingFile::~IncomingFile() {
  discard();
}

IncomingFile& IncomingFile::operator=(IncomingFile&& other) noexcept {
  if (this == &other) return *this;
  discard();
  path_ = std::move(other.path_);
  draft_ = std::exchange(other.draft_, {});
  fd_ = std::move(other.fd_);
  size_ = other.size_;
  outcome_ = std::move(other.outcome_);
  return *this;
}

void IncomingFile::discard() {
  if (fd_ && !draft_.empty()) ::unlink(draft_.c_str());
  fd_.reset();
}

Result<IncomingFile> IncomingFile::create(const std::filesystem::path& outputs, const std::string& name) {
  IncomingFile file;
  const std::filesystem::path path = outputs / name;
  file.path_ = path;
  file.draft_ = path.parent_path() / (".mlflow-" + base::new_ulid() + ".partial");
  if (!lies_below(outputs, path.parent_path())) return fail(Errc::denied, name + " leads out of the outputs");
  TRY(base::make_directories(path.parent_path(), 0777));
  TRY_ASSIGN(file.fd_, base::open_file(file.draft_, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666));
  return file;
}

void IncomingFile::write(std::string_view data) {
  size_ += data.size();
  if (outcome_) outcome_ = base::write_all(fd_.get(), data);
}

Result<> IncomingFile::finish() {
  if (outcome_ && ::rename(draft_.c_str(), path_.c_str()) != 0)
    outcome_ = fail_errno("move " + path_.string() + " into place", errno);
  if (!outcome_) discard();
  draft_.clear();
  fd_.reset();
  return std::move(outcome_);
}

Json list_artifacts(const std::filesystem::path& folder, const std::string& prefix) {
  Json files = Json::array();
  const auto names = base::list_directory(folder);
  for (const std::string& name : names ? *names : std::vector<std::string>()) {
    if (name.starts_with(".mlflow-")) continue;
    std::error_code ignored;
    Json entry = {{"path", (std::filesystem::path(prefix) / name).string()},
                  {"is_dir", std::filesystem::is_directory(folder / name, ignored)}};
    if (!entry["is_dir"]) entry["file_size"] = base::file_size(folder / name).value_or(0);
    files.push_back(std::move(entry));
  }
  return {{"files", std::move(files)}};
}

}  // namespace trainctl::host
