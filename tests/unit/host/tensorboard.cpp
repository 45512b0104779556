// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/ulid.hpp"
#include "format/metric.hpp"
#include "host/metrics/file_tailer.hpp"
#include "host/metrics/table_files.hpp"
#include "host/tensorboard/event.hpp"
#include "host/tensorboard/naming.hpp"
#include "host/tensorboard/record.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
namespace fs = std::filesystem;

namespace {

template <class T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value > 127; value >>= 7U) out += static_cast<char>((value & 127U) | 128U);
  return out + static_cast<char>(value);
}

std::string field(unsigned number, const std::string& bytes) {
  return varint(number << 3U | 2U) + varint(bytes.size()) + bytes;
}

std::string record(const std::string& payload) {
  const std::string length = raw(static_cast<std::uint64_t>(payload.size()));
  return length + raw(masked_crc32c(length)) + payload + raw(masked_crc32c(payload));
}

std::string simple(const std::string& tag, float value) {
  return field(1, tag) + varint(2U << 3U | 5U) + raw(value);
}

std::string payload(const std::string& value, std::uint64_t step = 3) {
  return "\x09" + raw(1.5e9) + varint(2U << 3U) + varint(step) + field(5, field(1, value));
}

std::string typed(unsigned type, const std::string& rest, const std::string& plugin = "scalars") {
  return field(1, "x") + field(8, varint(1U << 3U) + varint(type) + rest) + field(9, field(1, field(1, plugin)));
}

std::vector<double> values(const std::string& value) {
  SummaryEvent event;
  const std::string bytes1 = payload(value);  // the event keeps views into it
  REQUIRE(decode_event(bytes1, event));
  std::vector<double> found;
  for (const auto& scalar : event.scalars) found.push_back(scalar.value);
  return found;
}

}  // namespace

TEST_CASE("records are cut wherever the bytes end", "[tensorboard]") {
  const std::string whole = record("payload") + record("");
  for (std::size_t size = 0; size < 23; ++size) CHECK(cut_record(whole.substr(0, size)).kind == CutKind::partial);
  const auto cut = cut_record(whole);
  CHECK(cut.kind == CutKind::record);
  CHECK(cut.payload == "payload");
  CHECK(cut.used == 23);
  CHECK(cut_record(whole.substr(23)).kind == CutKind::record);
  std::string bad = whole;
  bad[14] = 'X';
  CHECK(cut_record(bad).kind == CutKind::damaged);
  CHECK(cut_record(bad).used == 23);
  bad = whole;
  bad[2] = 1;
  const auto lost = cut_record(bad);
  CHECK(lost.kind == CutKind::lost);
  CHECK(lost.used == 23);  // the next sound header
  CHECK(cut_record(std::string(100, '\0')).kind == CutKind::partial);
  const std::string length = raw(kMaxRecord + 1);
  CHECK(cut_record(length + raw(masked_crc32c(length))).kind == CutKind::too_long);
}

TEST_CASE("scalars of every style are read", "[tensorboard]") {
  SummaryEvent event;
  const std::string bytes2 = payload(simple("loss", 0.5F), 7);  // the event keeps views into it
  REQUIRE(decode_event(bytes2, event));
  CHECK(event.step == 7);
  CHECK(event.wall_time == 1.5e9);
  REQUIRE(event.scalars.size() == 1);
  CHECK(event.scalars[0].tag == "loss");
  CHECK(values(simple("x", 0.5F)) == std::vector<double>{0.5});
  CHECK(values(typed(1, field(4, raw(0.5F)))) == std::vector<double>{0.5});
  CHECK(values(typed(2, field(4, raw(0.25)))) == std::vector<double>{0.25});
  CHECK(values(typed(3, field(4, raw(std::int32_t{-3})))) == std::vector<double>{-3});
  CHECK(values(typed(9, field(4, raw(std::int64_t{1} << 40)))) == std::vector<double>{1099511627776.0});
  CHECK(values(typed(14, field(4, raw(std::uint16_t{0x3f80})))) == std::vector<double>{1});
  CHECK(values(typed(19, field(4, raw(std::uint16_t{0x3c00})))) == std::vector<double>{1});
  CHECK(values(typed(1, field(5, raw(0.5F)))) == std::vector<double>{0.5});
  CHECK(values(typed(1, varint(5U << 3U | 5U) + raw(0.5F))) == std::vector<double>{0.5});
  CHECK(values(typed(2, field(6, raw(0.5)))) == std::vector<double>{0.5});
  CHECK(values(typed(3, field(7, varint(static_cast<std::uint64_t>(-2))))) == std::vector<double>{-2});
  CHECK(values(typed(9, field(10, varint(5)))) == std::vector<double>{5});
  CHECK(values(typed(1, "")) == std::vector<double>{0});
  CHECK(values(typed(1, field(2, field(2, varint(1U << 3U) + varint(1))) + field(4, raw(2.0F)))) ==
        std::vector<double>{2});
  CHECK(std::isnan(values(simple("x", std::nanf(""))).at(0)));
  // Not scalars: other plugins, several numbers, texts.
  CHECK(values(typed(1, field(4, raw(0.5F)), "images")).empty());
  CHECK(values(typed(1, field(4, raw(0.5)))).empty());
  CHECK(values(typed(1, field(2, field(2, varint(1U << 3U) + varint(2))) + field(4, raw(0.5)))).empty());
  CHECK(values(typed(7, field(8, "text"))).empty());
  CHECK_FALSE(decode_event("\x2a\xff", event));
}

