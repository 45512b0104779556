// SPDX-License-Identifier: Apache-2.0
#include "base/ulid.hpp"

#include <pthread.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/hash.hpp"
#include "base/random.hpp"

namespace trainctl::base {

namespace {

constexpr std::string_view kAlphabet = "0123456789abcdefghjkmnpqrstvwxyz";  // Crockford's base 32
constexpr std::size_t kLength = 26;
constexpr std::size_t kTimeLength = 10;
constexpr std::size_t kRandomBytes = 10;

/// The last ULID of this process. The pid tells a forked child that this is its parent's: it then draws new bits.
struct Generator {
  std::mutex mutex;
  pid_t owner = -1;
  std::int64_t last_ms = -1;
  std::array<std::uint8_t, kRandomBytes> random{};
};

Generator& generator() {
  static Generator instance;
  // Held across fork, so that a child never finds it locked by a thread that it does not have.
  static const int registered =
      ::pthread_atfork([] { instance.mutex.lock(); }, [] { instance.mutex.unlock(); }, [] { instance.mutex.unlock(); });
  (void)registered;
  return instance;
}

/// Adds one to the 80-bit number; false when it overflowed.
bool increment(std::array<std::uint8_t, kRandomBytes>& number) {
  for (std::size_t i = number.size(); i-- > 0;) {
    if (++number[i] != 0) return true;
  }
  return false;
}

std::string encode(std::int64_t ms, const std::array<std::uint8_t, kRandomBytes>& random) {
  std::string text(kLength, '0');
  auto time = static_cast<std::uint64_t>(ms);
  for (std::size_t i = kTimeLength; i-- > 0; time >>= 5U) text[i] = kAlphabet[time & 31U];
  std::uint32_t bits = 0;
  unsigned count = 0;
  std::size_t at = kTimeLength;
  for (const std::uint8_t byte : random) {
    bits = (bits << 8U) | byte;
    count += 8;
    while (count >= 5) {
      count -= 5;
      text[at++] = kAlphabet[(bits >> count) & 31U];
    }
  }
  return text;
}

}  // namespace

std::string new_ulid() {
  using std::chrono::duration_cast;
  const std::int64_t now =
      duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  Generator& state = generator();
  const std::lock_guard lock(state.mutex);
  const bool same_process = state.owner == ::getpid();
  // A clock that was set back must not make a later ULID sort first.
  if (same_process && now <= state.last_ms) {
    if (!increment(state.random)) {
      ++state.last_ms;
      fill_random(state.random.data(), state.random.size());
    }
  } else {
    state.owner = ::getpid();
    state.last_ms = now < 0 ? 0 : now;
    fill_random(state.random.data(), state.random.size());
    state.random[0] &= 0x7FU;  // room to count up within one millisecond
  }
  return encode(state.last_ms, state.random);
}

bool is_ulid(std::string_view text) {
  // The first character holds 3 bits of the 48: above 7 is overflow.
  return text.size() == kLength && text[0] <= '7' && text.find_first_not_of(kAlphabet) == std::string_view::npos;
}

std::optional<std::int64_t> ulid_time_ms(std::string_view ulid) {
  if (!is_ulid(ulid)) return std::nullopt;
  std::int64_t ms = 0;
  for (const char c : ulid.substr(0, kTimeLength)) ms = ms * 32 + static_cast<std::int64_t>(kAlphabet.find(c));
  return ms;
}

std::string random_hex(std::size_t bytes) {
  std::string data(bytes, '\0');
  fill_random(data.data(), data.size());
  return to_hex(data);
}

}  // namespace trainctl::base
