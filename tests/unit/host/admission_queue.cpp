// SPDX-License-Identifier: Apache-2.0
// The order of the queue and its reasons: the pure decision, without disk.
#include <stdint.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "host/admission/admission.hpp"
#include "host/admission/slot_entry.hpp"
#include "support/catch.hpp"

using namespace trainctl::host;

namespace {

SlotRequest request(const char* name, std::int64_t submitted) {
  SlotRequest out;
  out.run = out.name = name;
  out.submitted_ms = submitted;
  return out;
}

SlotEntry entry(SlotRequest wanted, bool admitted, std::vector<int> gpus = {}) {
  SlotEntry out;
  out.request = std::move(wanted);
  out.admitted = admitted;
  out.gpus = std::move(gpus);
  out.pid = 77;
  out.since_ns = 0;
  out.seen_ns = 1'000'000'000;
  return out;
}

SlotView host(double cpus, std::uint64_t memory, int gpus) {
  SlotView view;
  view.capacity.cpus = cpus;
  view.capacity.memory = memory;
  for (int i = 0; i < gpus; ++i) view.gpus.push_back({i, "GPU-" + std::to_string(i), "Test", 1});
  view.now_ns = 2'000'000'000;
  return view;
}

}  // namespace

TEST_CASE("GPUs are assigned by index, lowest first, and never twice") {
  SlotRequest wants = request("a", 1);
  wants.gpus = 2;
  SlotRequest other = request("b", 0);
  other.gpus = 1;
  const auto decision = decide_slot(wants, {entry(other, true, {1})}, host(4, 1000, 4));
  REQUIRE(decision.admit);
  CHECK(decision.gpus == std::vector<int>{0, 2});
}

TEST_CASE("a run that waits says for what and who holds it") {
  SlotRequest wants = request("digits-42", 5);
  wants.gpus = 1;
  SlotRequest other = request("digits-41", 1);
  other.gpus = 1;
  auto view = host(4, 1000, 1);
  view.now_ns = UINT64_C(720'000'000'000);
  const auto decision = decide_slot(wants, {entry(other, true, {0})}, view);
  CHECK_FALSE(decision.admit);
  CHECK(decision.waiting.key == "waits for 1 GPU: held by digits-41 (pid 77)");
  CHECK(decision.waiting.reason.find("digits-41 (pid 77), 12 min") != std::string::npos);
}

TEST_CASE("a small run does not pass an older one that waits for the same thing") {
  SlotRequest big = request("big", 1);
  big.cpus = 4;
  SlotRequest small = request("small", 2);
  small.cpus = 1;
  SlotRequest running = request("running", 0);
  running.cpus = 2;
  const std::vector<SlotEntry> others = {entry(running, true), entry(big, false)};
  const auto waits = decide_slot(small, others, host(4, 1000, 0));
  CHECK_FALSE(waits.admit);
  CHECK(waits.waiting.reason == "waits its turn for 1 cpu behind big");

  SECTION("one of higher priority does") {
    small.priority = 1;
    CHECK(decide_slot(small, others, host(4, 1000, 0)).admit);
  }
  SECTION("one that needs something else does") {
    small.cpus.reset();
    small.memory = 10;
    CHECK(decide_slot(small, others, host(4, 1000, 0)).admit);
  }
  SECTION("one that leaves the older enough does") {
    CHECK(decide_slot(small, others, host(7, 1000, 0)).admit);
  }
  SECTION("a supervisor that stopped looking is passed over") {
    auto view = host(4, 1000, 0);
    view.now_ns = 1'000'000'000 + kStaleNs + 1;
    CHECK(decide_slot(small, others, view).admit);
  }
}

TEST_CASE("a GPU that a stranger uses is not assigned, and the stranger is named") {
  SlotRequest wants = request("a", 1);
  wants.gpus = 1;
  auto view = host(4, 1000, 2);
  view.strangers.push_back({0, {"GPU-0", 4123, "python", 0}, "", 1001});
  auto decision = decide_slot(wants, {}, view);
  REQUIRE(decision.admit);
  CHECK(decision.gpus == std::vector<int>{1});
  wants.gpus = 2;
  decision = decide_slot(wants, {}, view);
  CHECK_FALSE(decision.admit);
  CHECK(decision.waiting.reason ==
        "waits for 2 GPUs: GPU 0 is used by python (pid 4123, user 1001), which is no run of trainctl");
}

TEST_CASE("fractions of a CPU add up") {
  std::vector<SlotEntry> others;
  for (int i = 0; i < 9; ++i) {
    SlotRequest tenth = request(("r" + std::to_string(i)).c_str(), i);
    tenth.cpus = 0.1;
    others.push_back(entry(tenth, true));
  }
  SlotRequest last = request("last", 10);
  last.cpus = 0.1;
  CHECK(decide_slot(last, others, host(1, 1000, 0)).admit);
}

TEST_CASE("a slot file reads back as it was written") {
  SlotRequest wants = request("01jd0000000000000000000000", 12);
  wants.user = "mona";
  wants.cpus = 1.5;
  wants.memory = 1U << 30U;
  wants.gpus = 2;
  wants.priority = -3;
  const std::string text = slot_text(wants, true, {0, 3}, 5, 6);
  CHECK(text.size() == 1024);
  const auto back = parse_slot(text);
  REQUIRE(back);
  CHECK(back->request.user == "mona");
  CHECK(back->request.cpus == 1.5);
  CHECK(back->request.memory == (1U << 30U));
  CHECK(back->request.priority == -3);
  CHECK(back->gpus == std::vector<int>{0, 3});
  CHECK(back->admitted);
  CHECK(back->seen_ns == 6);
  CHECK_FALSE(parse_slot("{\"run\":7}"));
  CHECK_FALSE(parse_slot(""));
}
