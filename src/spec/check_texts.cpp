// SPDX-License-Identifier: Apache-2.0
// What checks say of a value, and the rules for paths and names in it.
#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/json.hpp"
#include "spec/check.hpp"

namespace trainctl::spec {

std::string found_text(const Json& value, std::string_view number_text) {
  if (value.is_string()) {
    std::string text = *value.get_ptr<const std::string*>();
    if (text.size() > 60) {
      std::size_t cut = 57;
      while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0U) == 0x80U) --cut;
      text = text.substr(0, cut) + "…";
    }
    return "text " + base::dump_json(Json(text));
  }
  if (value.is_number()) return "number " + (number_text.empty() ? base::dump_json(value) : std::string(number_text));
  if (value.is_array()) return value.empty() ? "an empty list" : "a list";
  if (value.is_object()) return "an object";
  return base::dump_json(value);
}

std::string rebase_path(const std::string& path, const std::string& prefix) {
  if (prefix.empty() || prefix == "." || path.empty()) return path;
  if (path.front() == '/' || path.front() == '~' || path.starts_with("${{")) return path;
  const std::size_t colon = path.find(':');
  if (colon != std::string::npos && colon < path.find('/')) return path;
  return (std::filesystem::path(prefix) / path).lexically_normal().string();
}

bool is_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (text.empty() || text.size() > 63 || !letter(text.front())) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_'; });
}

}  // namespace trainctl::spec
