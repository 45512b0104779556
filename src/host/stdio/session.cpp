// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/session.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/hash.hpp"
#include "base/json.hpp"
#include "host/stdio/frame.hpp"
#include "host/stdio/operations.hpp"
#include "host/stdio/packing.hpp"
#include "host/stdio/upload.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"
#include "trainctl/version.hpp"

namespace trainctl::host {
namespace {

/// What a client may send on a put before it hears of us: more than on other streams, because every byte is handled as
/// it comes, and 256 KiB a round trip is 5 MB/s over an ocean. Small enough that a request behind it waits a second at
/// worst.
constexpr std::uint32_t kUploadCredit = 1U << 20U;

struct Operation {
  std::string_view name;
  Result<Json> (*operate)(const StdioContext& context, const Json& request);
};

/// Those with one answer.
constexpr std::array kOperations = {
    Operation{"ping", operate_ping},       Operation{"probe", operate_probe},     Operation{"find", operate_find},
    Operation{"request", operate_request}, Operation{"missing", operate_missing}, Operation{"launch", operate_launch},
    Operation{"adopt", operate_adopt},     Operation{"runs", operate_runs},       Operation{"remove", operate_remove},
    Operation{"clean", operate_clean},     Operation{"prepare", operate_prepare}, Operation{"go", operate_go},
    Operation{"enter", operate_enter},
};

Result<Json> operate(const StdioContext& context, std::string_view name, const Json& request) {
  for (const Operation& operation : kOperations) {
    if (operation.name == name) return operation.operate(context, request);
  }
  return fail(Errc::internal, "operation \"" + std::string(name) + "\" is offered and does not exist");
}

}  // namespace

Session::Session(const StdioContext& context, std::string_view begin) : context_(context), out_(begin) {
  Json hello = {{"protocol", {kProtocolMin, kProtocolMax}},
                {"build", version()},
                {"boot", base::boot_id()},
                {"machine", base::machine_id()},
                {"mono_ns", base::mono_ns()},
                {"credit", kStreamCredit},
                {"max_payload", kMaxPayload},
                {"packs", {kPacking}},
                {"operations", offered_operations(context)}};
  if (!context.carrying_key.empty()) hello["carrying_key"] = base::to_hex(context.carrying_key);
  send(FrameType::hello, 0, hello);
}

void Session::send(FrameType type, std::uint32_t stream, const Json& json) {
  const std::string text = base::dump_json(json);
  if (append_frame(out_, type, stream, text)) return;
  const Error error{.code = Errc::store,
                    .message = "the answer of " + std::to_string(text.size()) + " bytes is longer than a frame"};
  (void)append_frame(out_, FrameType::error, stream, base::dump_json(error_json(error)));
}

void Session::send_error(std::uint32_t stream, const Error& error) {
  send(FrameType::error, stream, error_json(error));
}

bool Session::violation(const std::string& message) {
  send_error(0, Error{.code = Errc::invalid, .message = message});
  drop_streams();
  return false;
}

bool Session::receive(std::string_view bytes) {
  decoder_.feed(bytes);
  for (;;) {
    auto frame = decoder_.next();
    if (!frame) return violation(frame.error().message);
    if (!*frame) return true;
    if (const auto whole = unpacker_.unpack(**frame); !whole) return violation(whole.error().message);
    if (!handle(**frame)) return false;
  }
}

bool Session::hello(const Frame& frame) {
  const auto json = base::parse_json(frame.payload);
  const auto range = json && json->is_object() ? json->find("protocol") : Json::const_iterator{};
  const bool good = json && json->is_object() && range != json->end() && range->is_array() && range->size() == 2 &&
                    (*range)[0].is_number_integer() && (*range)[1].is_number_integer();
  if (frame.type != FrameType::hello || !good) return violation("the first frame is not a hello with a protocol range");
  const auto low = (*range)[0].get<std::int64_t>();
  const auto high = (*range)[1].get<std::int64_t>();
  if (low > kProtocolMax || high < kProtocolMin) {
    return violation("this runner speaks protocol " + std::to_string(kProtocolMin) + " to " +
                     std::to_string(kProtocolMax) + ", the client " + std::to_string(low) + " to " +
                     std::to_string(high));
  }
  packs_ = names_packing(*json);
  greeted_ = true;
  return true;
}

bool Session::handle(const Frame& frame) {
  if (!greeted_) return hello(frame);
  const auto stream = streams_.find(frame.stream);
  switch (frame.type) {
    case FrameType::request:
      if (frame.stream == 0 || stream != streams_.end() || uploads_.contains(frame.stream))
        return violation("a request needs a stream of its own, " + std::to_string(frame.stream) + " is taken");
      request(frame);
      return true;
    case FrameType::credit:
      return credit(frame);
    case FrameType::cancel:
      close(frame.stream);
      uploads_.erase(frame.stream);
      return true;
    case FrameType::note:
    case FrameType::data:
    case FrameType::end:
      if (frame.stream != 0 && stream == streams_.end()) return incoming(frame);
      [[fallthrough]];
    default:
      return violation("a client does not send " + std::string(to_string(frame.type)) + " frames here");
  }
}

bool Session::credit(const Frame& frame) {
  const auto bytes = decode_u32(frame.payload);
  if (!bytes) return violation("a credit frame holds one u32");
  const auto stream = streams_.find(frame.stream);
  // A stream that has just ended may still be granted credit: the frames crossed.
  if (stream == streams_.end()) return true;
  stream->second.packer.choice().taken(*bytes, base::mono_ns());
  const auto granted = stream->second.credit.grant(*bytes);
  return granted ? true : violation(granted.error().message);
}

bool Session::incoming(const Frame& frame) {
  const auto found = uploads_.find(frame.stream);
  if (found == uploads_.end()) return true;  // it failed, and the frames crossed
  Incoming& stream = found->second;
  if (frame.type == FrameType::data) {
    const auto counted = stream.credit.received(frame.payload.size());
    if (!counted) return violation(counted.error().message);
  }
  stream.waiting.push_back(frame);
  take_waiting(frame.stream);
  return true;
}

/// Handles what the client sent, as far as the upload is not busy.
void Session::take_waiting(std::uint32_t id) {
  Incoming& stream = uploads_.at(id);
  while (!stream.waiting.empty() && !stream.upload->busy()) {
    const Frame frame = std::move(stream.waiting.front());
    stream.waiting.pop_front();
    const auto more = take(id, stream, frame);
    if (!more) send_error(id, more.error());
    if (more && *more) continue;
    uploads_.erase(id);
    return;
  }
}

/// False: that was the last frame of the stream.
Result<bool> Session::take(std::uint32_t id, Incoming& stream, const Frame& frame) {
  if (frame.type == FrameType::note) {
    const auto note = base::parse_json(frame.payload);
    if (!note) return fail(Errc::invalid, "the note is not JSON");
    TRY(stream.upload->announce(*note));
    return true;
  }
  if (frame.type == FrameType::end) {
    TRY_ASSIGN(const Json reply, stream.upload->finish());
    send(FrameType::reply, id, reply);
    return false;
  }
  TRY(stream.upload->receive(frame.payload));
  if (const std::uint32_t grant = stream.credit.consumed(frame.payload.size()); grant > 0)
    (void)append_frame(out_, FrameType::credit, id, encode_u32(grant));
  return true;
}

void Session::open_upload(std::uint32_t stream, const Json& request) {
  auto upload = Upload::open(context_, request);
  if (!upload) return send_error(stream, upload.error());
  uploads_.emplace(stream, Incoming{std::move(*upload), CreditReturn(kUploadCredit), {}});
  (void)append_frame(out_, FrameType::credit, stream, encode_u32(kUploadCredit - kStreamCredit));
}

void Session::open_source(std::uint32_t stream, const std::string& operation, const Json& request) {
  auto source = operation == "watch" ? operate_watch(context_, request) : operate_fetch(context_, request);
  if (!source) return send_error(stream, source.error());
  streams_.emplace(stream, Stream{.credit = CreditWindow(), .source = std::move(*source), .packer = Packer(packs_)});
}

void Session::request(const Frame& frame) {
  const auto json = base::parse_json(frame.payload);
  if (!json || !json->is_object())
    return send_error(frame.stream, Error{.code = Errc::invalid, .message = "the request is not a JSON object"});
  const auto operation = text_member(*json, "op");
  if (!operation) return send_error(frame.stream, operation.error());
  const Json offered = offered_operations(context_);
  if (std::find(offered.begin(), offered.end(), Json(*operation)) == offered.end()) {
    Error error{.code = Errc::invalid, .message = "operation \"" + *operation + "\" is unsupported by this runner"};
    error.hint = "see \"operations\" in its hello";
    return send_error(frame.stream, error);
  }
  if (*operation == "watch" || *operation == "fetch" || *operation == "put") {
    if (streams_.size() + uploads_.size() >= kMaxStreams)
      return send_error(frame.stream,
                        Error{.code = Errc::invalid, .message = "too many open streams on one connection"});
    return *operation == "put" ? open_upload(frame.stream, *json) : open_source(frame.stream, *operation, *json);
  }
  const auto reply = operate(context_, *operation, *json);
  if (!reply) return send_error(frame.stream, reply.error());
  send(FrameType::reply, frame.stream, *reply);
}

bool Session::pump_one(std::uint32_t id, Stream& stream) {
  if (stream.credit.left() == 0) return false;
  auto piece = stream.source->next(std::min<std::size_t>(kPiece, stream.credit.left()));
  if (!piece) {
    send_error(id, piece.error());
    close(id);
    return true;
  }
  if (!*piece) {
    stream.packer.choice().ran_dry(base::mono_ns());
    return false;
  }
  if (!(*piece)->note.is_null()) send(FrameType::note, id, (*piece)->note);
  if (!(*piece)->bytes.empty()) {
    stream.packer.choice().goes_on(base::mono_ns());
    (void)stream.credit.take((*piece)->bytes.size());
    (void)stream.packer.append(out_, id, (*piece)->bytes);
  }
  if (!(*piece)->end.is_null()) {
    send(FrameType::end, id, (*piece)->end);
    close(id);
  }
  return true;
}

bool Session::busy() const {
  return std::any_of(uploads_.begin(), uploads_.end(), [](const auto& entry) { return entry.second.upload->busy(); });
}

void Session::sent(std::size_t bytes) {
  sent_ += bytes;
  if (sent_ < out_.size() / 2) return;  // what is left is moved once a byte, not with every write
  out_.erase(0, sent_);
  sent_ = 0;
}

void Session::close(std::uint32_t id) {
  const auto stream = streams_.find(id);
  if (stream == streams_.end()) return;
  closed_.push_back(std::move(stream->second.source));
  streams_.erase(stream);
}

void Session::drop_streams() {
  streams_.clear();
  uploads_.clear();
}

void Session::work() {
  std::vector<std::uint32_t> ids;
  for (const auto& [id, stream] : uploads_) {
    if (stream.upload->busy()) ids.push_back(id);
  }
  for (const std::uint32_t id : ids) {
    const auto worked = uploads_.at(id).upload->work();
    if (worked) {
      take_waiting(id);
    } else {
      send_error(id, worked.error());
      uploads_.erase(id);
    }
  }
}

void Session::pump() {
  work();
  std::size_t idle = 0;
  while (pending().size() < kOutLimit && idle < streams_.size()) {
    auto next = streams_.upper_bound(last_);
    if (next == streams_.end()) next = streams_.begin();
    last_ = next->first;
    idle = pump_one(next->first, next->second) ? 0 : idle + 1;
  }
}

}  // namespace trainctl::host
