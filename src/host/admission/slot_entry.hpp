// SPDX-License-Identifier: Apache-2.0
// One file of the slot folder, and the decision over all of them. Pure but for the parsing: no clock, no disk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/admission/admission.hpp"

namespace trainctl::host {

/// A queued run whose supervisor has not looked for so long (stopped, hung) is passed over until it looks again.
inline constexpr std::uint64_t kStaleNs = 30'000'000'000;

struct SlotEntry {
  SlotRequest request;
  bool admitted = false;
  std::vector<int> gpus;
  pid_t pid = 0;
  std::uint64_t since_ns = 0;  ///< boot-time clock: the folder belongs to one boot
  std::uint64_t seen_ns = 0;   ///< when its supervisor last looked
};

struct SlotDecision {
  bool admit = false;
  std::vector<int> gpus;
  std::vector<int> assigned;  ///< GPUs of other runs
  Waiting waiting;
};

/// The text of a slot file: one JSON line padded to a fixed size, so that rewriting it can neither tear nor need space.
std::string slot_text(const SlotRequest& request, bool admitted, const std::vector<int>& gpus, std::uint64_t since_ns,
                      std::uint64_t seen_ns);

/// Empty for a text that is none.
std::optional<SlotEntry> parse_slot(std::string_view text);

/// What the decision looks at.
struct SlotView {
  Capacity capacity;
  std::vector<Gpu> gpus;
  std::vector<Stranger> strangers;
  std::uint64_t now_ns = 0;
};

/// May `request` start beside `others` (every live entry but its own)? Waiting runs that stand before it are treated as
/// if they had started, so a small run can never take what an older big one waits for.
SlotDecision decide_slot(const SlotRequest& request, const std::vector<SlotEntry>& others, const SlotView& view);

/// Does `a` stand before `b` in the queue?
[[nodiscard]] bool stands_before(const SlotRequest& a, const SlotRequest& b);

}  // namespace trainctl::host
