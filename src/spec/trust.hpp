// SPDX-License-Identifier: Apache-2.0
// The projects whose settings may define commands. A file is trusted by its path and its content: after a change, a
// pull for one, it has to be trusted again.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "trainctl/result.hpp"

namespace trainctl::spec {

class TrustList {
 public:
  /// Reads the list; a missing one is empty. A damaged one is Errc::invalid.
  static Result<TrustList> load(const std::filesystem::path& list);

  /// `file` is compared by its canonical path, `content` by its SHA-256.
  [[nodiscard]] bool trusts(const std::filesystem::path& file, std::string_view content) const;
  void trust(const std::filesystem::path& file, std::string_view content);
  /// False when it was not trusted.
  bool revoke(const std::filesystem::path& file);
  /// SHA-256 of the content by canonical path.
  [[nodiscard]] const std::map<std::string, std::string>& files() const { return files_; }

  /// Writes it durably, 0600, making its folder.
  [[nodiscard]] Result<> save(const std::filesystem::path& list) const;

 private:
  std::map<std::string, std::string> files_;
};

/// trusted.json beside the user's settings (default_user_config()).
std::optional<std::filesystem::path> default_trust_list();

}  // namespace trainctl::spec
