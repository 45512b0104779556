// SPDX-License-Identifier: Apache-2.0
#include "host/gang/lead.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "format/paths.hpp"
#include "host/admission/slot_folder.hpp"
#include "host/distribution/ports.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/gang/address.hpp"
#include "host/gang/codec.hpp"
#include "host/gang/link.hpp"
#include "host/gang/membership.hpp"
#include "host/gang/messages.hpp"
#include "host/supervisor/reactor.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr int kBeatsPerSilence = 6;
constexpr std::uint64_t kHelloPatience = 10'000 * kMillisecond;
constexpr std::size_t kMostStrangers = 64;

std::uint64_t nanoseconds(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(time.count()) * kMillisecond;
}

std::uint64_t translate(std::uint64_t theirs, std::int64_t offset) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(static_cast<std::int64_t>(theirs) + offset, 0));
}

}  // namespace

Result<std::unique_ptr<GangLead>> GangLead::open(Reactor& reactor, const format::RunPaths& run, Membership member) {
  std::unique_ptr<GangLead> lead(new GangLead(reactor, run, std::move(member)));
  for (int k = 1; k < lead->member_.nodes; ++k) {
    lead->nodes_.push_back({.number = k});
    lead->orders_[k] = {};
  }
  TRY(lead->listen());
  return lead;
}

GangLead::~GangLead() {
  if (listener_) reactor_.unwatch(listener_.get());
}

Result<> GangLead::listen() {
  if (member_.lead_port == 0) {
    TRY_ASSIGN(port_, PortReservation::choose(1, slot_folder()));
    port_->release();
    member_.lead_port = port_->ports().front();
  }
  TRY_ASSIGN(listener_, begin_listen(member_.lead_port));
  TRY(write_membership(run_, member_));
  LeadPlace place{.addresses = {}, .port = member_.lead_port};
  if (!member_.addresses.empty() && !member_.addresses[0].empty()) place.addresses.push_back(member_.addresses[0]);
  for (std::string& address : own_addresses()) {
    if (place.addresses.empty() || place.addresses.front() != address) place.addresses.push_back(std::move(address));
  }
  if (place.addresses.empty()) place.addresses.emplace_back("127.0.0.1");  // a machine without a network is alone
  TRY(publish_lead(run_, place));
  reactor_.watch(listener_.get(), [this] { accept(); });
  return {};
}

void GangLead::accept() {
  base::UniqueFd socket = accept_link(listener_.get());
  if (!socket) return;
  const auto strangers =
      std::count_if(peers_.begin(), peers_.end(), [](const auto& one) { return one.second.node == 0; });
  if (static_cast<std::size_t>(strangers) >= kMostStrangers) return;
  const int id = next_peer_++;
  Peer& peer = peers_[id];
  peer.since = base::mono_ns();
  peer.link = std::make_unique<GangLink>(
      reactor_, std::move(socket), GangSide::lead, member_.key,
      GangLink::Handlers{.message = [this, id](std::string_view text) { on_message(id, text); },
                         .closed = [this, id](const std::string&) { on_closed(id); }});
}

void GangLead::on_closed(int peer) {
  const auto found = peers_.find(peer);
  if (found == peers_.end()) return;
  if (found->second.node > 0) nodes_[static_cast<std::size_t>(found->second.node - 1)].connected = false;
  peers_.erase(found);
}

void GangLead::on_message(int peer, std::string_view text) {
  const int node = peers_.at(peer).node;
  if (node > 0) {
    if (auto report = decode_report(text)) take(node, std::move(*report));
    return;
  }
  auto hello = decode_hello(text);
  if (!hello || !greet(peer, *hello)) return on_closed(peer);
  take(hello->node, std::move(hello->report));
  send(hello->node);
}

bool GangLead::greet(int peer, const GangHello& hello) {
  if (hello.node < 1 || hello.node >= member_.nodes) return false;
  // The newest connection of a node is the true one: the one before may hang in a cut link.
  std::erase_if(peers_, [&](const auto& one) { return one.first != peer && one.second.node == hello.node; });
  Peer& joined = peers_.at(peer);
  joined.node = hello.node;
  Node& node = nodes_[static_cast<std::size_t>(hello.node - 1)];
  node.connected = true;
  node.shared = hello.shared;
  const auto number = static_cast<std::size_t>(hello.node);
  const bool named = number < member_.addresses.size() && !member_.addresses[number].empty();
  node.address = named ? member_.addresses[number] : joined.link->peer_address();
  if (own_address_.empty()) own_address_ = hello.lead_address;
  clock_offsets_.erase(hello.node);  // it may have been restarted with its clock
  return true;
}

void GangLead::take(int number, NodeReport report) {
  Node& node = nodes_[static_cast<std::size_t>(number - 1)];
  node.heard_at = base::mono_ns();
  const auto offset = static_cast<std::int64_t>(node.heard_at) - static_cast<std::int64_t>(report.mono_ns);
  const auto [known, fresh] = clock_offsets_.try_emplace(number, offset);
  if (!fresh) known->second = std::min(known->second, offset);
  if (report.attempt != orders_[number].attempt) return;  // it has not heard of this attempt
  for (RemoteRank& rank : report.ranks) {
    if (rank.exit) rank.exit->mono_ns = translate(rank.exit->mono_ns, known->second);
  }
  node.growth_at = translate(report.growth_ns, known->second);
  node.report = std::move(report);
}

