// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "base/json.hpp"
#include "host/stdio/frame.hpp"
#include "target/cancel.hpp"
#include "target/host/runner_client.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

using host::Frame;
using host::FrameType;

constexpr std::size_t kSendPiece = 128U << 10U;
constexpr std::uint64_t kNsPerMs = 1'000'000;

Errc code_from_text(std::string_view text) {
  for (int code = 0; code <= static_cast<int>(Errc::internal); ++code) {
    if (text == to_string(static_cast<Errc>(code))) return static_cast<Errc>(code);
  }
  return Errc::internal;
}

}  // namespace

Error error_from_json(const Json& json) {
  Error error{.code = Errc::internal, .message = "the runner sent an error that cannot be read"};
  if (!json.is_object()) return error;
  error.code = code_from_text(json.value("code", ""));
  error.message = json.value("message", error.message);
  error.hint = json.value("hint", "");
  error.retryable = json.value("retryable", false);
  const auto context = json.find("context");
  if (context == json.end() || !context->is_array()) return error;
  for (const Json& text : *context) {
    if (text.is_string()) error.context.push_back(text.get<std::string>());
  }
  return error;
}

RunnerStream::~RunnerStream() {
  if (!client_) return;  // moved from
  const RunnerClient::Lock lock(client_->mutex_);
  const auto stream = client_->streams_.find(id_);
  if (stream == client_->streams_.end()) return;
  if (!stream->second->closed && !client_->broken_) client_->post(FrameType::cancel, id_, {});
  client_->streams_.erase(stream);
}

Result<Frame> RunnerStream::next(const Cancel& cancel, std::optional<std::chrono::milliseconds> deadline) {
  RunnerClient::Lock lock(client_->mutex_);
  if (!deadline) return client_->take(lock, id_, cancel, RunnerClient::kNever);
  return client_->await(lock, id_, cancel, *deadline);
}

Result<bool> RunnerStream::wait(const Cancel& cancel, std::chrono::milliseconds patience) {
  RunnerClient::Lock lock(client_->mutex_);
  const std::shared_ptr<RunnerClient::Stream> stream = client_->streams_.at(id_);
  const auto ready = [&stream] { return !stream->frames.empty(); };
  const std::uint64_t until = base::mono_ns() + static_cast<std::uint64_t>(patience.count()) * kNsPerMs;
  auto waited = client_->wait(lock, id_, ready, cancel, until);
  if (!waited && waited.error().code == Errc::timeout) return false;
  if (!waited) return fail(std::move(waited).error());
  return true;
}

void RunnerStream::consumed(std::size_t bytes) {
  const RunnerClient::Lock lock(client_->mutex_);
  RunnerClient::Stream& stream = *client_->streams_.at(id_);
  const std::uint32_t grant = stream.received.consumed(bytes);
  if (grant > 0 && !stream.closed && !client_->broken_) client_->post(FrameType::credit, id_, host::encode_u32(grant));
}

Result<> RunnerStream::send(std::string_view bytes, const Cancel& cancel) {
  RunnerClient::Lock lock(client_->mutex_);
  const std::shared_ptr<RunnerClient::Stream> stream = client_->streams_.at(id_);
  while (!bytes.empty()) {
    const auto ready = [&] {
      return stream->closed || (stream->to_send.left() > 0 && client_->out_.size() < RunnerClient::kOutLimit);
    };
    TRY(client_->wait(lock, id_, ready, cancel, RunnerClient::kNever));
    if (stream->closed) return fail(Errc::canceled, "the runner has answered already");
    const std::string_view piece = bytes.substr(0, std::min<std::size_t>(stream->to_send.left(), kSendPiece));
    (void)stream->to_send.take(piece.size());
    client_->post_data(id_, *stream, piece);
    bytes.remove_prefix(piece.size());
  }
  return {};
}

Result<> RunnerStream::note(const Json& note) {
  return post(FrameType::note, note);
}

Result<> RunnerStream::finish(const Json& end) {
  return post(FrameType::end, end);
}

Result<> RunnerStream::post(FrameType type, const Json& json) {
  const RunnerClient::Lock lock(client_->mutex_);
  if (client_->broken_) return fail(*client_->broken_);
  if (!client_->streams_.at(id_)->closed) client_->post(type, id_, base::dump_json(json));
  return {};
}

}  // namespace trainctl::target
