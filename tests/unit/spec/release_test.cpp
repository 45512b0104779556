// SPDX-License-Identifier: Apache-2.0
#include "spec/release.hpp"

#include <string>
#include <vector>

#include "spec/lower.hpp"
#include "support/catch.hpp"

using namespace trainctl::spec;

TEST_CASE("releases are compared number by number", "[release]") {
  CHECK(compare_releases("1.10", "1.9") > 0);
  CHECK(compare_releases("2.3", "2.3.0") == 0);
  CHECK(compare_releases("2.3", "2.3.1") < 0);
  CHECK(has_release_prefix("2.3.1", "2.3"));
  CHECK_FALSE(has_release_prefix("2.31.1", "2.3"));
  CHECK(pinned_release("2.3") == "2.3.*");
  CHECK(pinned_release("2.3.1") == "2.3.1");
  for (const char* bad : {"", "latest", ">=2", "2.", "2.3rc1", "1.2.3.4.5"}) CHECK_FALSE(is_release(bad));
}

TEST_CASE("what is known of a version", "[release]") {
  const std::vector<std::string> known = {"1.13.1", "2.0.1", "2.3.0", "2.3.1", "2.12.0"};
  CHECK(advise("2.3", known).effective == "2.3.1");
  CHECK(advise("2.3.0", known).effective == "2.3.0");
  CHECK(advise("2", known).effective == "2.12.0");
  CHECK(advise("2.3.9", known).state == ReleaseState::known);  // a correction we have not heard of
  CHECK(advise("2.13", known).state == ReleaseState::newer);
  const ReleaseAdvice advice = advise("2.4", known);
  CHECK(advice.state == ReleaseState::unknown);
  REQUIRE(advice.near.size() == 4);
  CHECK(advice.near.front() == "2.3.1");
}

TEST_CASE("names of packages in requirements", "[release]") {
  CHECK(package_name("Scikit_Learn[extra] >=1.2; python_version>'3'") == "scikit-learn");
  CHECK(package_name("torch==2.3") == "torch");
  CHECK(package_name("scipy=1.11") == "scipy");
  for (const char* none : {"", "# torch", "-r more.txt", "--index-url x", "./lib", "git+https://host/x"})
    CHECK(package_name(none).empty());
}
