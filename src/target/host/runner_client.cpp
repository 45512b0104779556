// SPDX-License-Identifier: Apache-2.0
#include "target/host/runner_client.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "host/stdio/frame.hpp"
#include "host/stdio/packing.hpp"
#include "target/cancel.hpp"
#include "target/host/channel.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

using host::Frame;
using host::FrameType;

/// What a stream to us may have on its way: enough for 400 MB/s over 20 ms, little enough to keep in memory.
constexpr std::uint32_t kWindow = 8U << 20U;
constexpr std::size_t kReadAtOnce = 256U << 10U;
constexpr int kEndMs = 1000;  ///< for the end of a program whose output has ended
constexpr std::uint64_t kNsPerMs = 1'000'000;

std::uint64_t in_ns(std::chrono::milliseconds duration) {
  return static_cast<std::uint64_t>(duration.count()) * kNsPerMs;
}

int left_ms(std::uint64_t deadline_ns) {
  constexpr std::uint64_t kLongest = 60'000;
  const std::uint64_t now = base::mono_ns();
  if (deadline_ns <= now) return 0;
  return static_cast<int>(std::min(kLongest, (deadline_ns - now + kNsPerMs - 1) / kNsPerMs));
}

void ring(int event) {
  const std::uint64_t one = 1;
  // Cannot fail but by overflow, and then it has been rung already.
  [[maybe_unused]] const auto written = ::write(event, &one, sizeof one);
}

void hush(int event) {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = ::read(event, &count, sizeof count);
}

Result<base::UniqueFd> make_event() {
  base::UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail_errno("make an event descriptor", errno);
  return event;
}

Error unavailable(std::string message) {
  Error error{.code = Errc::unavailable, .message = std::move(message)};
  error.retryable = true;
  return error;
}

bool closes(FrameType type) {
  return type == FrameType::reply || type == FrameType::end || type == FrameType::error;
}

}  // namespace

RunnerClient::RunnerClient(std::shared_ptr<const Channel> channel, base::UniqueFd wake, const ClientTiming& timing)
    : channel_(std::move(channel)), timing_(timing), wake_(std::move(wake)), heard_ns_(base::mono_ns()) {}

Result<std::shared_ptr<RunnerClient>> RunnerClient::create(std::shared_ptr<const Channel> channel,
                                                           const ClientTiming& timing) {
  TRY_ASSIGN(auto wake, make_event());
  std::shared_ptr<RunnerClient> client(new RunnerClient(std::move(channel), std::move(wake), timing));
  const Lock lock(client->mutex_);
  client->streams_[0] = std::make_shared<Stream>();
  client->post(FrameType::hello, 0,
               base::dump_json({{"protocol", {host::kProtocolMin, host::kProtocolMax}}, {"packs", {host::kPacking}}}));
  return client;
}

Result<> RunnerClient::begin(Connection connection, const Cancel& cancel) {
  Lock lock(mutex_);
  connection_ = std::move(connection);
  heard_ns_ = base::mono_ns();
  decoder_.feed(std::exchange(connection_->early, {}));
  if (connection_->took_first) out_.clear();
  flush();
  receive();
  TRY_ASSIGN(const Frame frame, take(lock, 0, cancel, base::mono_ns() + in_ns(timing_.hello)));
  auto json = base::parse_json(frame.payload);
  if (frame.type != FrameType::hello || !json || !json->is_object())
    return fail(Errc::cannot_start, "the runner on " + channel_->host() + " does not begin with a hello");
  hello_ = std::move(*json);
  packs_ = host::names_packing(hello_);
  return check_version();
}

Result<> RunnerClient::check_version() const {
  const auto range = hello_.find("protocol");
  const bool good = range != hello_.end() && range->is_array() && range->size() == 2 &&
                    (*range)[0].is_number_integer() && (*range)[1].is_number_integer();
  if (!good) return fail(Errc::cannot_start, "the hello of the runner on " + channel_->host() + " names no protocol");
  const auto low = (*range)[0].get<std::int64_t>();
  const auto high = (*range)[1].get<std::int64_t>();
  if (low <= host::kProtocolMax && high >= host::kProtocolMin) return {};
  const bool newer = low > host::kProtocolMax;
  return fail(Errc::cannot_start,
              "the runner on " + channel_->host() + " (" + hello_.value("build", "?") + ") speaks protocol " +
                  std::to_string(low) + " to " + std::to_string(high) + ", this program " +
                  std::to_string(host::kProtocolMin) + " to " + std::to_string(host::kProtocolMax),
              newer ? "upgrade trainctl here" : "install the trainctl-runner that belongs to this trainctl");
}

bool RunnerClient::offers(std::string_view operation) const {
  const auto offered = hello_.find("operations");
  return offered != hello_.end() && offered->is_array() &&
         std::find(offered->begin(), offered->end(), Json(operation)) != offered->end();
}

bool RunnerClient::broken() const {
  const std::scoped_lock lock(mutex_);
  return broken_.has_value();
}

