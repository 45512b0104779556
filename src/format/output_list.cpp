// SPDX-License-Identifier: Apache-2.0
#include "format/output_list.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "format/event.hpp"
#include "trainctl/result.hpp"

namespace trainctl::format {
namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Of what base::base64 wrote; stops at the padding.
std::string from_base64(std::string_view text) {
  std::string bytes;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const std::size_t value = kBase64.find(c);
    if (value == std::string_view::npos) break;
    bits = bits << 6U | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> static_cast<unsigned>(count) & 0xFFU);
  }
  return bytes;
}

void put_bytes(Json& line, const std::string& key, const std::string& bytes) {
  if (base::is_utf8(bytes)) {
    line[key] = bytes;
  } else {
    line[key + "_base64"] = base::base64(bytes);
  }
}

std::optional<std::string> text_at(const Json& line, const std::string& key) {
  const auto found = line.find(key);
  if (found == line.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<std::string> bytes_at(const Json& line, const std::string& key) {
  if (auto text = text_at(line, key)) return text;
  if (const auto encoded = text_at(line, key + "_base64")) return from_base64(*encoded);
  return std::nullopt;
}

}  // namespace

std::string to_line(const OutputEntry& entry) {
  Json line = Json::object();
  put_bytes(line, "path", entry.path);
  if (entry.link) {
    put_bytes(line, "link", *entry.link);
  } else if (!entry.special.empty()) {
    line["special"] = entry.special;
  } else {
    char mode[16];  // NOLINT: formatted below
    (void)std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(entry.mode));
    line["size"] = entry.size;
    line["sha256"] = entry.sha256 ? Json(*entry.sha256) : Json(nullptr);
    line["mode"] = mode;
  }
  return base::dump_json(line) + "\n";
}

Result<std::optional<std::vector<OutputEntry>>> read_output_list(const std::filesystem::path& path) {
  TRY_ASSIGN(const auto text, base::read_file_if_exists(path));
  if (!text) return std::nullopt;
  std::vector<OutputEntry> entries;
  for (const Json& line : parse_lines(*text)) {
    auto name = bytes_at(line, "path");
    if (!name || name->empty()) continue;
    OutputEntry entry{.path = std::move(*name)};
    const auto size = line.find("size");
    if (size != line.end() && size->is_number_unsigned()) entry.size = size->get<std::uint64_t>();
    entry.sha256 = text_at(line, "sha256");
    entry.mode = static_cast<mode_t>(std::strtoul(text_at(line, "mode").value_or("0").c_str(), nullptr, 8));
    entry.link = bytes_at(line, "link");
    entry.special = text_at(line, "special").value_or("");
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace trainctl::format
