// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {

/// What collecting came to.
struct Collected {
  std::optional<std::uint64_t> files = {};  ///< empty: there is no list
  std::uint64_t bytes = 0;
  std::vector<std::string> warnings = {};
};

/// The child that looks after the outputs of an attempt that has ended: it brings the files of `keep` to outputs/, then
/// lists and hashes what lies there. Big files take their time, the supervisor may not. It dies with its supervisor;
/// the next one starts another, which begins again.
class Collection {
 public:
  using Done = std::function<void(Collected)>;

  explicit Collection(Reactor& reactor) : reactor_(reactor) {}
  ~Collection();
  Collection(const Collection&) = delete;
  Collection& operator=(const Collection&) = delete;

  /// `plan` is borrowed. `list`: false for an attempt that is tried again, of which nobody will look for the outputs.
  /// `done` is called once; with a warning when the child could not be started or was killed again and again.
  void start(const format::Plan& plan, const format::AttemptPaths& attempt, bool list, Done done);
  /// What has not been read yet is listed without its hash.
  void hurry() const;
  [[nodiscard]] bool busy() const { return child_ != 0; }

 private:
  void fork_child();
  void on_exit(int status);
  void finish(Collected collected);
  Reactor& reactor_;
  const format::Plan* plan_ = nullptr;
  format::AttemptPaths attempt_;
  bool list_ = false;
  int tries_ = 0;
  pid_t child_ = 0;
  base::UniqueFd result_;
  Done done_;
};

}  // namespace trainctl::host
