// SPDX-License-Identifier: Apache-2.0
#include "base/ulid.hpp"

#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/catch.hpp"

using namespace trainctl::base;

TEST_CASE("a ULID has the form and the time of now") {
  const std::string ulid = new_ulid();
  CHECK(ulid.size() == 26);
  CHECK(is_ulid(ulid));
  const auto now =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  REQUIRE(ulid_time_ms(ulid));
  CHECK(*ulid_time_ms(ulid) <= now);
  CHECK(*ulid_time_ms(ulid) > now - 60'000);
}

TEST_CASE("the ULIDs of one process are in order and different") {
  std::string last = new_ulid();
  for (int i = 0; i < 5000; ++i) {
    std::string next = new_ulid();
    REQUIRE(last < next);
    last = std::move(next);
  }
}

TEST_CASE("threads get different ULIDs") {
  std::array<std::vector<std::string>, 4> made;
  std::vector<std::thread> threads;
  for (auto& mine : made) {
    threads.emplace_back([&mine] {
      for (int i = 0; i < 500; ++i) mine.push_back(new_ulid());
    });
  }
  for (auto& thread : threads) thread.join();
  std::set<std::string> all;
  for (const auto& mine : made) all.insert(mine.begin(), mine.end());
  CHECK(all.size() == 2000);
}

TEST_CASE("a forked child does not repeat its parent's ULIDs") {
  (void)new_ulid();
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const std::string mine = new_ulid();
    ::_exit(::write(ends[1], mine.data(), mine.size()) == 26 ? 0 : 1);
  }
  const std::string ours = new_ulid();
  std::string theirs(26, '\0');
  CHECK(::read(ends[0], theirs.data(), theirs.size()) == 26);
  CHECK(::waitpid(pid, nullptr, 0) == pid);
  ::close(ends[0]);
  ::close(ends[1]);
  CHECK(is_ulid(theirs));
  CHECK(theirs.substr(10) != ours.substr(10));
  CHECK(theirs.substr(10, 8) != ours.substr(10, 8));  // not merely counted on
}

TEST_CASE("what is no ULID") {
  CHECK(ulid_time_ms("00000000000000000000000000") == 0);
  CHECK(ulid_time_ms("7zzzzzzzzzzzzzzzzzzzzzzzzz") == (INT64_C(1) << 48) - 1);
  CHECK(ulid_time_ms("01arz3ndektsv4rrffq69g5fav") == 1469922850259);  // the example of the specification
  for (const char* bad : {"", "01arz3ndektsv4rrffq69g5fa", "01arz3ndektsv4rrffq69g5favv", "81arz3ndektsv4rrffq69g5fav",
                          "01arz3ndektsv4rrffq69g5fau", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01arz3ndektsv4rrffq69g5fa/"}) {
    CAPTURE(bad);
    CHECK_FALSE(is_ulid(bad));
    CHECK_FALSE(ulid_time_ms(bad));
  }
}

TEST_CASE("random hex") {
  CHECK(random_hex(0).empty());
  CHECK(random_hex(8).size() == 16);
  CHECK(random_hex(8) != random_hex(8));
  CHECK(random_hex(16).find_first_not_of("0123456789abcdef") == std::string::npos);
}
