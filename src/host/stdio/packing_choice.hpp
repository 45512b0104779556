// SPDX-License-Identifier: Apache-2.0
// How tight to pack? Quickly where ssh carries more than a processor packs, as tight as can be over other links. Which
// one it is cannot be known beforehand, so it is measured: what the other side takes in a second, one way and the
// other.
#pragma once

#include <cstdint>

namespace trainctl::host {

/// Counts in bytes as they are unpacked, and judges only by a stream that always has more to send.
class PackingChoice {
 public:
  /// Whether the next piece is to be packed quickly, not tight.
  [[nodiscard]] bool quick() const { return quick_; }
  /// The other side has taken so many bytes and is ready for as many again, at `now_ns` of the monotonic clock.
  void taken(std::uint64_t bytes, std::uint64_t now_ns);
  /// There is nothing to send.
  void ran_dry(std::uint64_t now_ns);
  /// There is something. After more than a moment the link was not what took the time.
  void goes_on(std::uint64_t now_ns);

 private:
  void judge(double rate);
  void change();

  bool quick_ = true;
  bool trying_ = false;         ///< the other way than what was best so far
  double best_ = 0;             ///< bytes a nanosecond, of the way that is kept
  std::uint64_t settling_ = 0;  ///< bytes that are still on their way from before
  std::uint64_t began_ns_ = 0;  ///< of this measurement; 0: with what is taken next
  std::uint64_t done_ = 0;      ///< bytes in it
  std::uint64_t dry_ns_ = 0;    ///< since when there is nothing; 0: there is something
  std::uint64_t waits_ = 2;     ///< measurements until the other way is tried
  std::uint64_t patience_ = 4;  ///< … after a try that was in vain
};

}  // namespace trainctl::host
