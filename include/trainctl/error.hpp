// SPDX-License-Identifier: Apache-2.0
// Errors are values. Nothing of ours throws across a function boundary.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace trainctl {

enum class Errc {
  invalid,       // a file, field or argument is wrong: exit 2
  cannot_start,  // environment or target refuses: exit 3
  not_found,     // exit 4
  denied,        // exit 5
  store,         // the store is unreadable, damaged, full or newer than this program: exit 6
  timeout,       // a wait expired: exit 8
  unavailable,   // unreachable, try later: exit 75
  io,            // an operating system call failed: exit 6
  canceled,      // exit 130
  internal,      // a bug of ours: exit 70
};

/// The stable word for an error code, as in `--json` output ("invalid", "not_found", ...).
const char* to_string(Errc code);

/// Position in a text a person wrote. Lines and columns count from 1; a column counts UTF-8 code points.
struct SourcePosition {
  std::string file;
  std::size_t line = 0;
  std::size_t column = 0;
  friend bool operator==(const SourcePosition&, const SourcePosition&) = default;
};

/// What went wrong, where, and what to do about it. The text for people is made at the edge (cli), not here.
struct Error {
  Errc code = Errc::internal;
  std::string message;                    ///< one sentence, no final period needed
  std::vector<std::string> context = {};  ///< what we were doing, innermost first
  std::optional<SourcePosition> at = {};
  std::string field = {};  ///< field path, e.g. environment.python.version
  std::string hint = {};   ///< what to do
  bool retryable = false;

  Error& with_context(std::string text) & {
    context.push_back(std::move(text));
    return *this;
  }
  Error with_context(std::string text) && {
    context.push_back(std::move(text));
    return std::move(*this);
  }
  Error with_hint(std::string text) && {
    hint = std::move(text);
    return std::move(*this);
  }
};

/// All mistakes of one input; never empty where it is returned as an error.
using Errors = std::vector<Error>;

}  // namespace trainctl
