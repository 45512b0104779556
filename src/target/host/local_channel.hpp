// SPDX-License-Identifier: Apache-2.0
// A runner that is our child: a host target without a network (tests, Slurm on this machine).
#pragma once

#include <filesystem>
#include <string_view>

#include "target/host/channel.hpp"

namespace trainctl::target {

class LocalChannel final : public Channel {
 public:
  /// The store is `directory`/store.
  explicit LocalChannel(std::filesystem::path directory) : directory_(std::move(directory)) {}

  Result<Connection> connect(const Cancel& cancel, std::string_view first) override;
  [[nodiscard]] Result<std::vector<std::string>> program(const std::vector<std::string>& words,
                                                         bool terminal) const override;
  [[nodiscard]] Error explain(std::optional<int> exit_code, const std::string& errors) const override;
  [[nodiscard]] std::string host() const override { return "this machine"; }

 private:
  std::filesystem::path directory_;
};

}  // namespace trainctl::target
