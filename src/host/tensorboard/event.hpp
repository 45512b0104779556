// SPDX-License-Identifier: Apache-2.0
// tensorflow.Event as far as scalars need it. Read by hand: event.proto, summary.proto and tensor.proto of TensorFlow.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace trainctl::host {

struct SummaryScalar {
  std::string_view tag = {};
  double value = 0;
};

struct SummaryEvent {
  double wall_time = 0;  ///< seconds since 1970
  std::int64_t step = 0;
  std::vector<SummaryScalar> scalars = {};  ///< tags point into the payload
};

/// The scalars of one record's payload: Value.simple_value, and tensors of one number (float, double, half, bfloat16,
/// int32, int64) whose plugin is "scalars" or is not named. Images, histograms, graphs and texts yield none. False: the
/// payload is no such message; `event` is then unspecified.
bool decode_event(std::string_view payload, SummaryEvent& event);

}  // namespace trainctl::host
