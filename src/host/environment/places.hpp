// SPDX-License-Identifier: Apache-2.0
// Where things lie under the root of environments. Internal.
#pragma once

#include <filesystem>
#include <string>

namespace trainctl::host {

struct Places {
  std::filesystem::path root;
  [[nodiscard]] std::filesystem::path environment(const std::string& key) const { return root / key; }
  [[nodiscard]] std::filesystem::path record(const std::string& key) const { return root / key / "environment.json"; }
  /// Per minor version of Python: what a request resolves to depends on it.
  [[nodiscard]] std::filesystem::path lock(const std::string& request_key, const std::string& minor) const {
    return root / "locks" / (request_key + "-" + minor);
  }
  [[nodiscard]] std::filesystem::path locks_folder() const { return root / ".flock"; }
  [[nodiscard]] std::filesystem::path build_lock(const std::string& key) const {
    return root / ".flock" / (key + ".build");
  }
  [[nodiscard]] std::filesystem::path use_lock(const std::string& key) const {
    return root / ".flock" / (key + ".use");
  }
  [[nodiscard]] std::filesystem::path work(const std::string& key) const { return root / ".work" / key; }
};

}  // namespace trainctl::host
