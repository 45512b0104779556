// SPDX-License-Identifier: Apache-2.0
// The client's side of the runner protocol (docs/runner-protocol.md): any number of requests and streams at once, from
// any threads, on one connection. There is no thread of its own: of those that wait, one reads for all.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/json.hpp"
#include "host/stdio/frame.hpp"
#include "host/stdio/packing.hpp"
#include "target/cancel.hpp"
#include "target/host/channel.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

struct ClientTiming {
  std::chrono::milliseconds hello{20'000};
  std::chrono::milliseconds request{60'000};    ///< for the answer to a request
  std::chrono::milliseconds heartbeat{15'000};  ///< so long without a word, and the runner is asked for one
  std::chrono::milliseconds silence{45'000};    ///< so long without a word, and the connection counts as broken
};

class RunnerStream;

class RunnerClient : public std::enable_shared_from_this<RunnerClient> {
 public:
  /// One without a connection yet: what is asked of it is kept for begin(). Nobody may wait for answers before that.
  static Result<std::shared_ptr<RunnerClient>> create(std::shared_ptr<const Channel> channel,
                                                      const ClientTiming& timing = {});
  /// What is kept: our hello, and what was asked.
  [[nodiscard]] std::string_view kept() const { return out_; }
  /// Goes on over a fresh connection, whose runner gets what was kept unless it has it already. Errc::cannot_start when
  /// the two speak no common version.
  Result<> begin(Connection connection, const Cancel& cancel);
  RunnerClient(const RunnerClient&) = delete;
  RunnerClient& operator=(const RunnerClient&) = delete;
  ~RunnerClient() = default;

  /// The runner's hello: build, boot, machine, mono_ns …
  [[nodiscard]] const Json& hello() const { return hello_; }
  [[nodiscard]] bool offers(std::string_view operation) const;
  /// The connection has ended: everything fails from now on.
  [[nodiscard]] bool broken() const;

  /// One answer. The runner's errors are returned as they are; Errc::unavailable (retryable) when the connection broke
  /// or no answer came in time; canceled.
  Result<Json> request(const Json& request, const Cancel& cancel,
                       std::optional<std::chrono::milliseconds> deadline = {});

  /// Opens a stream of data, to us (watch, fetch) or to the runner.
  Result<RunnerStream> open(const Json& request);

 private:
  friend class RunnerStream;

  /// A stream of ours, as the reading side sees it.
  struct Stream {
    std::deque<host::Frame> frames;
    host::CreditReturn received;
    host::CreditWindow to_send;
    host::Packer packer{false};
    bool closed = false;  ///< by the runner
  };
  /// A thread that waits for another one to read for it.
  struct Waiter {
    base::UniqueFd event;
    std::uint32_t stream = 0;
  };
  using Lock = std::unique_lock<std::mutex>;
  static constexpr std::uint64_t kNever = UINT64_MAX;
  static constexpr std::size_t kOutLimit = 512U << 10U;  ///< more to send than this waits where it is made

  RunnerClient(std::shared_ptr<const Channel> channel, base::UniqueFd wake, const ClientTiming& timing);
  Result<> check_version() const;
  Result<std::uint32_t> ask(Lock& lock, const Json& request);
  Result<host::Frame> take(Lock& lock, std::uint32_t id, const Cancel& cancel, std::uint64_t deadline_ns);
  Result<host::Frame> await(Lock& lock, std::uint32_t id, const Cancel& cancel, std::chrono::milliseconds patience);
  Result<> wait(Lock& lock, std::uint32_t stream, const std::function<bool()>& ready, const Cancel& cancel,
                std::uint64_t deadline_ns);
  void lead(Lock& lock, const Cancel& cancel, std::uint64_t deadline_ns);
  void follow(Lock& lock, std::uint32_t stream, const Cancel& cancel, std::uint64_t deadline_ns);
  void receive();
  void dispatch(host::Frame frame);
  void post(host::FrameType type, std::uint32_t stream, std::string_view payload);
  void post_data(std::uint32_t id, Stream& stream, std::string_view bytes);
  void flush();
  [[nodiscard]] std::uint64_t silent_until_ns() const;
  void look_at_silence();
  std::uint32_t new_stream();
  void break_off(Error error);
  void wake_all();

  std::shared_ptr<const Channel> channel_;
  ClientTiming timing_;
  mutable std::mutex mutex_;
  std::optional<Connection> connection_;
  base::UniqueFd wake_;  ///< the thread that reads looks up: there is more to send
  Json hello_;
  host::FrameDecoder decoder_;
  host::Unpacker unpacker_;
  std::string out_;
  std::map<std::uint32_t, std::shared_ptr<Stream>> streams_;
  std::vector<Waiter*> waiters_;
  std::map<std::uint32_t, std::uint64_t> answers_due_;  ///< deadline (mono ns) of each request that waits
  std::optional<Error> broken_;
  std::uint32_t next_stream_ = 1;
  std::uint64_t heard_ns_ = 0;
  std::uint64_t asked_ns_ = 0;  ///< when a sign of life was asked for, 0 = not since the last word
  bool leading_ = false;
  bool packs_ = false;  ///< the runner understands packed frames
};

/// An open stream. Given up (cancel) when it goes before the runner has closed it.
class RunnerStream {
 public:
  RunnerStream(RunnerStream&&) noexcept = default;
  RunnerStream& operator=(RunnerStream&& other) noexcept {
    std::swap(client_, other.client_);  // what was ours is given up with the other
    std::swap(id_, other.id_);
    return *this;
  }
  RunnerStream(const RunnerStream&) = delete;
  RunnerStream& operator=(const RunnerStream&) = delete;
  ~RunnerStream();

  /// The next frame: note, data, end or reply (the last two close the stream). Without a deadline only silence breaks
  /// the connection; with one the runner may be silent for as long.
  Result<host::Frame> next(const Cancel& cancel, std::optional<std::chrono::milliseconds> deadline = {});
  /// Waits up to `patience` for something that next() would return; false when there was nothing.
  Result<bool> wait(const Cancel& cancel, std::chrono::milliseconds patience);
  /// So many bytes of data were dealt with: the runner may send as much again.
  void consumed(std::size_t bytes);

  /// Sends data as far as the runner allows, waiting for it. An answer that came meanwhile ends it: Errc::canceled,
  /// and next() has it.
  Result<> send(std::string_view bytes, const Cancel& cancel);
  /// Says what the data after it is.
  Result<> note(const Json& note);
  /// Nothing more comes from us.
  Result<> finish(const Json& end);

 private:
  friend class RunnerClient;
  Result<> post(host::FrameType type, const Json& json);
  RunnerStream(std::shared_ptr<RunnerClient> client, std::uint32_t id) : client_(std::move(client)), id_(id) {}

  std::shared_ptr<RunnerClient> client_;
  std::uint32_t id_ = 0;
};

/// The error that a runner sent.
Error error_from_json(const Json& json);

}  // namespace trainctl::target