Result<Json> RunnerClient::request(const Json& request, const Cancel& cancel,
                                   std::optional<std::chrono::milliseconds> deadline) {
  Lock lock(mutex_);
  TRY_ASSIGN(const std::uint32_t id, ask(lock, request));
  const auto frame = await(lock, id, cancel, deadline.value_or(timing_.request));
  streams_.erase(id);
  if (!frame) return fail(frame.error());
  return base::parse_json(frame->payload);
}

/// The next frame of a stream whose runner may be busy for so long.
Result<Frame> RunnerClient::await(Lock& lock, std::uint32_t id, const Cancel& cancel,
                                  std::chrono::milliseconds patience) {
  const std::uint64_t due = base::mono_ns() + in_ns(patience);
  answers_due_[id] = due;
  auto frame = take(lock, id, cancel, due);
  answers_due_.erase(id);
  if (!frame && frame.error().code == Errc::timeout && base::mono_ns() >= due && !broken_) {
    // Whoever asks again gets a fresh connection: this one, or what serves it, hangs.
    break_off(unavailable("no answer from " + channel_->host() + " in " + base::format_duration(patience)));
    return fail(*broken_);
  }
  return frame;
}

Result<RunnerStream> RunnerClient::open(const Json& request) {
  Lock lock(mutex_);
  TRY_ASSIGN(const std::uint32_t id, ask(lock, request));
  post(FrameType::credit, id, host::encode_u32(kWindow - host::kStreamCredit));
  return RunnerStream(shared_from_this(), id);
}

/// Sends a request on a stream of its own.
Result<std::uint32_t> RunnerClient::ask(Lock&, const Json& request) {
  if (broken_) return fail(*broken_);
  const std::string text = base::dump_json(request);
  if (text.size() > host::kMaxPayload) {
    return fail(Errc::invalid,
                "a request of " + base::format_size(text.size()) + " is too long for the runner protocol");
  }
  const std::uint32_t id = new_stream();
  auto stream = std::make_shared<Stream>();
  stream->received = host::CreditReturn(kWindow);
  stream->packer = host::Packer(packs_);
  streams_[id] = std::move(stream);
  post(FrameType::request, id, text);
  return id;
}

/// The next frame of a stream; the runner's error frames become errors.
Result<Frame> RunnerClient::take(Lock& lock, std::uint32_t id, const Cancel& cancel, std::uint64_t deadline_ns) {
  const std::shared_ptr<Stream> stream = streams_.at(id);
  TRY(wait(lock, id, [&stream] { return !stream->frames.empty(); }, cancel, deadline_ns));
  Frame frame = std::move(stream->frames.front());
  stream->frames.pop_front();
  if (frame.type != FrameType::error) return frame;
  TRY_ASSIGN(const Json json, base::parse_json(frame.payload));
  return fail(error_from_json(json).with_context("on " + channel_->host()));
}

/// Until `ready`, which is asked under the lock. Whoever finds nobody reading reads for all.
Result<> RunnerClient::wait(Lock& lock, std::uint32_t stream, const std::function<bool()>& ready, const Cancel& cancel,
                            std::uint64_t deadline_ns) {
  Result<> result;
  while (!ready()) {
    if (broken_) {
      result = fail(*broken_);
    } else if (cancel.requested()) {
      result = fail(Errc::canceled, "given up");
    } else if (base::mono_ns() >= deadline_ns) {
      result = fail(Errc::timeout, "no answer in time");
    }
    if (!result) break;
    if (leading_) {
      follow(lock, stream, cancel, deadline_ns);
    } else {
      lead(lock, cancel, deadline_ns);
    }
  }
  if (!leading_ && !waiters_.empty()) ring(waiters_.front()->event.get());  // somebody has to read on
  return result;
}

void RunnerClient::follow(Lock& lock, std::uint32_t stream, const Cancel& cancel, std::uint64_t deadline_ns) {
  auto event = make_event();
  if (!event) return break_off(std::move(event).error());
  Waiter waiter{.event = std::move(*event), .stream = stream};
  waiters_.push_back(&waiter);
  lock.unlock();
  std::array<pollfd, 2> polls = {pollfd{waiter.event.get(), POLLIN, 0}, pollfd{cancel.fd(), POLLIN, 0}};
  ::poll(polls.data(), polls.size(), left_ms(deadline_ns));
  lock.lock();
  waiters_.erase(std::find(waiters_.begin(), waiters_.end(), &waiter));
}

/// One turn of reading and writing for everybody.
void RunnerClient::lead(Lock& lock, const Cancel& cancel, std::uint64_t deadline_ns) {
  leading_ = true;
  std::array<pollfd, 4> polls = {pollfd{connection_->process.out(), POLLIN, 0},
                                 pollfd{out_.empty() ? -1 : connection_->process.in(), POLLOUT, 0},
                                 pollfd{cancel.fd(), POLLIN, 0}, pollfd{wake_.get(), POLLIN, 0}};
  lock.unlock();
  ::poll(polls.data(), polls.size(), left_ms(std::min(deadline_ns, silent_until_ns())));
  lock.lock();
  leading_ = false;
  if (polls[3].revents != 0) hush(wake_.get());
  if (broken_) return;
  if (polls[1].revents != 0) flush();
  if (polls[0].revents != 0) receive();
  look_at_silence();
}

