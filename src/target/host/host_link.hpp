// SPDX-License-Identifier: Apache-2.0
// The one connection of this process to a host, made when it is needed and again when it broke.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "target/cancel.hpp"
#include "target/host/channel.hpp"
#include "target/host/runner_client.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

class HostLink {
 public:
  explicit HostLink(std::shared_ptr<Channel> channel, const ClientTiming& timing = {})
      : channel_(std::move(channel)), timing_(timing) {}

  /// The link that everybody in this process with the same `key` shares: a host may allow one session only
  /// (MaxSessions 1), and a handshake costs more than everything else. Lives as long as the process.
  static std::shared_ptr<HostLink> shared(const std::string& key,
                                          const std::function<std::shared_ptr<Channel>()>& make_channel);

  /// Asks a connection that is being made for what is to be brought along.
  using First = std::function<Result<>(RunnerClient&)>;

  /// The connection, or a new one; errors as Channel::connect. Whoever finds another thread connecting waits for what
  /// comes of that, and can give up on its own. `first` is called for a new one only, before it is there.
  Result<std::shared_ptr<RunnerClient>> client(const Cancel& cancel, const First& first = {});
  /// Whether the host can be reached; what of the way may be gone ahead is. Errors as client().
  Result<> reach(const Cancel& cancel);
  /// A stream that was opened ahead for the run, for whoever goes on with it in this process.
  void keep(const std::string& run, RunnerStream stream);
  std::optional<RunnerStream> take(const std::string& run);
  /// Ends the connection; the next client() makes one again. For hosts that allow one session only.
  void close();
  [[nodiscard]] const Channel& channel() const { return *channel_; }
  [[nodiscard]] std::string host() const { return channel_->host(); }
  /// The error, saying once which host it is about.
  [[nodiscard]] Error named(Error error) const;

 private:
  using Made = Result<std::shared_ptr<RunnerClient>>;
  Made made_once(const Cancel& cancel, const std::function<Made()>& make);
  Made connect(const Cancel& cancel, const First& first);

  std::shared_ptr<Channel> channel_;
  ClientTiming timing_;
  std::mutex mutex_;  ///< never held while something is waited for
  std::shared_ptr<RunnerClient> client_;
  std::optional<Cancel> connecting_;           ///< while a thread connects; requested when it has ended
  std::map<std::string, RunnerStream> ahead_;  ///< by run
};

}  // namespace trainctl::target
