// SPDX-License-Identifier: Apache-2.0
// What the files of a scripted run hold at a time.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "target/scripted/scenario.hpp"

namespace trainctl::target {

struct Stop {
  std::int64_t at_ms = 0;
  std::string request;
  std::string reason;
};

/// Plays the steps of one launched run in their order.
class Playback {
 public:
  Playback(Scenario scenario, std::int64_t launched_ms, std::optional<Stop> stop);

  /// Plays all steps up to `now_ms`. True when one of them was a disconnect behind the first call.
  bool play(std::int64_t now_ms);

  /// When the next step comes; empty behind the end.
  [[nodiscard]] std::optional<std::int64_t> next_ms() const;
  [[nodiscard]] bool ended() const { return next_ == scenario_.steps.size(); }

  /// byte_exact: the files of the run folder, by path relative to it.
  [[nodiscard]] const std::map<std::string, std::string>& files() const { return files_; }
  /// best_effort: what the log service tells, a step of the log each; an empty text is a lost one.
  [[nodiscard]] const std::vector<std::string>& chunks() const { return chunks_; }
  /// best_effort: what the engine says of the run.
  [[nodiscard]] const Json& observation() const { return observation_; }

 private:
  void play_step(const Step& step);
  void event(const std::string& file, std::string_view type, const Json& fields);
  void state(std::string_view name, const std::string& message);
  void end(const Step& step);

  Scenario scenario_;
  std::int64_t launched_ms_ = 0;
  std::size_t next_ = 0;
  std::map<std::string, std::string> files_;
  std::map<std::string, int> seq_;
  std::vector<std::string> chunks_;
  Json observation_;
  std::int64_t lost_ = 0;
  std::int64_t now_ms_ = 0;
  std::string request_;
  bool began_ = false;
};

}  // namespace trainctl::target
