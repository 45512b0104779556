// SPDX-License-Identifier: Apache-2.0
// A runner behind the user's own ssh: configuration, agent, keys, jumps and host keys as they are.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "target/host/channel.hpp"
#include "target/ssh/destination.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

struct SshTiming {
  std::chrono::milliseconds begin{45'000};         ///< from the start of ssh until the host's script answers
  std::chrono::milliseconds begin_shared{12'000};  ///< the same through a connection that is there already
  std::chrono::milliseconds stall{60'000};         ///< without a byte moving while the runner is sent
};

class SshChannel final : public Channel {
 public:
  /// From a definition: {"hosts":["user@box"],"ssh_config"?,"accept_new_host_keys"?,"directory"?}. Errc::invalid.
  static Result<std::shared_ptr<SshChannel>> from_definition(const Json& definition, const SshTiming& timing = {});

  /// One ssh session: the script, the runner for the host's architecture when it is not there, then the runner. A
  /// shared connection that does not answer is ended, and the host asked once more without one.
  Result<Connection> connect(const Cancel& cancel, std::string_view first) override;
  /// Only to hosts where the runner was found where it mostly lies and has told a key: a connection that is shared.
  Result<bool> approach(const Cancel& cancel) override;
  void greeted(const Json& hello) override;
  [[nodiscard]] Error explain(std::optional<int> exit_code, const std::string& errors) const override;
  /// In a session of its own, through the shared connection where there is one.
  [[nodiscard]] Result<std::vector<std::string>> program(const std::vector<std::string>& words,
                                                         bool terminal) const override;
  [[nodiscard]] Result<std::vector<std::string>> forward(int port) const override;
  [[nodiscard]] std::string host() const override { return host_; }

 private:
  SshChannel(std::string host, SshOptions options, std::string directory, const SshTiming& timing)
      : host_(std::move(host)), options_(std::move(options)), directory_(std::move(directory)), timing_(timing) {}
  [[nodiscard]] std::optional<std::filesystem::path> shared_folder() const;
  [[nodiscard]] Result<Connection> connect_once(const std::optional<std::filesystem::path>& control,
                                                std::chrono::milliseconds patience, std::string_view first,
                                                const Cancel& cancel);
  [[nodiscard]] Result<> share(SshOptions options, const std::filesystem::path& control, const Cancel& cancel) const;
  [[nodiscard]] Error late(const std::string& why) const;

  std::string host_;    ///< as the person wrote it
  SshOptions options_;  ///< those that all its connections have
  std::string directory_;
  SshTiming timing_;
  std::string began_;  ///< how the runner began, when that was by the command alone; for the note
};

}  // namespace trainctl::target