void GangLead::order(Node& node, const GangOrder& order) {
  orders_[node.number] = order;
  send(node.number);
}

void GangLead::send(int node) {
  const std::string text = encode(orders_[node]);
  for (auto& [id, peer] : peers_) {
    if (peer.node == node) return peer.link->send(text);
  }
}

void GangLead::begin(int attempt) {
  for (Node& node : nodes_) {
    node.lost = false;
    node.report = {};
    order(node, {.attempt = attempt});
  }
}

void GangLead::prepare_next(bool shared_too) {
  for (Node& node : nodes_) {
    GangOrder next = orders_[node.number];
    if (next.step == GangStep::wait) {
      if (!node.connected || (node.shared && !shared_too)) return;
      next.step = GangStep::prepare;
      order(node, next);
    }
    if (node.report.step < NodeStep::preparing) return;
  }
}

void GangLead::launch(const Rendezvous& rendezvous) {
  const std::uint64_t now = base::mono_ns();
  for (Node& node : nodes_) {
    GangOrder next = orders_[node.number];
    next.step = std::max(next.step, GangStep::launch);
    next.rendezvous = rendezvous;
    node.heard_at = std::max(node.heard_at, now);  // from here on its silence counts
    order(node, next);
  }
}

void GangLead::stop(const GangStop& how) {
  for (Node& node : nodes_) {
    GangOrder next = orders_[node.number];
    next.stop = how;
    order(node, next);
  }
}

void GangLead::warn() {
  for (Node& node : nodes_) {
    GangOrder next = orders_[node.number];
    next.warn = true;
    order(node, next);
  }
}

void GangLead::signal(const GangSignal& signal) {
  for (Node& node : nodes_) {
    GangOrder next = orders_[node.number];
    next.signals.push_back(signal);
    order(node, next);
  }
}

void GangLead::conclude(bool retry) {
  for (Node& node : nodes_) {
    GangOrder next = orders_[node.number];
    if (next.step >= GangStep::conclude) continue;
    next.step = GangStep::conclude;
    next.retry = retry;
    order(node, next);
  }
}

void GangLead::leave() {
  for (Node& node : nodes_) {
    GangOrder next = orders_[node.number];
    next.step = GangStep::leave;
    order(node, next);
  }
}

void GangLead::beat(std::uint64_t now) {
  next_beat_ = now + nanoseconds(member_.silence) / kBeatsPerSilence;
  for (const Node& node : nodes_) send(node.number);
  std::vector<int> silent;
  for (const auto& [id, peer] : peers_) {
    if (peer.node == 0 && now - peer.since > kHelloPatience) silent.push_back(id);
  }
  for (const int id : silent) on_closed(id);
}

void GangLead::tick(std::uint64_t now) {
  if (now >= next_beat_) beat(now);
  for (Node& node : nodes_) {
    if (node.heard_at > 0 && node.heard_at + nanoseconds(member_.silence) <= now && node.connected) {
      const auto peer =
          std::find_if(peers_.begin(), peers_.end(), [&](const auto& one) { return one.second.node == node.number; });
      if (peer != peers_.end()) on_closed(peer->first);  // it has to join again
    }
    const bool counts = orders_[node.number].step >= GangStep::launch && node.report.step != NodeStep::ended;
    if (counts && node.heard_at + nanoseconds(member_.silence) <= now) node.lost = true;
  }
}

std::uint64_t GangLead::next_deadline() const {
  std::uint64_t next = next_beat_;
  for (const Node& node : nodes_) {
    if (!node.lost && node.heard_at > 0) {
      const std::uint64_t at = node.heard_at + nanoseconds(member_.silence);
      if (node.connected || orders_.at(node.number).step >= GangStep::launch) next = std::min(next, at);
    }
  }
  return next;
}

std::string GangLead::own_address() const {
  if (!member_.addresses.empty() && !member_.addresses[0].empty()) return member_.addresses[0];
  return own_address_;
}

bool GangLead::reached(NodeStep step) const {
  return std::all_of(nodes_.begin(), nodes_.end(),
                     [&](const Node& node) { return node.lost || node.report.step >= step; });
}

bool GangLead::ready() const {
  return std::all_of(nodes_.begin(), nodes_.end(),
                     [](const Node& node) { return node.connected && node.report.step >= NodeStep::ready; });
}

bool GangLead::settled() const {
  return std::all_of(nodes_.begin(), nodes_.end(), [](const Node& node) {
    if (node.lost || node.report.step >= NodeStep::drained) return true;
    const auto& ranks = node.report.ranks;
    return node.report.step == NodeStep::active && std::all_of(ranks.begin(), ranks.end(), [](const RemoteRank& rank) {
             return rank.exit || rank.lost || !rank.begun;
           });
  });
}

bool GangLead::drained() const {
  return reached(NodeStep::drained);
}

bool GangLead::ended() const {
  return reached(NodeStep::ended);
}

}  // namespace trainctl::host
