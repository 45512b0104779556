// SPDX-License-Identifier: Apache-2.0
// Walks a source directory by the ignore rules. Reads no file but the ignore files; follows no link.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "snapshot/manifest.hpp"
#include "trainctl/result.hpp"

namespace trainctl::snapshot {

/// What one rule left out.
struct LeftOut {
  std::string source;    ///< ".gitignore", "sub/.gitignore", "../.gitignore", ".trainctlignore" or "built-in"
  std::size_t line = 0;  ///< of the rule in `source`, 0 for built-in ones
  std::string rule;      ///< "data/", "*.ckpt"; for built-in ones the name: ".git", "outputs/"
  std::vector<std::string> paths = {};  ///< the first few, directories with a final slash
  std::uint64_t count = 0;              ///< paths this rule matched (a directory counts once)
  std::uint64_t files = 0;              ///< files in them; 0 for built-in ones, which are not counted
  std::uint64_t bytes = 0;
  bool at_least = false;  ///< counting was cut short
};

/// "left out by .gitignore: data/ (48 MB, 2 files)"
std::string note(const LeftOut& left_out);

struct Sized {
  std::string path;
  std::uint64_t size = 0;
  std::string target = {};  ///< of a symbolic link
};

/// One entry with what `stat` said; `entry.hash` is not known yet.
struct ScanEntry {
  ManifestEntry entry;
  std::int64_t mtime_ns = 0;
  std::int64_t ctime_ns = 0;
  std::uint64_t inode = 0;
};

struct Scan {
  std::filesystem::path root;      ///< canonical
  base::UniqueFd directory;        ///< of the root
  std::vector<ScanEntry> entries;  ///< in manifest order
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
  std::vector<LeftOut> left_out;
  std::vector<std::string> warnings;  ///< special files, links that lead outside, names that are not UTF-8
};

/// LeftOut::rule of a file that holds a secret.
inline constexpr std::string_view kSecretRule = "a secret's file";

struct ScanOptions {
  std::filesystem::path source;
  std::filesystem::path store = {};                 ///< left out where it lies in the source
  std::vector<std::filesystem::path> secrets = {};  ///< files that hold secrets: left out as well
  std::size_t expected = 0;                         ///< about how many entries to make room for
  std::uint64_t count_limit = 2'000;  ///< at most this many entries are visited only to count what was left out
};

/// Errors: the source is missing or no directory; every directory that cannot be read, all in one message.
Result<Scan> scan(const ScanOptions& options);

/// The `count` largest files, largest first.
std::vector<Sized> largest_files(const Scan& scan, std::size_t count);

/// "a, b and 12 more": at most `shown` names, made printable.
std::string name_list(const std::vector<std::string>& names, std::size_t shown);

}  // namespace trainctl::snapshot
