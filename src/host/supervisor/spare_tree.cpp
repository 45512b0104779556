// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/spare_tree.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/detach.hpp"
#include "snapshot/materialise.hpp"
#include "snapshot/spare.hpp"
#include "snapshot/store.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr int kMostPolite = 19;

/// One for each source directory of each machine that sends here.
std::string key_of(const format::Plan& plan) {
  return snapshot::spare_key(plan.who.value("machine", "") + "\n" + plan.source.value("directory", ""));
}

std::string digest_of(const format::Plan& plan) {
  return plan.source.value("digest", "");
}

bool is_worth_it(const snapshot::Store& store, const format::Plan& plan) {
  return snapshot::is_worth_a_spare(store, plan.source.value("files", std::uint64_t{0}),
                                    plan.source.value("bytes", std::uint64_t{0}));
}

/// The life of the process. A failure costs the next run some time and nothing else, so nobody is told.
int make_spare(const snapshot::Store& store, const format::Plan& plan, int report_fd) {
  ::setpriority(PRIO_PROCESS, 0, kMostPolite);
  const auto lock = snapshot::lock_spares(store);
  ::close(report_fd);  // from here on whoever removes spares knows of this process
  if (!lock || !*lock) return 0;
  return snapshot::make_spare(store, key_of(plan), digest_of(plan)) ? 0 : 1;
}

}  // namespace

Result<> make_source_tree(const snapshot::Store& store, const format::Plan& plan, const std::filesystem::path& to) {
  if (is_worth_it(store, plan) && snapshot::take_spare(store, key_of(plan), digest_of(plan), to)) return {};
  TRY(snapshot::materialise(store, digest_of(plan), to));
  return {};
}

void make_spare_aside(const format::Plan& plan, const format::RunPaths& run) {
  if (plan.source.value("kind", "none") != "snapshot") return;
  const auto store = snapshot::Store::open(run.store());
  if (!store || !is_worth_it(*store, plan)) return;
  (void)detach("trainctl-spare",
               [&](const Detached& detached) { return make_spare(*store, plan, detached.report_fd); });
}

}  // namespace trainctl::host
