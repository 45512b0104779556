// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/session.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "trainctl/version.hpp"

namespace trainctl::host {
namespace {

struct Operation {
  std::string_view name;
  Result<Json> (*operate)(const StdioContext& context, const Json& request);
};

/// Those with one answer.
constexpr std::array kOperations = {
    Operation{"ping",
              [](const StdioContext&, const Json&) -> Result<Json> { return Json{{"mono_ns", base::mono_ns()}}; }},
    Operation{"probe", operate_probe},
    Operation{"find", operate_find},
    Operation{"request", operate_request},
    Operation{"missing", operate_missing},
    Operation{"launch", operate_launch},
};

Result<Json> operate(const StdioContext& context, std::string_view name, const Json& request) {
  for (const Operation& operation : kOperations) {
    if (operation.name == name) return operation.operate(context, request);
  }
  return fail(Errc::internal, "operation \"" + std::string(name) + "\" is offered and does not exist");
}

}  // namespace

Session::Session(const StdioContext& context) : context_(context) {
  send(FrameType::hello, 0,
       {{"protocol", {kProtocolMin, kProtocolMax}},
        {"build", version()},
        {"boot", base::boot_id()},
        {"machine", base::machine_id()},
        {"mono_ns", base::mono_ns()},
        {"credit", kStreamCredit},
        {"max_payload", kMaxPayload},
        {"operations", offered_operations(context)}});
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
  streams_.clear();
  return false;
}

bool Session::receive(std::string_view bytes) {
  decoder_.feed(bytes);
  for (;;) {
    auto frame = decoder_.next();
    if (!frame) return violation(frame.error().message);
    if (!*frame) return true;
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
  greeted_ = true;
  return true;
}

bool Session::handle(const Frame& frame) {
  if (!greeted_) return hello(frame);
  const auto stream = streams_.find(frame.stream);
  switch (frame.type) {
    case FrameType::request:
      if (frame.stream == 0 || stream != streams_.end())
        return violation("a request needs a stream of its own, " + std::to_string(frame.stream) + " is taken");
      request(frame);
      return true;
    case FrameType::credit: {
      const auto bytes = decode_u32(frame.payload);
      if (!bytes) return violation("a credit frame holds one u32");
      // A stream that has just ended may still be granted credit: the frames crossed.
      if (stream == streams_.end()) return true;
      const auto granted = stream->second.credit.grant(*bytes);
      return granted ? true : violation(granted.error().message);
    }
    case FrameType::cancel:
      streams_.erase(frame.stream);
      return true;
    default:
      return violation("a client does not send " + std::string(to_string(frame.type)) + " frames here");
  }
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
  if (*operation == "watch" || *operation == "fetch") {
    if (streams_.size() >= kMaxStreams)
      return send_error(frame.stream,
                        Error{.code = Errc::invalid, .message = "too many open streams on one connection"});
    auto source = *operation == "watch" ? operate_watch(context_, *json) : operate_fetch(context_, *json);
    if (!source) return send_error(frame.stream, source.error());
    streams_.emplace(frame.stream, Stream{CreditWindow(), std::move(*source)});
    return;
  }
  const auto answer = operate(context_, *operation, *json);
  if (!answer) return send_error(frame.stream, answer.error());
  send(FrameType::reply, frame.stream, *answer);
}

bool Session::pump_one(std::uint32_t id, Stream& stream) {
  if (stream.credit.left() == 0) return false;
  auto piece = stream.source->next(std::min<std::size_t>(kPiece, stream.credit.left()));
  if (!piece) {
    send_error(id, piece.error());
    streams_.erase(id);
    return true;
  }
  if (!*piece) return false;
  if (!(*piece)->note.is_null()) send(FrameType::note, id, (*piece)->note);
  if (!(*piece)->bytes.empty()) {
    (void)stream.credit.take((*piece)->bytes.size());
    (void)append_frame(out_, FrameType::data, id, (*piece)->bytes);
  }
  if (!(*piece)->end.is_null()) {
    send(FrameType::end, id, (*piece)->end);
    streams_.erase(id);
  }
  return true;
}

void Session::pump() {
  std::size_t idle = 0;
  while (out_.size() < kOutLimit && idle < streams_.size()) {
    auto next = streams_.upper_bound(last_);
    if (next == streams_.end()) next = streams_.begin();
    last_ = next->first;
    idle = pump_one(next->first, next->second) ? 0 : idle + 1;
  }
}

}  // namespace trainctl::host
