// SPDX-License-Identifier: Apache-2.0
// requirements.txt (https://pip.pypa.io/en/stable/reference/requirements-file-format/) made self-contained.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::host {

struct Requirements {
  std::string text;                // one requirement or option a line; -r replaced by the file, comments dropped
  std::string constraints;         // what -c named, one a line
  std::vector<std::string> notes;  // e.g. "./lib (requirements.txt:3) is built from /abs/lib"
};

/// Reads `file` and what it includes (depth <= 32, a cycle is an error). Relative paths of packages, wheels and
/// --find-links become absolute with a note; editable installs (-e) of paths are refused: they are not reproducible.
/// Errors carry file and line.
Result<Requirements> read_requirements(const std::filesystem::path& file);

/// The same for text that is not a file of its own (a list in a spec, conda's pip list): relative paths count from
/// `folder`, errors name `origin`.
Result<Requirements> requirements_from_text(const std::string& text, const std::filesystem::path& folder,
                                            const std::string& origin);

/// The option lines a lock needs as well to find its packages again (indexes, links, binaries).
std::string index_options(std::string_view requirements);

/// How many requirements (not options) the text has.
std::size_t count_requirements(std::string_view requirements);

/// PEP 503: "Scikit_Learn" → "scikit-learn".
std::string normalized_name(std::string_view name);
/// The name a requirement starts with, normalized: "Pillow[x]>=1; marker" → "pillow".
std::string requirement_name(std::string_view requirement);
/// True for a URL that carries a password.
bool has_password(std::string_view url);

}  // namespace trainctl::host
