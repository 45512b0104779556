// SPDX-License-Identifier: Apache-2.0
// Several hosts as one target: a run that wants n machines gets the first n of them. Each host is reached like a host
// alone; what the machines do together is theirs (docs/decisions/0014-gang-channel.md).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "target/host/gang_files.hpp"
#include "target/host/host_link.hpp"
#include "target/host/host_target.hpp"
#include "target/target.hpp"

namespace trainctl::target {

class GangTarget final : public Target {
 public:
  /// `addresses`: by host, numeric, where the others reach it; "" or missing: as they see it.
  GangTarget(const std::string& name, std::vector<std::shared_ptr<HostLink>> links, std::vector<std::string> addresses);

  [[nodiscard]] Capabilities capabilities() const override;
  /// That of the first host, and "hosts" with those of all.
  Result<Json> probe(const Cancel& cancel) override;
  /// Prepares every host, and says `go` to the first. Nothing has begun before; nobody is needed after.
  Result<Handle> launch(const RunRef& ref, const Cancel& cancel) override;
  Result<> adopt(const RunRef& ref, const Cancel& cancel) override;
  /// All hosts must be.
  Result<> reach(const Cancel& cancel) override;
  Result<std::optional<Handle>> find(const RunRef& ref, const Cancel& cancel) override;
  Result<> watch(std::span<const Watched> runs, EventSink& sink, const Cancel& cancel, Until until) override;
  /// By the first host, or where that cannot be reached by any other.
  Result<> stop(const RunRef& ref, const StopPlan& plan, const Cancel& cancel) override;
  Result<> signal(const RunRef& ref, const std::string& name, const Cancel& cancel) override;
  /// Those of node k > 0 come to outputs.node<k>.
  Result<Collected> collect(const RunRef& ref, const CollectPlan& plan, const Cancel& cancel) override;
  Result<> remove(const RunRef& ref, const Cancel& cancel) override;
  /// On the host that writes the file.
  Result<FileDigest> digest(const RunRef& ref, const std::string& file, const Cancel& cancel) override;
  /// On the first host, which has rank 0.
  Result<std::vector<std::string>> enter(const RunRef& ref, const Visit& visit, const Cancel& cancel) override;
  Result<std::vector<std::string>> forward(const RunRef& ref, int port, int rank, const Cancel& cancel) override;
  /// On all hosts; "bytes" is their sum, a run that several keep is told once.
  Result<Json> clean(bool all, const Cancel& cancel) override;

 private:
  [[nodiscard]] Result<HostTarget*> host_of(const RunRef& ref, int rank) const;
  [[nodiscard]] Result<std::size_t> nodes_of(const RunRef& ref) const;
  [[nodiscard]] Result<> prepare(const RunRef& ref, const Json& request, std::size_t nodes, const Cancel& cancel) const;
  std::string name_;
  std::vector<std::shared_ptr<HostLink>> links_;
  std::vector<std::unique_ptr<HostTarget>> hosts_;
  std::vector<std::string> addresses_;
};

}  // namespace trainctl::target
