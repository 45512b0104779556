// SPDX-License-Identifier: Apache-2.0
#include "host/linux/logout.hpp"
#include "support/catch.hpp"

using trainctl::host::kills_at_logout;

TEST_CASE("what a logout kills", "[linux]") {
  CHECK(kills_at_logout("KillUserProcesses=yes\nKillOnlyUsers=\nKillExcludeUsers=root\n", "me") == true);
  CHECK(kills_at_logout("KillUserProcesses=yes\nKillExcludeUsers=root me\n", "me") == false);
  CHECK(kills_at_logout("KillUserProcesses=yes\nKillOnlyUsers=you\n", "me") == false);
  CHECK(kills_at_logout("KillUserProcesses=yes\nKillOnlyUsers=you me\n", "me") == true);
  CHECK(kills_at_logout("KillUserProcesses=no\nKillOnlyUsers=me\n", "me") == false);
  CHECK_FALSE(kills_at_logout("Failed to connect to bus\n", "me"));
}
