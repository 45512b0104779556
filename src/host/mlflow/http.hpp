// SPDX-License-Identifier: Apache-2.0
// As much of HTTP/1.1 (RFC 9112) as a client library needs, strictly: what is ambiguous is refused.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trainctl::host {

inline constexpr std::size_t kMaxHttpHead = 16384;

struct HttpHead {
  std::string method = {};
  std::string path = {};                          ///< as sent: still percent-encoded, without the query
  std::map<std::string, std::string> query = {};  ///< decoded; of a repeated name the last
  std::string authorization = {};
  std::optional<std::uint64_t> content_length = {};
  bool chunked = false;
  bool keep_alive = true;
  bool expects_continue = false;
};

struct HeadOutcome {
  int status = 0;        ///< 0: fine, or not all there; else what to answer before closing
  std::size_t used = 0;  ///< bytes of the head; 0: it is not all there
};
HeadOutcome parse_http_head(std::string_view bytes, HttpHead& head);

/// Takes a body out of the bytes behind a head, however they are cut.
class HttpBody {
 public:
  explicit HttpBody(const HttpHead& head) : left_(head.content_length.value_or(0)), chunked_(head.chunked) {}

  /// Gives the parts of the body to `sink`; returns how many bytes were used. Call again with what was not.
  std::size_t feed(std::string_view bytes, const std::function<void(std::string_view)>& sink);
  [[nodiscard]] bool done() const { return chunked_ ? state_ == State::done : left_ == 0; }
  [[nodiscard]] bool malformed() const { return state_ == State::malformed; }

 private:
  enum class State { size, data, data_end, trailer, done, malformed };
  std::size_t feed_line(std::string_view bytes);

  State state_ = State::size;
  std::uint64_t left_;
  bool chunked_;
};

/// "%41+b" → "A b" when `plus` (queries), else "A+b". Empty when malformed or it holds a NUL.
std::optional<std::string> percent_decode(std::string_view text, bool plus);

/// Status line, Content-Type, Content-Length and Connection, up to the empty line.
std::string http_response_head(int status, std::string_view type, std::uint64_t length, bool keep_alive);

/// Equal, in a time that does not depend on where they differ.
bool equal_secrets(std::string_view a, std::string_view b);

}  // namespace trainctl::host
