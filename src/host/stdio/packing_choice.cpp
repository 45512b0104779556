// SPDX-License-Identifier: Apache-2.0
#include "host/stdio/packing_choice.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace trainctl::host {
namespace {

constexpr std::uint64_t kMeasured = 16U << 20U;  ///< bytes of one measurement: several times what is on its way
constexpr std::uint64_t kOnItsWay = 8U << 20U;   ///< at most, of a stream: the largest window that a receiver grants
constexpr double kBetter = 1.1;                  ///< less is noise
constexpr double kSlow = 0.05;                   ///< bytes a nanosecond: below 50 MB/s the link is what is slow
constexpr double kClearNs = 200e6;               ///< … when it was for so long
constexpr std::uint64_t kMostPatience = 64;
constexpr std::uint64_t kMomentNs = 2'000'000;  ///< until a growing file has been looked at again

}  // namespace

void PackingChoice::taken(std::uint64_t bytes, std::uint64_t now_ns) {
  if (settling_ > 0) {
    settling_ -= std::min(settling_, bytes);
    began_ns_ = settling_ > 0 ? 0 : now_ns;
    return;
  }
  if (began_ns_ == 0) {
    began_ns_ = now_ns;
    return;
  }
  done_ += bytes;
  const auto elapsed = static_cast<double>(std::max<std::uint64_t>(now_ns - began_ns_, 1));
  const double rate = static_cast<double>(done_) / elapsed;
  // What is clear already needs no more bytes: a try has lost, or the link is slow.
  const bool lost = trying_ && elapsed * best_ > static_cast<double>(kMeasured);
  const bool slow = quick_ && !trying_ && rate < kSlow && elapsed > kClearNs;
  if (done_ < kMeasured && !lost && !slow) return;
  began_ns_ = now_ns;
  done_ = 0;
  judge(rate);
}

void PackingChoice::judge(double rate) {
  if (trying_) {
    trying_ = false;
    if (rate > best_ * kBetter) {
      best_ = rate;
      patience_ = 8;
    } else {
      change();
      patience_ = std::min(patience_ * 2, kMostPatience);
    }
    waits_ = patience_;
    return;
  }
  best_ = rate;
  if (waits_ > 0) --waits_;
  if (rate < kSlow) {
    if (quick_) change();
  } else if (waits_ == 0) {
    trying_ = true;
    change();
  }
}

void PackingChoice::change() {
  quick_ = !quick_;
  settling_ = kOnItsWay;
}

void PackingChoice::ran_dry(std::uint64_t now_ns) {
  if (dry_ns_ == 0) dry_ns_ = now_ns;
}

void PackingChoice::goes_on(std::uint64_t now_ns) {
  const std::uint64_t since = std::exchange(dry_ns_, 0);
  if (since == 0 || now_ns - since < kMomentNs) return;
  if (trying_) change();
  trying_ = false;
  began_ns_ = done_ = 0;
}

}  // namespace trainctl::host
