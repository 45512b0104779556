// SPDX-License-Identifier: Apache-2.0
// What Slurm's programs print, with what sites put around it: of any bytes, only whole rows are taken, and what is
// taken can be put on a command line and into JSON.
// compiled with: host/launchers/slurm/queue.cpp
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/text.hpp"
#include "host/launchers/slurm/queue.hpp"

using namespace trainctl::host::slurm;

namespace {

void require(bool good) {
  if (!good) std::abort();
}

bool is_number(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);  // NOLINT: the fuzzer's interface
  for (const Job& job : parse_queue(text)) {
    require(is_number(job.id) && job.start >= 0 && job.end >= 0);
    require(job.nodes.find('|') == std::string::npos && job.nodes.find('\n') == std::string::npos);
    (void)stage_of(job.state);
    (void)belongs_to(job, "01m8k6ar1nabmpqtz2c5rvswyt");
    (void)belongs_to_another(job, "01m8k6ar1nabmpqtz2c5rvswyt");
  }
  for (const Partition& one : parse_partitions(text))
    require(!one.name.empty() && trainctl::base::to_utf8(one.name) == one.name &&
            trainctl::base::to_utf8(one.time_limit) == one.time_limit);
  if (const auto submitted = parse_submitted(text)) require(is_number(*submitted));
  if (const auto left = parse_time_left(text)) require(*left >= 0);
  if (const auto accounted = parse_accounting(text, "42")) (void)ending_of(accounted->state);
  (void)parse_pairs(text);
  return 0;
}
