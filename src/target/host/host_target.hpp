// SPDX-License-Identifier: Apache-2.0
// A host that is not this machine's store: the runner protocol over a channel. What differs between hosts is the
// channel only.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json.hpp"
#include "host/enter/order.hpp"
#include "target/host/host_link.hpp"
#include "target/host/runner_client.hpp"
#include "target/target.hpp"

namespace trainctl::target {

class HostTarget final : public Target {
 public:
  HostTarget(std::string name, std::shared_ptr<HostLink> link) : name_(std::move(name)), link_(std::move(link)) {}

  [[nodiscard]] Capabilities capabilities() const override;
  Result<Json> probe(const Cancel& cancel) override;
  /// Sends what the host lacks of the run's source, then the plan and the run's secrets; the local copy of the secrets
  /// goes once the host has them.
  Result<Handle> launch(const RunRef& ref, const Cancel& cancel) override;
  Result<> adopt(const RunRef& ref, const Cancel& cancel) override;
  Result<> reach(const Cancel& cancel) override;
  Result<std::optional<Handle>> find(const RunRef& ref, const Cancel& cancel) override;
  /// Looks after the runs as well: one whose supervisor died gets a new one.
  Result<> watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until) override;
  Result<> stop(const RunRef& ref, const StopPlan& plan, const Cancel& cancel) override;
  Result<> signal(const RunRef& ref, const std::string& name, const Cancel& cancel) override;
  Result<Collected> collect(const RunRef& ref, const CollectPlan& plan, const Cancel& cancel) override;
  Result<> remove(const RunRef& ref, const Cancel& cancel) override;
  Result<FileDigest> digest(const RunRef& ref, const std::string& file, const Cancel& cancel) override;
  Result<std::vector<std::string>> enter(const RunRef& ref, const Visit& visit, const Cancel& cancel) override;
  Result<std::vector<std::string>> forward(const RunRef& ref, int port, int rank, const Cancel& cancel) override;
  Result<Json> clean(bool all, const Cancel& cancel) override;

 private:
  [[nodiscard]] Handle handle() const;
  Result<Json> launch_and_follow(const RunRef& ref, const Json& request, const Cancel& cancel);
  /// The command line that has the order carried out by the runner on the host.
  Result<std::vector<std::string>> send_order(const RunRef& ref, host::EnterOrder order, bool terminal,
                                              const Cancel& cancel);

  std::string name_;
  std::shared_ptr<HostLink> link_;
};

}  // namespace trainctl::target
