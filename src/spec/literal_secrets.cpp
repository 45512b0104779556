// SPDX-License-Identifier: Apache-2.0
#include "spec/literal_secrets.hpp"

#include <cstddef>
#include <optional>
#include <string_view>

namespace trainctl::spec {
namespace {

bool is_upper_digit(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
bool is_alnum(char c) {
  return is_upper_digit(c) || (c >= 'a' && c <= 'z');
}
bool is_base64url(char c) {
  return is_alnum(c) || c == '-' || c == '_';
}

template <class Predicate>
std::size_t run_length(std::string_view text, std::size_t from, Predicate predicate) {
  std::size_t count = 0;
  while (from + count < text.size() && predicate(text[from + count])) ++count;
  return count;
}

/// `prefix` at the start of a word, then at least `minimum` characters.
template <class Predicate>
bool has_token(std::string_view text, std::string_view prefix, std::size_t minimum, Predicate predicate) {
  for (std::size_t at = text.find(prefix); at != std::string_view::npos; at = text.find(prefix, at + 1)) {
    const bool starts = at == 0 || !is_alnum(text[at - 1]);
    if (starts && run_length(text, at + prefix.size(), predicate) >= minimum) return true;
  }
  return false;
}

/// eyJ… . eyJ… . signature
bool has_jwt(std::string_view text) {
  for (std::size_t at = text.find("eyJ"); at != std::string_view::npos; at = text.find("eyJ", at + 1)) {
    std::size_t end = at;
    const std::size_t head = run_length(text, end, is_base64url);
    end += head;
    if (head < 10 || end >= text.size() || text[end] != '.') continue;
    const std::size_t body = run_length(text, end + 1, is_base64url);
    end += 1 + body;
    if (body >= 4 && end < text.size() && text[end] == '.' && run_length(text, end + 1, is_base64url) >= 4) return true;
  }
  return false;
}

bool has_signature(std::string_view text) {
  for (const std::string_view key : {"?sig=", "&sig=", "?X-Amz-Signature=", "&X-Amz-Signature="}) {
    const std::size_t at = text.find(key);
    if (at != std::string_view::npos && run_length(text, at + key.size(), [](char c) { return c != '&'; }) >= 10)
      return true;
  }
  return text.starts_with("sig=") && text.size() > 14;
}

}  // namespace

std::optional<std::string_view> literal_secret(std::string_view text) {
  const auto pem = text.find("-----BEGIN ");
  if (pem != std::string_view::npos && text.find("PRIVATE KEY-----", pem) != std::string_view::npos)
    return "a private key";
  if (has_token(text, "AKIA", 16, is_upper_digit) || has_token(text, "ASIA", 16, is_upper_digit)) {
    return "an AWS access key";
  }
  if (has_jwt(text)) return "a signed token (JWT)";
  if (has_signature(text)) return "a signed URL";
  for (const std::string_view prefix : {"ghp_", "gho_", "ghs_", "github_pat_"}) {
    if (has_token(text, prefix, 20, is_base64url)) return "a GitHub token";
  }
  if (has_token(text, "hf_", 30, is_alnum)) return "a Hugging Face token";
  if (has_token(text, "xoxb-", 20, is_base64url) || has_token(text, "xoxp-", 20, is_base64url)) return "a Slack token";
  if (text.find("AccountKey=") != std::string_view::npos) return "a storage account key";
  return std::nullopt;
}

}  // namespace trainctl::spec
