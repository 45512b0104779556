// SPDX-License-Identifier: Apache-2.0
#include "host/mlflow/connection.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "host/mlflow/api.hpp"
#include "host/mlflow/http.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kPiece = std::size_t{64} << 10U;
constexpr std::size_t kMaxPending = std::size_t{1} << 20U;  ///< unsent bytes, beyond which no further request is read

HttpReply error_reply(int status, std::string_view code, const std::string& message) {
  ApiAnswer error = api_error(status, code, message);
  return {.status = status, .body = std::move(error.body)};
}

HttpReply too_large() {
  return error_reply(413, "INVALID_PARAMETER_VALUE", "the body of a request has at most 1 MiB");
}

}  // namespace

void HttpConnection::advance(HttpHandler& handler, std::uint64_t now) {
  for (bool more = true; more && fd_;) {
    const bool read = !closing_ && out_.size() < kMaxPending && read_some();
    if (fd_) take_requests(handler);
    const bool wrote = fd_ && write_some();
    more = read || wrote;
    if (more) active_ns_ = now;
  }
  if (fd_ && closing_ && !wants_write()) fd_.reset();
}

bool HttpConnection::read_some() {
  std::array<char, kPiece> buffer;
  const ssize_t count = ::recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count < 0 && errno == EINTR) return true;
  if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  if (count <= 0) {
    if (count == 0 && wants_write()) {
      closing_ = true;  // the client has closed its half and still reads
      return false;
    }
    fd_.reset();
    return false;
  }
  in_.append(buffer.data(), static_cast<std::size_t>(count));
  return true;
}

bool HttpConnection::fill_from_file() {
  std::array<char, kPiece> buffer;
  const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(file_left_, buffer.size()));
  const ssize_t count = part == 0 ? 0 : ::read(file_.get(), buffer.data(), part);
  if (count > 0) {
    out_.append(buffer.data(), static_cast<std::size_t>(count));
    file_left_ -= static_cast<std::uint64_t>(count);
    return true;
  }
  if (file_left_ > 0) closing_ = true;  // it became shorter: only closing tells the client
  file_.reset();
  return false;
}

bool HttpConnection::write_some() {
  bool any = false;
  while (fd_ && (!out_.empty() || (file_ && fill_from_file()))) {
    const ssize_t count = ::send(fd_.get(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return any;
    if (count < 0) {
      fd_.reset();
      return false;
    }
    out_.erase(0, static_cast<std::size_t>(count));
    any = true;
  }
  return any;
}

void HttpConnection::take_requests(HttpHandler& handler) {
  while (!closing_ && !file_ && out_.size() < kMaxPending)
    if (!(body_ ? take_body(handler) : take_head(handler))) return;
}

bool HttpConnection::take_head(HttpHandler& handler) {
  const HeadOutcome outcome = parse_http_head(in_, head_);
  if (outcome.status != 0) {
    reply(error_reply(outcome.status, "BAD_REQUEST", "malformed HTTP request"), false);
    return false;
  }
  if (outcome.used == 0) return false;
  in_.erase(0, outcome.used);
  text_.clear();
  upload_ = {};
  refusal_ = handler.begin(head_, upload_);
  if (!refusal_ && !upload_.open() && head_.content_length.value_or(0) > kMaxApiBody) refusal_ = too_large();
  // What is refused is read to its end all the same: a client that is cut off while it sends sees no answer.
  if (head_.expects_continue) out_ += "HTTP/1.1 100 Continue\r\n\r\n";
  body_.emplace(head_);
  return true;
}

bool HttpConnection::take_body(HttpHandler& handler) {
  const std::size_t used = body_->feed(in_, [this](std::string_view part) {
    if (refusal_) return;
    if (upload_.open())
      upload_.write(part);
    else if (text_.size() + part.size() > kMaxApiBody)
      refusal_ = too_large();
    else
      text_.append(part);
  });
  in_.erase(0, used);
  if (body_->malformed()) {
    reply(error_reply(400, "BAD_REQUEST", "malformed chunked body"), false);
    return false;
  }
  if (!body_->done()) return false;
  body_.reset();
  auto refusal = std::exchange(refusal_, {});
  reply(refusal ? std::move(*refusal) : handler.finish(head_, std::move(text_), upload_), head_.keep_alive);
  text_.clear();
  upload_ = {};
  return true;
}

void HttpConnection::reply(HttpReply reply, bool keep_alive) {
  const bool from_file = static_cast<bool>(reply.file);
  const std::uint64_t length = from_file ? reply.file_size : reply.body.size();
  out_ += http_response_head(reply.status, reply.type, length, keep_alive);
  if (!keep_alive) closing_ = true;
  if (head_.method == "HEAD") return;
  if (!from_file) {
    out_ += reply.body;
    return;
  }
  file_ = std::move(reply.file);
  file_left_ = reply.file_size;
}

}  // namespace trainctl::host