void RunnerClient::receive() {
  std::array<char, kReadAtOnce> buffer;  // NOLINT: filled by read
  ssize_t got = -1;
  do {
    got = ::read(connection_->process.out(), buffer.data(), buffer.size());
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno != EAGAIN) return break_off(system_error("read from " + channel_->host(), errno));
  if (got > 0) {
    heard_ns_ = base::mono_ns();
    asked_ns_ = 0;
    decoder_.feed({buffer.data(), static_cast<std::size_t>(got)});
  }
  for (;;) {
    auto frame = decoder_.next();
    if (!frame) return break_off(std::move(frame).error());
    if (!*frame) break;
    if (auto whole = unpacker_.unpack(**frame); !whole) return break_off(std::move(whole).error());
    dispatch(std::move(**frame));
  }
  if (got != 0) return;
  const bool ended = connection_->process.wait_ms(kEndMs);
  break_off(channel_->explain(ended ? std::optional(connection_->process.exit_code()) : std::nullopt,
                              connection_->process.errors()));
}

void RunnerClient::dispatch(Frame frame) {
  if (frame.stream == 0 && frame.type == FrameType::error && !hello_.is_null()) {
    const auto json = base::parse_json(frame.payload);
    return break_off(error_from_json(json ? *json : Json()));
  }
  const auto found = streams_.find(frame.stream);
  if (found == streams_.end()) return;  // of a stream that was given up: frames cross
  Stream& stream = *found->second;
  if (frame.type == FrameType::credit) {
    const auto bytes = host::decode_u32(frame.payload);
    stream.packer.choice().taken(bytes.value_or(0), base::mono_ns());
    if (auto granted = stream.to_send.grant(bytes.value_or(UINT32_MAX)); !granted)
      return break_off(std::move(granted).error());
  } else {
    if (frame.type == FrameType::data) {
      if (auto received = stream.received.received(frame.payload.size()); !received)
        return break_off(std::move(received).error());
    }
    stream.closed = stream.closed || closes(frame.type);
    stream.frames.push_back(std::move(frame));
  }
  for (const Waiter* waiter : waiters_) {
    if (waiter->stream == found->first) ring(waiter->event.get());
  }
}

void RunnerClient::post(FrameType type, std::uint32_t stream, std::string_view payload) {
  (void)host::append_frame(out_, type, stream, payload);  // its size was looked at where it was made
  flush();
}

void RunnerClient::post_data(std::uint32_t id, Stream& stream, std::string_view bytes) {
  (void)stream.packer.append(out_, id, bytes);
  flush();
}

void RunnerClient::flush() {
  if (!connection_) return;
  const std::size_t before = out_.size();
  std::size_t done = 0;
  while (done < out_.size()) {
    const ssize_t sent = ::send(connection_->process.in(), out_.data() + done, out_.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    // A broken pipe is seen, with its reason, where the other direction ends.
    if (sent < 0 && errno != EAGAIN) done = out_.size();
    if (sent < 0) break;
    done += static_cast<std::size_t>(sent);
  }
  out_.erase(0, done);
  if (!out_.empty() && leading_) ring(wake_.get());
  if (before >= kOutLimit && out_.size() < kOutLimit) wake_all();
}

/// When silence has to be looked at again. A runner that is busy with a request that has time left may be silent.
std::uint64_t RunnerClient::silent_until_ns() const {
  if (!offers("ping")) return kNever;
  if (asked_ns_ == 0) return heard_ns_ + in_ns(timing_.heartbeat);
  // Counted from when we asked, not from the last word: after a sleep of this machine the answer may still come.
  std::uint64_t until = asked_ns_ + in_ns(timing_.silence - timing_.heartbeat);
  for (const auto& [id, due] : answers_due_) until = std::max(until, due);
  return until;
}

/// Network trouble shows as silence.
void RunnerClient::look_at_silence() {
  const std::uint64_t now = base::mono_ns();
  if (now < silent_until_ns()) return;
  if (asked_ns_ != 0)
    return break_off(
        unavailable("no word from " + channel_->host() + " for " + base::format_duration(timing_.silence)));
  asked_ns_ = now;
  post(FrameType::request, new_stream(), R"({"op":"ping"})");
}

std::uint32_t RunnerClient::new_stream() {
  while (next_stream_ == 0 || streams_.contains(next_stream_)) ++next_stream_;
  return next_stream_++;
}

void RunnerClient::break_off(Error error) {
  if (!broken_) broken_ = std::move(error);
  wake_all();
  ring(wake_.get());
}

void RunnerClient::wake_all() {
  for (const Waiter* waiter : waiters_) ring(waiter->event.get());
}

}  // namespace trainctl::target
