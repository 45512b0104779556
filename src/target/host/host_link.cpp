// SPDX-License-Identifier: Apache-2.0
#include "target/host/host_link.hpp"

#include <poll.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "target/cancel.hpp"
#include "target/host/channel.hpp"
#include "target/host/runner_client.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {
namespace {

/// False when `cancel` was requested first.
bool wait_for(const Cancel& ended, const Cancel& cancel) {
  std::array<pollfd, 2> polls = {pollfd{ended.fd(), POLLIN, 0}, pollfd{cancel.fd(), POLLIN, 0}};
  while (!ended.requested() && !cancel.requested()) ::poll(polls.data(), polls.size(), -1);
  return !cancel.requested();
}

}  // namespace

std::shared_ptr<HostLink> HostLink::shared(const std::string& key,
                                           const std::function<std::shared_ptr<Channel>()>& make_channel) {
  static std::mutex mutex;
  static std::map<std::string, std::shared_ptr<HostLink>> links;
  const std::scoped_lock lock(mutex);
  std::shared_ptr<HostLink>& link = links[key];
  if (!link) link = std::make_shared<HostLink>(make_channel());
  return link;
}

Error HostLink::named(Error error) const {
  std::string where = "on " + host();
  if (!error.context.empty() && error.context.back() == where) return error;  // the runner's own, see RunnerClient
  return std::move(error).with_context(std::move(where));
}

Result<std::shared_ptr<RunnerClient>> HostLink::client(const Cancel& cancel, const First& first) {
  return made_once(cancel, [&] { return connect(cancel, first); });
}

Result<> HostLink::reach(const Cancel& cancel) {
  TRY(made_once(cancel, [&]() -> Made {
    TRY_ASSIGN(const bool near, channel_->approach(cancel));
    return near ? nullptr : connect(cancel, {});
  }));
  return {};
}

/// The client that is there, or what one thread at a time makes.
HostLink::Made HostLink::made_once(const Cancel& cancel, const std::function<Made()>& make) {
  std::unique_lock lock(mutex_);
  while (connecting_) {
    const Cancel ended = *connecting_;
    lock.unlock();
    if (!wait_for(ended, cancel)) return fail(Errc::canceled, "given up");
    lock.lock();
  }
  if (client_ && !client_->broken()) return client_;
  client_.reset();
  ahead_.clear();
  TRY_ASSIGN(connecting_, Cancel::create());
  lock.unlock();
  auto made = make();
  lock.lock();
  connecting_->request();
  connecting_.reset();
  if (made) client_ = *made;
  return made;
}

HostLink::Made HostLink::connect(const Cancel& cancel, const First& first) {
  TRY_ASSIGN(auto client, RunnerClient::create(channel_, timing_));
  if (first) TRY(first(*client));
  TRY_ASSIGN(auto connection, channel_->connect(cancel, first ? client->kept() : std::string_view()));
  TRY(client->begin(std::move(connection), cancel));
  channel_->greeted(client->hello());
  return client;
}

void HostLink::keep(const std::string& run, RunnerStream stream) {
  const std::scoped_lock lock(mutex_);
  ahead_.insert_or_assign(run, std::move(stream));
}

std::optional<RunnerStream> HostLink::take(const std::string& run) {
  const std::scoped_lock lock(mutex_);
  auto found = ahead_.extract(run);
  if (found.empty()) return std::nullopt;
  return std::move(found.mapped());
}

void HostLink::close() {
  const std::scoped_lock lock(mutex_);
  ahead_.clear();
  client_.reset();
}

}  // namespace trainctl::target
