// SPDX-License-Identifier: Apache-2.0
#include "host/supervisor/controlled_child.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "host/linux/process.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {

ControlledChild::~ControlledChild() {
  if (busy()) ::kill(*child_, SIGKILL);
}

bool ControlledChild::start(const char* name, const std::function<int(int control)>& life, std::vector<int> keep,
                            std::function<void()> ended) {
  if (busy()) return true;
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  const base::UniqueFd read_end(ends[0]);
  control_.reset(ends[1]);
  const pid_t pid = ::fork();
  if (pid == 0) {
    keep.push_back(read_end.get());
    close_descriptors_except(keep);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    reset_signals();
    set_process_name(name);
    ::_exit(life(read_end.get()));
  }
  if (pid < 0) return false;
  *child_ = pid;
  kill_at_ = kNever;
  reactor_.on_child(pid, [child = std::weak_ptr(child_), ended = std::move(ended)](int, std::uint64_t) {
    const auto owned = child.lock();
    if (!owned) return;
    *owned = 0;
    if (ended) ended();
  });
  return true;
}

void ControlledChild::finish(std::uint64_t now) {
  if (!busy() || kill_at_ != kNever) return;
  control_.reset();
  kill_at_ = now + patience_;
}

void ControlledChild::tick(std::uint64_t now) {
  if (!busy() || now < kill_at_) return;
  ::kill(*child_, SIGKILL);
  kill_at_ = now + patience_;
}

}  // namespace trainctl::host
