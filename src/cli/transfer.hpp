// SPDX-License-Identifier: Apache-2.0
// Files on their way to and from targets, as a person sees it.
#pragma once

#include <cstdint>
#include <string>

#include "cli/output.hpp"
#include "engine/collect.hpp"
#include "format/paths.hpp"
#include "target/target.hpp"

namespace trainctl::cli {

/// One line on stderr that shows how far it is, from half a second on: redrawn on a terminal, elsewhere said once at
/// the end.
class TransferLine {
 public:
  explicit TransferLine(const Context& context);
  TransferLine(const TransferLine&) = delete;
  TransferLine& operator=(const TransferLine&) = delete;
  ~TransferLine() { finish(); }

  /// Valid while the line lives.
  [[nodiscard]] target::TransferProgress callback() {
    return [this](const target::Transfer& transfer) { show(transfer); };
  }
  /// Takes the line away, and says what was transferred when that took long.
  void finish();

 private:
  void show(const target::Transfer& transfer);

  const Context& context_;
  std::uint64_t began_ns_ = 0;
  std::uint64_t drawn_ns_ = 0;
  std::uint64_t before_ = 0;  ///< bytes when it began
  std::string what_;
  std::string last_;  ///< what finish() says
  bool drawn_ = false;
};

/// Copies the outputs of an ended run home and says what stayed there and why. Never an error of the command: the run
/// is what it was, and the outputs can be had later.
void collect_home(const Context& context, const format::RunPaths& run);

/// "here", or "partial: 3 files, 2.1 GB are on the target"; for `show`.
std::string outputs_sentence(const engine::OutputsRecord& outputs);

}  // namespace trainctl::cli
