// SPDX-License-Identifier: Apache-2.0
#include "target/host/host_link.hpp"

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "target/cancel.hpp"
#include "target/host/channel.hpp"
#include "target/host/runner_client.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

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

Result<std::shared_ptr<RunnerClient>> HostLink::client(const Cancel& cancel) {
  const std::scoped_lock lock(mutex_);
  if (client_ && !client_->broken()) return client_;
  client_.reset();
  TRY_ASSIGN(auto connection, channel_->connect(cancel));
  TRY_ASSIGN(client_, RunnerClient::greet(channel_, std::move(connection), cancel, timing_));
  return client_;
}

void HostLink::close() {
  const std::scoped_lock lock(mutex_);
  client_.reset();
}

}  // namespace trainctl::target
