// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <thread>

#include "base/json.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// Reaches a target while its run is still being prepared: connecting takes as long as a snapshot. A run that cannot
/// begin leaves nothing behind, so whoever submits waits for this before there is a run.
class Reaching {
 public:
  /// Of the target in `definition`, only the hosts that a run on `nodes` machines needs. Null where runs happen in
  /// place: nothing has to be reached.
  static Result<std::unique_ptr<Reaching>> begin(const Json& definition, int nodes, const std::filesystem::path& store);
  Reaching(const Reaching&) = delete;
  Reaching& operator=(const Reaching&) = delete;
  /// Gives up what is still under way.
  ~Reaching();

  /// Errors as Target::reach.
  Result<> wait();

 private:
  Reaching(std::unique_ptr<target::Target> target, target::Cancel cancel);

  std::unique_ptr<target::Target> target_;
  target::Cancel cancel_;
  std::optional<Result<>> reached_;
  std::thread thread_;
};

}  // namespace trainctl::engine
