// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <cstddef>
#include <string>

#include "../base/temp_dir.hpp"
#include "base/file.hpp"
#include "base/hex.hpp"
#include "base/seal.hpp"
#include "base/ulid.hpp"
#include "host/stdio/carried.hpp"
#include "support/catch.hpp"

namespace trainctl::host {

TEST_CASE("what a command carries is read with the same key only, and shows nothing") {
  const test::TempDir there;
  const test::TempDir elsewhere;
  const std::string key = carrying_key(there.path());
  REQUIRE(key.size() == base::kSealKeyBytes);
  CHECK(carrying_key(there.path()) == key);
  struct stat status{};
  REQUIRE(::stat((there.path() / "carrying.key").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0600U);
  for (const std::size_t size : {0U, 1U, 31U, 32U, 33U, 1000U, 100'000U}) {
    const std::string text(size, 'x');
    const std::string digits = carry(key, text);
    REQUIRE_FALSE(digits.empty());
    CHECK(digits.size() <= kMostCarried);
    CHECK(read_carried(key, digits) == text);
    CHECK(carry(key, text) != digits);
    CHECK_FALSE(read_carried(carrying_key(elsewhere.path()), digits));
    std::string changed = digits;
    for (std::size_t at = 0; at < digits.size(); at += 7) {
      changed[at] = digits[at] == '0' ? '1' : '0';
      CHECK_FALSE(read_carried(key, changed));
      changed[at] = digits[at];
    }
    CHECK_FALSE(read_carried(key, digits.substr(2)));
    CHECK_FALSE(read_carried(key, digits + "00"));
  }
}

TEST_CASE("what is too long for a command is not carried, nor without a key") {
  const test::TempDir there;
  const std::string key = carrying_key(there.path());
  CHECK(carry(key, base::from_hex(base::random_hex(4000)).value_or("")).empty());
  CHECK_FALSE(carry(key, base::from_hex(base::random_hex(3000)).value_or("")).empty());
  CHECK(carry({}, "x").empty());
  CHECK(carry("short", "x").empty());
  for (const char* digits : {"", "0", "xy", "00", "--version"}) CHECK_FALSE(read_carried(key, digits));
  CHECK_FALSE(read_carried({}, carry(key, "x")));
  CHECK(carrying_key(there.path() / "nowhere").empty());
}

TEST_CASE("a damaged key is made anew") {
  const test::TempDir there;
  REQUIRE(base::write_file_atomic(there.path() / "carrying.key", "half"));
  const std::string key = carrying_key(there.path());
  CHECK(key.size() == base::kSealKeyBytes);
  CHECK(carrying_key(there.path()) == key);
}

}  // namespace trainctl::host
