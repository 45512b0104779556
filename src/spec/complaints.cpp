// SPDX-License-Identifier: Apache-2.0
#include "spec/complaints.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/text.hpp"
#include "spec/layer.hpp"
#include "spec/literal_secrets.hpp"
#include "trainctl/error.hpp"

namespace trainctl::spec {

void Complaints::add(const std::string& pointer, std::string field, std::string message, std::string hint) {
  Error error{.code = Errc::invalid, .message = std::move(message)};
  if (const Origin* origin = find_origin(origins_, pointer)) {
    error.at = origin->at;
    if (origin->kind == Origin::Kind::flag) error.message += " (" + origin->label + ")";
  }
  error.field = std::move(field);
  error.hint = std::move(hint);
  errors_.push_back(std::move(error));
}

void Complaints::no_secret(std::string_view text, const std::string& pointer, const std::string& field) {
  const auto kind = literal_secret(text);
  if (!kind) return;
  Error error{.code = Errc::invalid, .message = "this looks like " + std::string(*kind)};
  if (const Origin* origin = find_origin(origins_, pointer)) error.at = origin->at;
  error.field = field;
  error.hint = "specs are recorded and shared: keep it in a variable and name that under \"secrets\"";
  errors_.push_back(std::move(error));
}

bool is_inside(std::string_view path) {
  if (path.empty() || path.front() == '/' || path.front() == '~') return false;
  const auto parts = base::split(path, '/');
  return std::find(parts.begin(), parts.end(), "..") == parts.end();
}

bool is_variable(std::string_view name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (name.empty() || !plain(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) { return plain(c) || (c >= '0' && c <= '9'); });
}

}  // namespace trainctl::spec
