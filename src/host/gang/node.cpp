// SPDX-License-Identifier: Apache-2.0
#include "host/gang/node.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"
#include "format/paths.hpp"
#include "host/gang/address.hpp"
#include "host/gang/codec.hpp"
#include "host/gang/link.hpp"
#include "host/gang/membership.hpp"
#include "host/gang/messages.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {
namespace {

constexpr int kBeatsPerSilence = 6;
constexpr std::uint64_t kTry = 2000 * kMillisecond;   // for one address: a firewall that drops answers never
constexpr std::uint64_t kPause = 250 * kMillisecond;  // between two tries

std::uint64_t nanoseconds(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(time.count()) * kMillisecond;
}

}  // namespace

GangNode::GangNode(Reactor& reactor, format::RunPaths run, Membership member)
    : reactor_(reactor), run_(std::move(run)), member_(std::move(member)), heard_at_(base::mono_ns()) {}

LeadPlace GangNode::place() const {
  if (member_.lead_port > 0) return {member_.lead_addresses, member_.lead_port};
  if (const auto published = read_lead(run_); published && *published) return **published;
  return {};
}

void GangNode::connect(std::uint64_t now) {
  next_try_ = now + kPause;
  const LeadPlace lead = place();
  if (lead.addresses.empty()) {
    problem_ = "node 0 does not listen yet";
    return;
  }
  address_ = lead.addresses[next_address_++ % lead.addresses.size()];
  const std::string where = address_ + " port " + std::to_string(lead.port) + ": ";
  auto socket = begin_connect(address_, lead.port);
  if (!socket) {
    problem_ = where + socket.error().message;
    return;
  }
  give_up_try_at_ = now + std::min(kTry, nanoseconds(member_.silence) / 2);
  problem_ = where + "no answer";
  link_ = std::make_unique<GangLink>(
      reactor_, std::move(*socket), GangSide::node, member_.key,
      GangLink::Handlers{.message = [this](std::string_view text) { on_message(text); },
                         .closed =
                             [this, where](const std::string& why) {
                               problem_ = where + (why.empty() ? "the connection was closed" : why);
                               on_closed(why);
                             }});
  told_.clear();
  tell();
}

void GangNode::on_message(std::string_view text) {
  auto order = decode_order(text);
  if (!order) return;
  heard_ = true;
  heard_at_ = base::mono_ns();
  give_up_try_at_ = kNever;
  problem_.clear();
  order_ = std::move(*order);
}

void GangNode::on_closed(const std::string&) {
  link_.reset();
  give_up_try_at_ = kNever;
  next_try_ = base::mono_ns() + kPause;
}

void GangNode::tell() {
  if (!link_) return;
  report_.mono_ns = base::mono_ns();
  if (link_->ready()) return link_->send(encode(report_));
  link_->send(encode(GangHello{.node = member_.node,
                               .machine = base::machine_id(),
                               .lead_address = address_,
                               .shared = member_.shared,
                               .report = report_}));
}

void GangNode::report(NodeReport report) {
  report.mono_ns = 0;
  const std::uint64_t growth = std::exchange(report.growth_ns, 0);  // the heartbeat is often enough for it
  std::string text = encode(report);
  report_ = std::move(report);
  report_.growth_ns = growth;
  if (text == told_) return;
  told_ = std::move(text);
  tell();
}

bool GangNode::forsaken(std::uint64_t now) const {
  return now >= heard_at_ + nanoseconds(member_.silence);
}

void GangNode::tick(std::uint64_t now) {
  // A connection over which nothing comes is none: the way may be open again elsewhere.
  const bool deaf = link_ && forsaken(now);
  if (link_ && (now >= give_up_try_at_ || deaf)) on_closed("");
  if (!link_ && now >= next_try_) connect(now);
  if (now < next_beat_) return;
  next_beat_ = now + nanoseconds(member_.silence) / kBeatsPerSilence;
  tell();
}

std::uint64_t GangNode::next_deadline() const {
  std::uint64_t next = std::min(next_beat_, give_up_try_at_);
  const std::uint64_t forsaken_at = heard_at_ + nanoseconds(member_.silence);
  if (forsaken_at > base::mono_ns()) next = std::min(next, forsaken_at);
  if (!link_) next = std::min(next, next_try_);
  return next;
}

}  // namespace trainctl::host
