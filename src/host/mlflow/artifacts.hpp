// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

/// Whether `path` still lies below `outputs` once links are followed: none may lead a client out of the run.
bool lies_below(const std::filesystem::path& outputs, const std::filesystem::path& path);

/// A file below the outputs that is being received; it appears under its name when it is whole.
class IncomingFile {
 public:
  IncomingFile() = default;
  ~IncomingFile();
  IncomingFile(IncomingFile&& other) noexcept = default;
  IncomingFile& operator=(IncomingFile&& other) noexcept;

  /// `name`: where it will lie below `outputs`. Its folders are made; one that a link leads out of there is refused.
  static Result<IncomingFile> create(const std::filesystem::path& outputs, const std::string& name);
  /// After an error nothing more is written.
  void write(std::string_view data);
  /// Errc as the first write that failed.
  Result<> finish();
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] bool open() const { return static_cast<bool>(fd_); }

 private:
  void discard();
  std::filesystem::path path_ = {};
  std::filesystem::path draft_ = {};
  base::UniqueFd fd_ = {};
  std::uint64_t size_ = 0;
  Result<> outcome_ = {};
};

/// MLflow's listing {"files": [{"path", "is_dir", "file_size"}]} of a folder; paths begin with `prefix`. A folder that
/// is not there is empty.
Json list_artifacts(const std::filesystem::path& folder, const std::string& prefix);

}  // namespace trainctl::host
