// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "host/mlflow/api.hpp"
#include "host/mlflow/artifacts.hpp"
#include "host/mlflow/http.hpp"

namespace trainctl::host {

/// What to send back; the body comes from `file` when that is open.
struct HttpReply {
  int status = 200;
  std::string type = "application/json";
  std::string body = "{}";
  base::UniqueFd file = {};
  std::uint64_t file_size = 0;
};

/// The two decisions a connection leaves to the server.
class HttpHandler {
 public:
  HttpHandler() = default;
  HttpHandler(const HttpHandler&) = delete;
  HttpHandler& operator=(const HttpHandler&) = delete;
  virtual ~HttpHandler() = default;
  /// A head has come. A reply refuses the request (its body is read and dropped); else `upload` may be
  /// opened to receive the body, which otherwise is kept in memory up to kMaxApiBody.
  virtual std::optional<HttpReply> begin(const HttpHead& head, IncomingFile& upload) = 0;
  virtual HttpReply finish(const HttpHead& head, std::string body, IncomingFile& upload) = 0;
};

/// One client: requests one after the other. Never blocks.
class HttpConnection {
 public:
  HttpConnection(base::UniqueFd fd, std::uint64_t now) : fd_(std::move(fd)), active_ns_(now) {}

  /// Does what can be done now: reads, answers, writes.
  void advance(HttpHandler& handler, std::uint64_t now);
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool closed() const { return !fd_; }
  [[nodiscard]] bool wants_write() const { return !out_.empty() || file_; }
  [[nodiscard]] std::uint64_t active_ns() const { return active_ns_; }
  /// Between two requests: nothing is lost when it is closed.
  [[nodiscard]] bool idle() const { return in_.empty() && !body_ && !wants_write(); }

 private:
  bool read_some();
  bool write_some();
  bool fill_from_file();
  void take_requests(HttpHandler& handler);
  bool take_head(HttpHandler& handler);
  bool take_body(HttpHandler& handler);
  void reply(HttpReply reply, bool keep_alive);

  base::UniqueFd fd_;
  std::uint64_t active_ns_;
  std::string in_ = {};
  std::string out_ = {};
  base::UniqueFd file_ = {};  ///< what is sent behind out_
  std::uint64_t file_left_ = 0;
  HttpHead head_ = {};
  std::optional<HttpBody> body_ = {};
  std::string text_ = {};
  IncomingFile upload_ = {};
  std::optional<HttpReply> refusal_ = {};  ///< the answer, once the body has passed
  bool closing_ = false;
};

}  // namespace trainctl::host
