// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/stdio/frame.hpp"
#include "host/stdio/operations.hpp"
#include "host/stdio/packing.hpp"
#include "host/stdio/upload.hpp"

namespace trainctl::host {

/// The protocol without the descriptors: frames in, bytes out. Data is produced only when there is room to send it, so
/// that an answer never waits behind more than kOutLimit bytes of a log.
class Session {
 public:
  static constexpr std::size_t kOutLimit = 128U << 10U;
  static constexpr std::size_t kPiece = 128U << 10U;
  static constexpr std::size_t kMaxStreams = 256;

  /// `begin` goes out before the hello.
  explicit Session(const StdioContext& context, std::string_view begin = {});

  /// Bytes from the client. False after a violation of the protocol: send what is pending, then close.
  bool receive(std::string_view bytes);
  /// Fills the output from the open streams, in turn, as far as credit and kOutLimit allow; a slice of work of uploads.
  void pump();
  /// An upload has work to do: call pump() again, whatever comes or does not.
  [[nodiscard]] bool busy() const;

  [[nodiscard]] std::string_view pending() const { return std::string_view(out_).substr(sent_); }
  void sent(std::size_t bytes);
  [[nodiscard]] bool cut() const { return decoder_.pending() > 0; }

  struct Stream {
    CreditWindow credit;
    std::unique_ptr<Source> source;
    Packer packer;
  };
  [[nodiscard]] std::map<std::uint32_t, Stream>& streams() { return streams_; }
  /// Sources whose streams have ended. It takes the kernel 4 to 16 ms to let go of what one has watched: they are kept
  /// until nobody waits for us.
  [[nodiscard]] bool has_closed() const { return !closed_.empty(); }
  void let_go() { closed_.clear(); }
  /// The connection is gone: nobody waits for data any more.
  void drop_streams();

 private:
  /// The client's side of a put.
  struct Incoming {
    std::unique_ptr<Upload> upload;
    CreditReturn credit;
    std::deque<Frame> waiting;  ///< while the upload is busy
  };
  bool incoming(const Frame& frame);
  Result<bool> take(std::uint32_t id, Incoming& stream, const Frame& frame);
  void take_waiting(std::uint32_t id);
  void open_upload(std::uint32_t stream, const Json& request);
  void open_source(std::uint32_t stream, const std::string& operation, const Json& request);
  bool credit(const Frame& frame);
  bool handle(const Frame& frame);
  bool hello(const Frame& frame);
  void request(const Frame& frame);
  void send(FrameType type, std::uint32_t stream, const Json& json);
  void send_error(std::uint32_t stream, const Error& error);
  bool violation(const std::string& message);
  void close(std::uint32_t id);
  void work();
  bool pump_one(std::uint32_t id, Stream& stream);

  const StdioContext& context_;
  FrameDecoder decoder_;
  Unpacker unpacker_;
  std::string out_;
  std::size_t sent_ = 0;  ///< of it
  std::map<std::uint32_t, Stream> streams_;
  std::vector<std::unique_ptr<Source>> closed_;
  std::map<std::uint32_t, Incoming> uploads_;
  std::uint32_t last_ = 0;  ///< the stream that sent last
  bool greeted_ = false;
  bool packs_ = false;  ///< the client understands packed frames
};

}  // namespace trainctl::host
