// SPDX-License-Identifier: Apache-2.0
// The index as commands use it: opened, brought up to date with progress on the screen, and its rows as JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "archive/store.hpp"
#include "base/json.hpp"
#include "cli/output.hpp"
#include "index/index.hpp"

namespace trainctl::cli {

/// "reading run folders: 12,300 of 100,000" on stderr, once it takes longer than half a second.
class IndexProgress {
 public:
  explicit IndexProgress(const Context& context, std::string things = "run folders");
  IndexProgress(const IndexProgress&) = delete;
  IndexProgress& operator=(const IndexProgress&) = delete;
  ~IndexProgress();
  [[nodiscard]] index::Progress callback();

 private:
  const Context& context_;
  std::string things_;
  std::uint64_t began_ns_;
  std::uint64_t drawn_ns_ = 0;
};

/// One note where a run that has not ended cannot be looked after, because its store cannot be written.
void note_read_only(const Context& context, const archive::Store& store, format::State state);

/// "as of 3 min ago: process 4711 holds the index" for a state that is not the newest, or why the index is not kept;
/// empty when all is well.
std::string as_of_text(const index::Refreshed& refreshed);

/// A row in the shape of run_to_json (run_summary.hpp).
Json row_to_json(const archive::Store& store, const index::RunRow& row);

}  // namespace trainctl::cli
