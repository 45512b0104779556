// SPDX-License-Identifier: Apache-2.0
#include "host/container/cleanup.hpp"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/process.hpp"
#include "format/paths.hpp"
#include "host/container/engine.hpp"
#include "host/container/image.hpp"
#include "host/linux/process.hpp"
#include "host/supervisor/rank_set.hpp"

namespace trainctl::host {
namespace {

constexpr std::chrono::seconds kPatience{60};

bool ended_by_itself(const Rank& rank) {
  return rank.record.exit && rank.record.exit->signal == 0 && rank.record.exit->cause.empty() && !rank.orphaned;
}

}  // namespace

ContainerCleanup::~ContainerCleanup() {
  if (child_ != 0) ::kill(child_, SIGKILL);
}

bool ContainerCleanup::done(const format::RunPaths& run, int attempt, const std::vector<Rank>& ranks, bool stopped) {
  if (finished_) return true;
  if (child_ != 0) return false;
  std::vector<std::string> names;
  for (const Rank& rank : ranks) {
    if (rank.record.started && (stopped || !ended_by_itself(rank)))
      names.push_back(container_name(run.id(), attempt, rank.number));
  }
  // From the record: this supervisor may not be the one that started them.
  const auto image = names.empty() ? std::nullopt : recorded_image(run.attempt(attempt));
  if (!image) return finished_ = true;
  const pid_t pid = ::fork();
  if (pid < 0) return finished_ = true;
  if (pid == 0) {
    close_descriptors_except({});
    reset_signals();
    set_process_name("trainctl-cleanu");
    (void)base::run_command({.argv = remove_command(image->engine, names), .deadline = kPatience});
    ::_exit(0);
  }
  child_ = pid;
  reactor_.on_child(pid, [this](int, std::uint64_t) {
    child_ = 0;
    finished_ = true;
  });
  return false;
}

}  // namespace trainctl::host
