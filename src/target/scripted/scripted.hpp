// SPDX-License-Identifier: Apache-2.0
// A target that plays a scenario instead of running anything: for tests of everything above the seam, for demos, and
// to see how a lost connection or a truncated log looks. Like a real one it goes on while nobody watches: what it
// holds at a time follows from when it was launched and when it was stopped, two small files beside the store.
#pragma once

#include <functional>

#include "target/scripted/scenario.hpp"
#include "target/target.hpp"

namespace trainctl::target {

/// Milliseconds since the epoch.
using WallClock = std::function<std::int64_t()>;
WallClock real_clock();

class ScriptedTarget final : public Target {
 public:
  /// `directory` stands for the distant machine's disk.
  ScriptedTarget(Json document, Scenario scenario, std::filesystem::path directory, WallClock clock = real_clock());

  [[nodiscard]] Capabilities capabilities() const override;
  Result<Json> probe(const Cancel& cancel) override;
  Result<Handle> launch(const RunRef& ref, const Cancel& cancel) override;
  Result<> adopt(const RunRef& ref, const Cancel& cancel) override;
  Result<std::optional<Handle>> find(const RunRef& ref, const Cancel& cancel) override;
  Result<> watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until) override;
  Result<> stop(const RunRef& ref, const StopPlan& plan, const Cancel& cancel) override;
  Result<Collected> collect(const RunRef& ref, const CollectPlan& plan, const Cancel& cancel) override;
  Result<> remove(const RunRef& ref, const Cancel& cancel) override;
  Result<FileDigest> digest(const RunRef& ref, const std::string& file, const Cancel& cancel) override;
  Result<Json> clean(bool all, const Cancel& cancel) override;

 private:
  [[nodiscard]] std::filesystem::path folder(const std::string& run) const { return directory_ / run; }
  Json document_;
  Scenario scenario_;
  std::filesystem::path directory_;
  WallClock clock_;
};

}  // namespace trainctl::target
