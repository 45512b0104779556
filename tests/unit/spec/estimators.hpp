// SPDX-License-Identifier: Apache-2.0
// What the tests of estimators share: an estimator as text in, the run configuration it stands for out.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "spec/load.hpp"
#include "unit/spec/files.hpp"

namespace trainctl::test {

inline std::string describe_all(const Errors& errors, const Folder& folder) {
  std::string text;
  for (const Error& error : errors) text += (text.empty() ? "" : "\n") + spec::describe(error);
  const std::string prefix = folder.path().string() + "/";
  for (std::size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix))
    text.erase(at, prefix.size());
  return text;
}

/// Loads `text` as a.json; a mistake fails the test.
inline spec::LoadedRun load_estimator(const Folder& folder, std::string_view text) {
  folder.write("a.json", text);
  auto run = spec::load_run({.path = folder / "a.json"});
  INFO(text << "\n" << (run ? "" : describe_all(run.error(), folder)));
  REQUIRE(run);
  return std::move(*run);
}

/// The mistakes of `text`, one a line; empty when there are none.
inline std::string mistakes(const Folder& folder, std::string_view text) {
  folder.write("a.json", text);
  const auto run = spec::load_run({.path = folder / "a.json"});
  return run ? "" : describe_all(run.error(), folder);
}

inline const Json& at(const spec::LoadedRun& run, const std::string& pointer) {
  static const Json missing = nullptr;
  const Json::json_pointer path(pointer);
  return run.merged.contains(path) ? run.merged.at(path) : missing;
}

inline std::vector<std::string> texts(const Json& list) {
  std::vector<std::string> found;
  if (list.is_array()) {
    for (const Json& item : list) found.push_back(item.get<std::string>());
  }
  return found;
}

}  // namespace trainctl::test
