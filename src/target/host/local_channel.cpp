// SPDX-License-Identifier: Apache-2.0
#include "target/host/local_channel.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/child_process.hpp"
#include "base/text.hpp"
#include "host/container/engine.hpp"
#include "target/cancel.hpp"
#include "target/host/channel.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::target {

Result<Connection> LocalChannel::connect(const Cancel&, std::string_view) {
  TRY_ASSIGN(const auto runner, host::runner_program());
  TRY_ASSIGN(auto process,
             base::ChildProcess::start({.argv = {runner.string(), "stdio", (directory_ / "store").string()}}));
  return Connection{.process = std::move(process)};
}

Result<std::vector<std::string>> LocalChannel::program(const std::vector<std::string>& words, bool) const {
  return words;
}

Error LocalChannel::explain(std::optional<int> exit_code, const std::string& errors) const {
  Error error{.code = Errc::unavailable, .message = "the runner on this machine ended"};
  if (exit_code) error.message += " with exit code " + std::to_string(*exit_code);
  if (const std::string_view said = base::trim(errors); !said.empty()) error.message += ": " + std::string(said);
  error.retryable = true;
  return error;
}

}  // namespace trainctl::target
