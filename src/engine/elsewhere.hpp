// SPDX-License-Identifier: Apache-2.0
// A run on a target that takes files: where what the run reads is there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "archive/store.hpp"
#include "format/input_list.hpp"
#include "format/plan.hpp"
#include "snapshot/store.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

class Elsewhere {
 public:
  /// `definition`: of the target, as in plans.
  static Result<Elsewhere> open(const archive::Store& store, Json definition, target::TransferProgress progress);

  /// Notes a file or folder of this machine as to be sent, and returns its path there (with format::kStoreMark). Its
  /// content is hashed now, and read when the run is launched.
  Result<std::string> send(const std::filesystem::path& path);

  /// Does the run of this plan lie on the same target?
  [[nodiscard]] bool holds(const format::Plan& plan) const { return plan.target == definition_; }
  /// The outputs folder of a run there.
  [[nodiscard]] static std::string outputs_of(const std::string& run, int attempt);

  /// What a container is built from is sent as well; volumes are paths of the target.
  Result<> send_container(format::PlanContainer& container);

  [[nodiscard]] std::vector<format::SentInput> take() && { return std::move(sent_); }

 private:
  Elsewhere(snapshot::Store store, Json definition, target::TransferProgress progress)
      : store_(std::move(store)), definition_(std::move(definition)), progress_(std::move(progress)) {}

  snapshot::Store store_;
  Json definition_;
  target::TransferProgress progress_;
  std::vector<format::SentInput> sent_;
};

/// Are files of this machine sent to the target when a run is launched there?
Result<bool> takes_files(const archive::Store& store, const Json& definition);

}  // namespace trainctl::engine
