// SPDX-License-Identifier: Apache-2.0
// Lines/s of the metric decoder and encoder, for lines as trainctl.py writes them and for lines that need the JSON
// parser.
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "format/metric.hpp"

namespace {

using namespace trainctl::format;

constexpr int kLines = 500'000;

double seconds_of(auto work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void report(const char* name, double seconds, std::size_t count) {
  std::printf("%-36s %12.0f lines/s\n", name, static_cast<double>(count) / seconds);
}

}  // namespace

int main() {
  std::string text;
  std::string odd;
  const double write = seconds_of([&] {
    MetricPoint point;
    point.name = "validation/accuracy";
    for (int i = 0; i < kLines; ++i) {
      point.t = trainctl::base::WallTime(std::chrono::microseconds(1795400881123456 + i * 7));
      point.step = i;
      point.value = 0.123456789 + i * 1.7e-5;
      encode_metric(point, text);
    }
  });
  report("encode", write, kLines);
  for (std::size_t begin = 0; begin < text.size() / 10;) {
    const std::size_t end = text.find('\n', begin);
    odd += " " + text.substr(begin, end + 1 - begin);
    begin = end + 1;
  }
  std::vector<MetricPoint> points;
  points.reserve(kLines);
  const double fast = seconds_of([&] { decode_metrics(text, "script", points); });
  report("decode, as written by trainctl.py", fast, points.size());
  points.clear();
  const double slow = seconds_of([&] { decode_metrics(odd, "script", points); });
  report("decode, by the JSON parser", slow, points.size());
  return 0;
}
