// SPDX-License-Identifier: Apache-2.0
// Not a test: what benchmarks/snapshot.sh runs as a process of its own, `unit-snapshot [.benchmark]`.
#include <cstdint>
#include <cstdio>

#include "base/process.hpp"
#include "snapshot/materialise.hpp"
#include "snapshot/snapshot.hpp"
#include "snapshot/store.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::snapshot;

TEST_CASE("benchmark: one snapshot of TRAINCTL_BENCH_SOURCE", "[.benchmark]") {
  const auto source = base::get_env("TRAINCTL_BENCH_SOURCE");
  const auto store = base::get_env("TRAINCTL_BENCH_STORE");
  if (!source || !store) return;
  const auto snapshot = take({.source = *source, .store = *store, .max_bytes = UINT64_MAX});
  REQUIRE(snapshot);
  std::printf("%llu files, %llu bytes, read %llu .\n", static_cast<unsigned long long>(snapshot->files),
              static_cast<unsigned long long>(snapshot->bytes), static_cast<unsigned long long>(snapshot->read_files));
  const auto copy = base::get_env("TRAINCTL_BENCH_COPY");
  if (!copy) return;
  const auto opened = Store::open(*store);
  REQUIRE(opened);
  REQUIRE(materialise(*opened, snapshot->digest, *copy));
}
