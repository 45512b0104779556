// SPDX-License-Identifier: Apache-2.0
// What a snapshot is: an ordered list of files, links and empty directories. Its digest is the SHA-256 of its text
// form.
//
// Text form, bytes, one entry a line, in the byte order of the paths (a directory's path counts with its final slash):
//   trainctl-manifest 1
//   f <mode> <size> <sha256> <path>          mode: octal permission bits (without setuid, setgid, sticky)
//   l <path> TAB <target>                    a symbolic link, target as it is
//   d <mode> <path>/                         an empty directory
// In paths and targets the bytes 0x00-0x1f, 0x7f and the backslash are written \xHH (lower case); in a text that is not
// UTF-8 every byte from 0x80 as well. There is exactly one text for a tree.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainctl/result.hpp"

namespace trainctl::snapshot {

using Hash = std::array<std::uint8_t, 32>;

struct HashOf {
  std::size_t operator()(const Hash& hash) const;  ///< the first bytes: they are uniform already
};

Hash hash_bytes(std::string_view data);
std::string to_hex(const Hash& hash);
/// False unless `text` is 64 lower-case hex digits.
bool parse_hash(std::string_view text, Hash& hash);

enum class EntryType : std::uint8_t { file, link, directory };

struct ManifestEntry {
  EntryType type = EntryType::file;
  std::uint32_t mode = 0;   ///< permission bits; 0 for links
  std::uint64_t size = 0;   ///< files only
  Hash hash = {};           ///< files only
  std::string path;         ///< relative, components joined by "/", no final slash
  std::string target = {};  ///< links only
  friend bool operator==(const ManifestEntry&, const ManifestEntry&) = default;
};

/// The order of entries: byte order of the paths, a directory's with a final slash.
bool comes_before(const ManifestEntry& a, const ManifestEntry& b);

/// A path that may be made below a destination: relative, no empty, "." or ".." component, no NUL, components <= 255
/// bytes,
/// <= 4,095 bytes in all.
bool is_safe_path(std::string_view path);

void append_line(std::string& text, const ManifestEntry& entry);
/// Entries must be in order.
std::string manifest_text(const std::vector<ManifestEntry>& entries);
/// One line without its end; empty when it is not in the canonical form, or its path is unsafe.
std::optional<ManifestEntry> parse_line(std::string_view row);
/// Only the canonical form is accepted: order, escapes and every path are checked. Errc::store with the line otherwise.
Result<std::vector<ManifestEntry>> parse_manifest(std::string_view text);

inline constexpr std::string_view kManifestHeader = "trainctl-manifest 1\n";

}  // namespace trainctl::snapshot
