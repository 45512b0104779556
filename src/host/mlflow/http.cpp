// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/http.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/hex.hpp"
#include "base/text.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kMaxChunkLine = 256;

bool is_token(std::string_view text) {
  static constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kOthers.find(c) != std::string_view::npos;
  });
}

bool is_visible(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; });
}

std::optional<std::uint64_t> whole_number(std::string_view text, int base) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool read_query(std::string_view text, HttpHead& head) {
  for (const std::string& part : base::split(text, '&')) {
    if (part.empty()) continue;
    const std::string_view view(part);
    const auto equals = view.find('=');
    const auto name = percent_decode(view.substr(0, equals), true);
    const auto value = percent_decode(equals == std::string_view::npos ? "" : view.substr(equals + 1), true);
    if (!name || !value) return false;
    head.query[*name] = *value;
  }
  return true;
}

int read_request_line(std::string_view line, HttpHead& head) {
  const auto first = line.find(' ');
  const auto second = first == std::string_view::npos ? first : line.find(' ', first + 1);
  if (second == std::string_view::npos) return 400;
  head.method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, second - first - 1);
  const std::string_view version = line.substr(second + 1);
  if (!is_token(head.method) || !target.starts_with('/') || !is_visible(target)) return 400;
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return 505;
  head.keep_alive = version == "HTTP/1.1";
  const auto question = target.find('?');
  head.path = target.substr(0, question);
  if (question != std::string_view::npos && !read_query(target.substr(question + 1), head)) return 400;
  return 0;
}

int read_framing(const std::string& name, const std::string& value, HttpHead& head) {
  if (name == "transfer-encoding") {
    if (head.chunked || base::to_lower(value) != "chunked") return 501;
    head.chunked = true;
    return 0;
  }
  const auto length = whole_number(value, 10);
  if (!length || (head.content_length && head.content_length != length)) return 400;
  head.content_length = length;
  return 0;
}

int read_header(std::string_view line, HttpHead& head) {
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return 400;
  const std::string name = base::to_lower(line.substr(0, colon));
  const std::string value(base::trim(line.substr(colon + 1)));
  if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) return 400;
  if (name == "content-length" || name == "transfer-encoding") return read_framing(name, value, head);
  if (name == "authorization") {
    if (!head.authorization.empty()) return 400;
    head.authorization = value;
  } else if (name == "connection") {
    const std::string word = base::to_lower(value);
    head.keep_alive = word == "keep-alive" || (head.keep_alive && word != "close");
  } else if (name == "expect") {
    head.expects_continue = base::to_lower(value) == "100-continue";
    return head.expects_continue ? 0 : 417;
  }
  return 0;
}

std::string_view reason_of(int status) {
  constexpr std::pair<int, std::string_view> kReasons[] = {{200, "OK"},
                                                           {400, "Bad Request"},
                                                           {401, "Unauthorized"},
                                                           {404, "Not Found"},
                                                           {405, "Not Allowed"},
                                                           {413, "Content Too Large"},
                                                           {417, "Expectation Failed"},
                                                           {431, "Head Too Large"},
                                                           {500, "Internal Error"},
                                                           {501, "Not Implemented"},
                                                           {505, "Version Not Supported"},
                                                           {507, "Insufficient Storage"}};
  for (const auto& [number, reason] : kReasons)
    if (number == status) return reason;
  return "Error";
}

}  // namespace

HeadOutcome parse_http_head(std::string_view bytes, HttpHead& head) {
  const auto end = bytes.substr(0, kMaxHttpHead).find("\r\n\r\n");
  if (end == std::string_view::npos) return {.status = bytes.size() >= kMaxHttpHead ? 431 : 0};
  head = {};
  std::string_view rest = bytes.substr(0, end + 2);
  bool first = true;
  while (!rest.empty()) {
    const auto line_end = rest.find("\r\n");
    const std::string_view line = rest.substr(0, line_end);
    const int status = first ? read_request_line(line, head) : read_header(line, head);
    if (status != 0) return {.status = status};
    rest.remove_prefix(line_end + 2);
    first = false;
  }
  if (head.chunked && head.content_length) return {.status = 400};  // request smuggling
  return {.used = end + 4};
}

std::size_t HttpBody::feed_line(std::string_view bytes) {
  const auto end = bytes.substr(0, kMaxChunkLine).find("\r\n");
  if (end == std::string_view::npos) {
    if (bytes.size() >= kMaxChunkLine) state_ = State::malformed;
    return 0;
  }
  const std::string_view line = bytes.substr(0, end);
  if (state_ == State::trailer) {
    if (line.empty()) state_ = State::done;
  } else if (state_ == State::data_end) {
    state_ = line.empty() ? State::size : State::malformed;
  } else {
    const auto size = whole_number(line.substr(0, line.find(';')), 16);
    if (!size || *size > (std::uint64_t{1} << 48U)) {
      state_ = State::malformed;
    } else {
      left_ = *size;
      state_ = left_ == 0 ? State::trailer : State::data;
    }
  }
  return end + 2;
}

std::size_t HttpBody::feed(std::string_view bytes, const std::function<void(std::string_view)>& sink) {
  std::size_t used = 0;
  while (!done() && !malformed() && used < bytes.size()) {
    const std::string_view rest = bytes.substr(used);
    if (chunked_ && state_ != State::data) {
      const std::size_t line = feed_line(rest);
      if (line == 0) break;
      used += line;
      continue;
    }
    const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(left_, rest.size()));
    sink(rest.substr(0, part));
    left_ -= part;
    used += part;
    if (chunked_ && left_ == 0) state_ = State::data_end;
  }
  return used;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus) c = ' ';
    if (c == '%') {
      const int high = i + 2 < text.size() ? base::hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? base::hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return std::nullopt;
    out += c;
  }
  return out;
}

std::string http_response_head(int status, std::string_view type, std::uint64_t length, bool keep_alive) {
  std::string head = "HTTP/1.1 " + std::to_string(status) + " " + std::string(reason_of(status)) + "\r\n";
  head += "Content-Type: " + std::string(type) + "\r\nContent-Length: " + std::to_string(length) + "\r\n";
  head += keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return head;
}

bool equal_secrets(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(i < b.size() ? b[i] : 0);
  return difference == 0;
}

}  // namespace trainctl::host
