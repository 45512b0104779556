// SPDX-License-Identifier: Apache-2.0
// The files a run configuration is made of, each read and checked into a layer.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/json_locate.hpp"
#include "spec/check.hpp"
#include "spec/kinds.hpp"
#include "spec/layer.hpp"
#include "spec/load.hpp"

namespace trainctl::spec {

/// A file, the chain it extends, and what kind they are.
struct SpecFiles {
  const SpecKind* kind = nullptr;  ///< null: it is not a file that describes a run, or could not be read at all
  std::vector<Layer> layers = {};  ///< the lowest first
};

class Sources {
 public:
  Sources(const LoadOptions& options, Errors& errors) : options_(options), errors_(errors) {}

  /// A run configuration or an estimator.
  SpecFiles spec_file(const fs::path& shown);
  /// trainctl.json, found from `base` up to the git root. Empty when there is none or options forbid it.
  std::optional<Layer> project(const fs::path& base);
  std::optional<Layer> user();

  [[nodiscard]] const std::vector<fs::path>& read_files() const { return read_; }
  [[nodiscard]] std::vector<std::string>& notes() { return notes_; }

 private:
  /// A file of the chain before it is known what kind it is.
  struct Link {
    fs::path shown;
    base::LocatedJson document;
  };
  std::vector<Link> chain_of(const fs::path& shown);
  std::optional<std::string> text_of(const fs::path& shown, bool required);
  std::optional<base::LocatedJson> parse(const fs::path& shown, bool required);
  std::optional<base::LocatedJson> parse_text(const std::string& text, const fs::path& shown);
  const SpecKind* kind_of_chain(const std::vector<Link>& chain);
  std::optional<Layer> read(const fs::path& shown, const Table& table, const CheckOptions& options, bool required);
  void resolve_environments(Layer& layer, const CheckOptions& options, const fs::path& folder);
  void resolve_environment(Layer& layer, const std::string& pointer, const CheckOptions& options,
                           const fs::path& folder);
  static Errors commands_in(const Layer& layer, const fs::path& file);
  [[nodiscard]] bool trusts(const fs::path& file, const std::string& text) const;

  const LoadOptions& options_;
  Errors& errors_;
  std::vector<fs::path> read_;
  std::vector<std::string> notes_;
};

}  // namespace trainctl::spec
