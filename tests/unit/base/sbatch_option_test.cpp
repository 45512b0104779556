// SPDX-License-Identifier: Apache-2.0
#include "base/sbatch_option.hpp"

#include <catch2/catch.hpp>
#include <string>

using trainctl::base::refuse_sbatch_option;

TEST_CASE("sbatch gets a person's options, but none that trainctl says itself") {
  for (const std::string good :
       {"--mail-type=END", "--nice", "-C", "-Ca100", "--wait-all-nodes=1", "--exclusive=user", "--container=x", "-H"}) {
    CAPTURE(good);
    CHECK_FALSE(refuse_sbatch_option(good));
  }
  for (const std::string ours : {"--output=x", "--out=x", "-ox", "-o", "--array=1-3", "--arr=1-3", "-a1-3", "--wrap=ls",
                                 "--export=NONE", "--export-file=x", "--clusters=b", "-Mb", "--test-only", "-h"}) {
    CAPTURE(ours);
    const auto refusal = refuse_sbatch_option(ours);
    REQUIRE(refusal);
    CHECK(refusal->message.find(" is set by trainctl itself") != std::string::npos);
    CHECK_FALSE(refusal->hint.empty());
  }
  for (const std::string none : {"", "-", "--", "END", "--comment\n--array=1-3"}) {
    CAPTURE(none);
    const auto refusal = refuse_sbatch_option(none);
    REQUIRE(refusal);
    CHECK(refusal->message.find("is no option of sbatch") != std::string::npos);
  }
}
