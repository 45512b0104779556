// SPDX-License-Identifier: Apache-2.0
// This machine: run folders grow in the store itself, beside a detached supervisor.
#pragma once

#include "target/target.hpp"

namespace trainctl::target {

class LocalTarget final : public Target {
 public:
  [[nodiscard]] Capabilities capabilities() const override;
  Result<Json> probe(const Cancel& cancel) override;
  Result<Handle> launch(const RunRef& ref, const Cancel& cancel) override;
  Result<> adopt(const RunRef& ref, const Cancel& cancel) override;
  Result<std::optional<Handle>> find(const RunRef& ref, const Cancel& cancel) override;
  Result<> watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until) override;
  Result<> stop(const RunRef& ref, const StopPlan& plan, const Cancel& cancel) override;
  Result<> signal(const RunRef& ref, const std::string& name, const Cancel& cancel) override;
  Result<Collected> collect(const RunRef& ref, const CollectPlan& plan, const Cancel& cancel) override;
  Result<> remove(const RunRef& ref, const Cancel& cancel) override;
  Result<FileDigest> digest(const RunRef& ref, const std::string& file, const Cancel& cancel) override;
  Result<std::vector<std::string>> enter(const RunRef& ref, const Visit& visit, const Cancel& cancel) override;
  Result<std::vector<std::string>> forward(const RunRef& ref, int port, int rank, const Cancel& cancel) override;
  Result<Json> clean(bool all, const Cancel& cancel) override;
};

}  // namespace trainctl::target
