// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/file.hpp"
#include "host/supervisor/log_clock.hpp"
#include "support/catch.hpp"

using trainctl::host::LogClock;
namespace base = trainctl::base;
namespace fs = std::filesystem;

TEST_CASE("growth is recorded once, and a torn record is padded") {
  std::string name = (fs::temp_directory_path() / "tc-XXXXXX").string();
  const fs::path folder = ::mkdtemp(name.data());
  const fs::path log = folder / "std.log";
  const fs::path times = folder / "std.times";
  {
    LogClock clock(log, times);
    CHECK_FALSE(clock.look(1));
    REQUIRE(base::write_file_atomic(log, "abc"));
    CHECK(clock.look(2));
    CHECK_FALSE(clock.look(3));
  }
  CHECK(base::file_size(times) == 16);
  {
    auto fd = base::open_file(times, O_APPEND | O_WRONLY);
    REQUIRE(fd);
    REQUIRE(base::write_all(fd->get(), "torn"));
  }
  {
    LogClock clock(log, times);
    CHECK(base::file_size(times) == 32);
    CHECK_FALSE(clock.look(4));  // the last whole record tells this size already
  }
  CHECK(base::file_size(times) == 32);
  fs::remove_all(folder);
}
