// SPDX-License-Identifier: Apache-2.0
// One thread that waits for everything many runs may wait for: descriptors, children, file changes, deadlines.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

inline constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
inline constexpr std::uint64_t kMillisecond = 1'000'000;

/// What the reactor drives: one supervised run. Times are base::mono_ns().
class Supervised {
 public:
  Supervised() = default;
  Supervised(const Supervised&) = delete;
  Supervised& operator=(const Supervised&) = delete;
  virtual ~Supervised() = default;
  /// Called once when the loop begins.
  virtual void start() = 0;
  /// Called after every wake-up; does what is due.
  virtual void on_time(std::uint64_t now) = 0;
  /// When on_time must be called at the latest; kNever when nothing is due.
  [[nodiscard]] virtual std::uint64_t next_deadline() const = 0;
  /// A process that became our child because its parent died.
  virtual void on_orphan(pid_t pid, int status) = 0;
  [[nodiscard]] virtual bool done() const = 0;
};

class Reactor {
 public:
  using FdHandler = std::function<void()>;
  /// `peak`: largest resident set of the child and its reaped children, in bytes.
  using ChildHandler = std::function<void(int status, std::uint64_t peak)>;
  using ChangeHandler = std::function<void(std::uint32_t mask, const std::string& name)>;

  static Result<std::unique_ptr<Reactor>> create();
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  void add(std::unique_ptr<Supervised> run);
  /// Returns when every run is done.
  void loop();

  /// The handler is called while `fd` is readable (or, if asked for, writable); it must read or unwatch. Again
  /// replaces. Unwatch before closing the descriptor.
  void watch(int fd, FdHandler handler, bool writable = false);
  void unwatch(int fd);
  /// Called once, when the child has been reaped.
  void on_child(pid_t pid, ChildHandler handler);
  /// The signal is blocked from now on, and `handler` called for it; before the children that it has ended are heard
  /// of.
  void on_signal(int number, std::function<void()> handler);
  /// inotify; -1 when it is not to be had (then the caller looks from time to time).
  int watch_path(const std::string& path, std::uint32_t mask, ChangeHandler handler);
  void unwatch_path(int watch);

 private:
  Reactor() = default;
  void read_signals();
  void reap();
  void read_changes();
  void dispatch(int timeout_ms);
  [[nodiscard]] int timeout_ms(std::uint64_t now) const;

  base::UniqueFd poll_;
  base::UniqueFd signals_;
  base::UniqueFd changes_;
  bool changes_tried_ = false;
  std::map<int, std::shared_ptr<FdHandler>> fds_;
  std::map<pid_t, ChildHandler> children_;
  std::map<int, std::function<void()>> signal_handlers_;
  std::map<int, std::shared_ptr<ChangeHandler>> paths_;
  std::vector<std::unique_ptr<Supervised>> runs_;
};

}  // namespace trainctl::host