TEST_CASE("folders become names", "[tensorboard]") {
  CHECK(tag_prefix("").empty());
  CHECK(tag_prefix("logs/train") == "train");
  CHECK(tag_prefix("logs/fit/20261123-120000/validation") == "validation");
  CHECK(tag_prefix("runs/Nov23_12-00-00_host").empty());
  CHECK(tag_prefix("runs/Nov23_12-00-00_host/Loss_train") == "Loss_train");
  CHECK(tag_prefix("runs/lr0.1") == "lr0.1");
  CHECK(tag_prefix("lightning_logs/version_0").empty());
  CHECK(tag_prefix("my_model").empty());
  CHECK(tag_prefix("my_model/eval") == "eval");
  CHECK(tag_prefix("my_model/runs/Nov23_12-00-00_host").empty());
  CHECK(tag_prefix("train") == "train");
  CHECK(tag_prefix("outputs/train") == "train");
}

TEST_CASE("tables of Chainer and Lightning", "[tensorboard]") {
  const auto rows = parse_chainer_log(R"([{"main/loss": 0.5, "epoch": 1, "iteration": 30}, {"main/loss": 0.25,
    "epoch": 2, "iteration": 60}])");
  REQUIRE(rows.size() == 2);
  CHECK(rows[1].step == 60);
  CHECK(rows[1].values == std::vector<std::pair<std::string, double>>{{"main/loss", 0.25}, {"epoch", 2}});
  CHECK(parse_chainer_log("[{\"main/loss\": 0.5, \"epo").empty());
  CHECK(parse_chainer_log("a log of something else").empty());
  CHECK(parse_chainer_log("[1, 2]").empty());
  const auto table = parse_metrics_csv("epoch,step,\"a,b\"\n0,1,0.5\n1,2,\n2,3,0.2");
  REQUIRE(table.size() == 2);  // the third line is not whole
  CHECK(table[0].step == 1);
  CHECK(table[0].values == std::vector<std::pair<std::string, double>>{{"epoch", 0}, {"a,b", 0.5}});
  CHECK(table[1].values.size() == 1);
  CHECK(parse_metrics_csv("name,size\nx,1\n").empty());
}

TEST_CASE("the file tailer doubles and loses nothing wherever its files are cut", "[tensorboard]") {
  const fs::path root = fs::temp_directory_path() / ("trainctl-files-" + base::new_ulid());
  fs::create_directories(root / "work/logs/train");
  fs::create_directories(root / "work/logs/test");
  FileTailerOptions options;
  options.roots = {{.path = root / "work", .name = ""}};
  options.metrics_directory = root / "metrics";
  const auto write = [&](const char* part, int from, int to) {
    const fs::path path = root / "work/logs" / part / "events.out.tfevents.1.host";
    std::string text = *base::read_file_if_exists(path) ? **base::read_file_if_exists(path) : std::string();
    for (int i = from; i < to; ++i)
      text += record(payload(simple("loss", static_cast<float>(i)), static_cast<std::uint64_t>(i)));
    REQUIRE(base::write_file_atomic(path, text));
  };
  const fs::path points_path = root / "metrics/tensorboard-r0.jsonl";
  const fs::path cursor_path = root / "metrics/tensorboard-r0.cursor";
  const auto count = [&] {
    std::vector<format::MetricPoint> points;
    format::decode_metrics(*base::read_file(points_path), "tensorboard", points);
    return points.size();
  };
  REQUIRE(run_file_tailer(options));
  CHECK_FALSE(fs::exists(options.metrics_directory));
  write("train", 0, 5);
  write("test", 0, 5);
  REQUIRE(run_file_tailer(options));
  CHECK(count() == 10);
  write("train", 5, 9);
  write("test", 5, 9);
  REQUIRE(run_file_tailer(options));
  CHECK(count() == 18);
  const std::string points = *base::read_file(points_path);
  const std::string cursors = *base::read_file(cursor_path);
  // The cursors are on the disk before the points they speak of, so any cut of the points goes with all cursors.
  for (std::size_t cut = 0; cut <= points.size(); cut += 3) {
    REQUIRE(base::write_file_atomic(points_path, points.substr(0, cut)));
    REQUIRE(base::write_file_atomic(cursor_path, cursors));
    INFO(cut);
    REQUIRE(run_file_tailer(options));
    CHECK(count() == 18);
    REQUIRE(run_file_tailer(options));
    CHECK(count() == 18);
  }
  fs::remove_all(root);
}
