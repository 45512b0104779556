// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <csignal>
#include <cstdint>
#include <utility>
#include <vector>

#include "host/supervisor/rank_set.hpp"
#include "host/supervisor/stopper.hpp"
#include "support/catch.hpp"

using namespace trainctl::host;

TEST_CASE("a rank that is being started when its run is stopped hears of it, once") {
  std::vector<std::pair<int, int>> heard;  // of started ranks: number, signal
  Stopper stopper(TreeFinder("no-such-run", 1), [&heard](const Rank& rank, int number) {
    if (rank.record.started) heard.emplace_back(rank.number, number);
  });
  std::vector<Rank> ranks(2);
  ranks[1].number = 1;
  ranks[0].record.started = true;
  const std::uint64_t second = 1'000'000'000;
  stopper.begin(SIGINT, std::chrono::seconds(20), second);
  stopper.tick(second, ranks);
  CHECK(heard == std::vector<std::pair<int, int>>{{0, SIGINT}});
  ranks[1].record.started = true;
  stopper.tick(second + 1, ranks);
  stopper.tick(second + 2, ranks);
  CHECK(heard == std::vector<std::pair<int, int>>{{0, SIGINT}, {1, SIGINT}});
  stopper.tick(12 * second, ranks);
  CHECK(heard == std::vector<std::pair<int, int>>{{0, SIGINT}, {1, SIGINT}, {0, SIGTERM}, {1, SIGTERM}});
}
