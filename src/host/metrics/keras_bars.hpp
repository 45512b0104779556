// SPDX-License-Identifier: Apache-2.0
// What Keras prints: "Epoch 3/10", only where a call of fit() has more than one epoch (old versions: always), then bars
// "59/60 [====>] - loss: 0.6" that are printed over one another, the whole one often twice (the second time with val_
// values). With verbose=2 there is one line an epoch, "60/60 - 1s - loss: 0.5". evaluate() and predict() print such
// bars too.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "host/metrics/patterns.hpp"

namespace trainctl::host {

/// "Epoch 3/10" gives the step; a whole bar names and numbers. True with nothing in `match` for a bar that is not
/// whole.
bool find_keras(std::string_view line, std::string_view previous, PatternMatch& match);

/// Knows which whole bars are repeats. A bar is one of a new epoch when "Epoch n/m" stands before it, and where Keras
/// prints none when it is a new bar of as many batches as the one that counted before: bars of other lengths are those
/// of evaluate().
class KerasBars {
 public:
  /// Removes from what find_keras() found in `line` the values that the epoch has had already.
  void drop_repeats(std::string_view line, PatternMatch& match);

 private:
  [[nodiscard]] bool begins_epoch(std::string_view line, std::string_view batches, const PatternMatch& match) const;

  std::map<std::string, std::string, std::less<>> seen_;  ///< the epoch's values as they were printed
  std::string batches_;                                   ///< of the epoch's bar; empty before it
  bool began_ = false;                                    ///< a bar that is not whole came after the last whole one
};

}  // namespace trainctl::host
