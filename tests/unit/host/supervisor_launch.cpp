// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/supervisor/launch.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;

TEST_CASE("variables replace, default, prepend and go away") {
  Variables variables;
  variables.set("A", "1");
  variables.set_default("A", "2");
  variables.set_default("B", "2");
  variables.prepend_path("P", "/x");
  variables.prepend_path("P", "/y");
  variables.remove("B");
  CHECK(variables.assignments() == std::vector<std::string>{"A=1", "P=/y:/x"});
}

TEST_CASE("ranks start in work/, in its subfolder, or in the source when in place") {
  format::Plan plan;
  const format::AttemptPaths attempt{"/run/attempts/1"};
  CHECK(rank_directory(plan, attempt) == "/run/attempts/1/work");
  plan.working_directory = "sub";
  CHECK(rank_directory(plan, attempt) == "/run/attempts/1/work/sub");
  plan.source = {{"kind", "in_place"}, {"directory", "/src"}};
  CHECK(rank_directory(plan, attempt) == "/src/sub");
}
