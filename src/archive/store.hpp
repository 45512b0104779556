// SPDX-License-Identifier: Apache-2.0
// The store on disk: where it is, whether it may be used, and the creation of run folders in it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "trainctl/result.hpp"

namespace trainctl::archive {

/// Number of the store's layout; a store with a higher one is refused ("upgrade trainctl").
inline constexpr int kStoreFormat = 1;

/// An opened store.
class Store {
 public:
  /// `home`, else $TRAINCTL_HOME, else $XDG_DATA_HOME/trainctl, else ~/.local/share/trainctl. Made with mode 0700 when
  /// it is missing. Refused (Errc::denied) when somebody else owns it or may write to it.
  static Result<Store> open(const std::optional<std::filesystem::path>& home = {});

  /// Errc::store where this process may not write to it: read-only file system, missing permission.
  [[nodiscard]] Result<> check_writable() const;

  [[nodiscard]] const format::StorePaths& paths() const { return paths_; }
  [[nodiscard]] format::RunPaths run(std::string_view id) const { return paths_.run(id); }

  /// Claims `<base>-<n>` for the run `id`, n = one more than ever before; durable enough to never be given twice.
  [[nodiscard]] Result<std::string> claim_name(const std::string& base, const std::string& id) const;

  /// Writes the run's folder with plan.json and the client's intent, durable. After this the run exists.
  [[nodiscard]] Result<format::RunPaths> create_run(const format::Plan& plan, const std::string& client) const;

  /// ULIDs of all runs, oldest first.
  [[nodiscard]] Result<std::vector<std::string>> run_ids() const;

  /// The run a person means (design: "Naming a run"): @, @2, a ULID, digits-42, digits (its last), a unique ULID prefix
  /// or the last six characters. Errc::not_found with near names; Errc::invalid with the list when ambiguous.
  [[nodiscard]] Result<std::string> resolve(std::string_view text) const;

  /// All of them, or every name that means no single run.
  [[nodiscard]] ResultAll<std::vector<std::string>> resolve_all(const std::vector<std::string>& names) const;

  /// Removes the run's folder: out of sight at once, then from the disk. Its name stays claimed.
  [[nodiscard]] Result<> remove_run(const std::string& id) const;

  /// Finishes removals that were interrupted; returns how many.
  [[nodiscard]] Result<std::size_t> sweep_removed() const;

 private:
  [[nodiscard]] Result<std::string> recent(std::string_view text) const;  ///< @, @2

  explicit Store(format::StorePaths paths) : paths_(std::move(paths)) {}
  format::StorePaths paths_;
};

/// Is `text` usable as a run's base name? Letters, digits, ". _ -", starting with a letter or digit, at most 63.
bool is_valid_name(std::string_view text);
/// The nearest usable base name for `text`, e.g. a script's file name.
std::string to_valid_name(std::string_view text);

}  // namespace trainctl::archive
