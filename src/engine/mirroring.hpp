// SPDX-License-Identifier: Apache-2.0
// Copies the growth of runs on another target into the store while a command watches.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/live_view.hpp"
#include "engine/mirror_pass.hpp"
#include "engine/supervision.hpp"
#include "format/paths.hpp"
#include "target/cancel.hpp"
#include "target/target.hpp"
#include "trainctl/result.hpp"

namespace trainctl::engine {

/// Watches runs of one target in a thread of its own, all over one connection, and writes what comes into their
/// folders, through broken connections, until all have ended or this object goes. While another process mirrors a run,
/// it waits to take over.
class Mirroring {
 public:
  /// Empty for a run that grows in place. With Start::allowed a run that was never launched is launched first. `shown`
  /// is the rank whose log is looked at: see live().
  static Result<std::unique_ptr<Mirroring>> begin(const format::RunPaths& run, Start start, int shown);
  /// Of many runs, one for each target that some of them are on; runs that grow in place need none. None is launched.
  static Result<std::vector<std::unique_ptr<Mirroring>>> begin_all(const std::vector<format::RunPaths>& runs);
  Mirroring(const Mirroring&) = delete;
  Mirroring& operator=(const Mirroring&) = delete;
  ~Mirroring();

  /// Why nothing is heard of the run now. Errc::unavailable and what is `here` are tried again and again; after any
  /// other error (a changed host key) the copy grows no more.
  struct Trouble {
    Error error;
    std::uint64_t since_ns = 0;  ///< base::mono_ns
    bool here = false;           ///< there is no room for the copy
    bool over = false;           ///< … and the run has ended on its target
  };
  [[nodiscard]] std::optional<Trouble> trouble(const format::RunPaths& run) const;
  [[nodiscard]] bool mirrors(const format::RunPaths& run) const;
  [[nodiscard]] const std::string& target_name() const { return target_name_; }
  /// The log that comes while there is no room for its copy; empty for those that show none.
  [[nodiscard]] LiveView* live() const { return live_.get(); }

  /// Asks for the end of one of the runs. The wish is durable when this returns, and the target is told by the thread
  /// that mirrors, now or as soon as it answers: nobody waits for a network here. A launch that is on its way is given
  /// up.
  Result<> cancel(const format::RunPaths& run, const std::string& reason);

 private:
  Mirroring(std::vector<format::RunPaths> runs, std::string target_name, std::unique_ptr<target::Target> target,
            target::Cancel turn, Start start, std::unique_ptr<LiveView> live);
  static Result<std::unique_ptr<Mirroring>> begin_group(std::vector<format::RunPaths> runs, Start start,
                                                        std::unique_ptr<LiveView> live);
  void loop();
  std::optional<target::Cancel> next_turn();
  Result<bool> once(const target::Cancel& turn);
  Result<bool> copy(MirrorPass& pass, const target::Cancel& turn);
  Result<> here(Result<> result);
  void show_live(const target::Cancel& turn);
  [[nodiscard]] std::vector<format::RunPaths> open_runs() const;
  Result<> start_if_wanted(const format::RunPaths& run, const target::Cancel& turn);
  Result<> tell_waiting(const target::Cancel& turn);
  void note_through(const std::vector<format::RunPaths>& runs, const std::vector<std::string>& missing);
  [[nodiscard]] bool well() const;
  void heard();
  void failed(const Error& error);

  std::vector<format::RunPaths> runs_;
  std::string target_name_;
  std::unique_ptr<target::Target> target_;
  Start start_;
  std::unique_ptr<LiveView> live_;
  bool no_room_ = false;                      ///< what went wrong last: it was here
  std::atomic<bool> wishes_wait_ = false;     ///< one was written, and not told since
  mutable std::mutex mutex_;                  ///< of what follows
  target::Cancel turn_;                       ///< ends what the thread does now; it goes on with another one
  bool leaving_ = false;                      ///< … or ends
  std::optional<Trouble> trouble_;            ///< of the target
  std::map<std::string, Trouble> lost_ = {};  ///< by run: of these it has nothing
  std::set<std::string> through_ = {};        ///< the runs that have ended and are copied
  std::thread thread_;
};

}  // namespace trainctl::engine
