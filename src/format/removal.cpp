// SPDX-License-Identifier: Apache-2.0
#include "format/removal.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "base/file.hpp"
#include "format/paths.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {
namespace {

constexpr std::string_view kRemoved = ".removed";

}  // namespace

Result<bool> remove_run(const StorePaths& store, const std::string& id) {
  const fs::path run = store.run(id).root;
  // Out of everyone's sight at once: who reads half a run takes it for one that nobody supervises.
  const fs::path hidden = store.runs() / ("." + id + std::string(kRemoved));
  std::error_code problem;
  fs::rename(run, hidden, problem);
  if (problem && problem != std::errc::no_such_file_or_directory)
    return fail_errno("remove " + run.string(), problem.value());
  TRY(base::remove_tree(hidden));
  return !problem;
}

Result<std::size_t> sweep_removed(const StorePaths& store) {
  TRY_ASSIGN(const auto names, base::list_directory(store.runs()));
  std::size_t swept = 0;
  for (const std::string& name : names) {
    if (!name.starts_with('.') || !name.ends_with(kRemoved)) continue;
    TRY(base::remove_tree(store.runs() / name));
    ++swept;
  }
  return swept;
}

}  // namespace trainctl::format
