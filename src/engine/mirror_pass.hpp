// SPDX-License-Identifier: Apache-2.0
// One look at runs of one target: what has grown there is written into their copies.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "archive/mirror.hpp"
#include "format/paths.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

class MirrorPass final : public target::EventSink {
 public:
  /// Takes the locks of the runs' copies. A run that another process copies now is left out: see busy().
  static Result<std::unique_ptr<MirrorPass>> open(const std::vector<format::RunPaths>& runs);

  /// Copies until all runs have ended, or only what is there now. Every run that was heard of is noted as seen.
  Result<> run(target::Target& target, target::Until until, const target::Cancel& cancel);

  /// The runs whose copies are ours.
  [[nodiscard]] std::vector<format::RunPaths> mine() const;
  [[nodiscard]] std::size_t busy() const { return busy_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }  ///< written so far
  [[nodiscard]] std::uint64_t lines() const { return lines_; }  ///< of them, in logs
  /// The runs of which something was heard: what their copies show of the state is as new as this pass.
  [[nodiscard]] const std::set<std::string, std::less<>>& heard() const { return heard_; }
  /// What could not be written here; the watch ended with it.
  [[nodiscard]] bool failed_here() const { return failed_here_; }
  /// The target says that it does not have these.
  [[nodiscard]] const std::vector<std::string>& missing() const { return missing_; }

  Result<> append(const target::Piece& piece) override;
  Result<target::Cursor> mismatch(std::string_view run, std::string_view file, std::uint64_t size,
                                  const target::SourceHash& hash) override;
  Result<> gap(std::string_view run, std::string_view file, std::uint64_t lines) override;
  Result<> observed(std::string_view run, const Json& observation) override;
  Result<> ended(std::string_view run) override;
  Result<> current(std::string_view run) override;
  Result<> missing(std::string_view run) override;

 private:
  struct Copy {
    format::RunPaths run;
    archive::Mirror mirror;
  };
  Result<Copy*> copy(std::string_view run);
  Result<> here(Result<> written);
  [[nodiscard]] Result<std::vector<target::Watched>> watched() const;

  std::map<std::string, Copy, std::less<>> copies_;
  std::set<std::string, std::less<>> heard_;
  std::vector<std::string> missing_;
  bool failed_here_ = false;
  std::size_t busy_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t lines_ = 0;
};

}  // namespace trainctl::engine
