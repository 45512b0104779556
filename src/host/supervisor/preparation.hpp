// SPDX-License-Identifier: Apache-2.0
// What must be there before the ranks start: the working directory with the source, earlier outputs, the environment.
// The long parts run in a forked child, so that the supervisor goes on listening.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/supervisor/launch.hpp"
#include "host/supervisor/reactor.hpp"

namespace trainctl::host {

/// Why preparing failed: which part, and one sentence.
struct PreparationError {
  format::Cause cause = format::Cause::start;
  std::string message;
};
using PreparationResult = tl::expected<Prepared, PreparationError>;

/// What to do: `work` is false when work/ was complete before (a waiter may be at work in it already).
struct PreparationOptions {
  int attempt = 1;
  bool work = true;
  bool afresh = false;  ///< an earlier work/ is not to be trusted: the machine was restarted since
  bool spare = false;   ///< then make a spare of the source for the next run, in a process of its own
};

/// Does everything in this process (called in the child, or directly when it is quick).
PreparationResult prepare_attempt(const format::Plan& plan, const format::RunPaths& run,
                                  const PreparationOptions& options);

/// On a submit host, for the supervisor that comes later on another machine: the environment, and the source it is
/// built from. Cause::start or Cause::environment.
tl::expected<void, PreparationError> prepare_ahead(const format::Plan& plan, const format::RunPaths& run, int attempt);

/// True when prepare_attempt has nothing to do that takes time: no environment, and a small source.
bool is_quick_to_prepare(const format::Plan& plan, int attempt);

/// A sentence for the `preparing` state: what is being done.
std::string preparation_message(const format::Plan& plan);

/// Runs prepare_attempt in a child of its own process group.
class Preparation {
 public:
  explicit Preparation(Reactor& reactor) : reactor_(reactor) {}
  ~Preparation();
  Preparation(const Preparation&) = delete;
  Preparation& operator=(const Preparation&) = delete;

  using Done = std::function<void(PreparationResult)>;
  /// `done` is called once from the loop.
  Result<> start(const format::Plan& plan, const format::RunPaths& run, const PreparationOptions& options, Done done);
  [[nodiscard]] bool busy() const { return child_ != 0; }
  /// Sends the signal to the child's group; SIGKILL to all its descendants.
  void signal(int number) const;

 private:
  void finish(int status);
  Reactor& reactor_;
  pid_t child_ = 0;
  base::UniqueFd result_;
  Done done_;
};

}  // namespace trainctl::host
