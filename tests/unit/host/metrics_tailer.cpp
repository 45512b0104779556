// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/ulid.hpp"
#include "format/metric.hpp"
#include "host/metrics/patterns.hpp"
#include "host/metrics/tailer.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path root = fs::temp_directory_path() / ("trainctl-tailer-" + base::new_ulid());
  fs::path log = root / "logs" / "std.log";
  fs::path metrics = root / "metrics";
  Folder() { fs::create_directories(log.parent_path()); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { fs::remove_all(root); }

  [[nodiscard]] PatternTailerOptions options(int control = -1) const {
    PatternTailerOptions options;
    options.logs = {{.path = log, .rank = 0}, {.path = root / "logs" / "rank-1.log", .rank = 1}};
    const std::vector<std::string> patterns = {"step {step} loss {loss}"};
    options.patterns = std::move(*compile_patterns(patterns));
    options.metrics_directory = metrics;
    options.control_fd = control;
    return options;
  }

  void append(const std::string& text, const char* name = "std.log") const {
    const auto fd = base::open_file(root / "logs" / name, O_WRONLY | O_APPEND | O_CREAT);
    REQUIRE(fd);
    REQUIRE(base::write_all(fd->get(), text));
  }

  [[nodiscard]] std::vector<std::int64_t> steps(int rank = 0) const {
    const auto text = base::read_file_if_exists(metrics / format::metric_file_name("pattern", rank));
    REQUIRE(text);
    std::vector<format::MetricPoint> points;
    format::decode_metrics(text->value_or(""), "pattern", points);
    std::vector<std::int64_t> steps;
    for (const auto& point : points) steps.push_back(point.step.value_or(-1));
    return steps;
  }
};

std::string lines(int from, int to) {
  std::string text;
  for (int i = from; i < to; ++i) text += "noise\nstep " + std::to_string(i) + " loss 0.5\n";
  return text;
}

std::vector<std::int64_t> counted(int to) {
  std::vector<std::int64_t> steps;
  for (int i = 0; i < to; ++i) steps.push_back(i);
  return steps;
}

}  // namespace

TEST_CASE("the tailer reads what is there and goes on where it was", "[tailer]") {
  const Folder folder;
  REQUIRE(run_pattern_tailer(folder.options()));
  CHECK_FALSE(fs::exists(folder.metrics));
  folder.append(lines(0, 100));
  folder.append(lines(0, 3), "rank-1.log");
  REQUIRE(run_pattern_tailer(folder.options()));
  CHECK(folder.steps() == counted(100));
  CHECK(folder.steps(1) == counted(3));
  REQUIRE(run_pattern_tailer(folder.options()));
  CHECK(folder.steps() == counted(100));
  folder.append(lines(100, 150));
  REQUIRE(run_pattern_tailer(folder.options()));
  CHECK(folder.steps() == counted(150));
}

TEST_CASE("the tailer doubles and loses nothing wherever its files are cut", "[tailer]") {
  const Folder folder;
  folder.append(lines(0, 6));
  REQUIRE(run_pattern_tailer(folder.options()));
  folder.append(lines(6, 12));
  REQUIRE(run_pattern_tailer(folder.options()));
  const fs::path points_path = folder.metrics / "pattern-r0.jsonl";
  const fs::path cursor_path = folder.metrics / "pattern-r0.cursor";
  const std::string points = *base::read_file(points_path);
  const std::string cursors = *base::read_file(cursor_path);
  const std::string first_cursor = cursors.substr(0, cursors.find('\n') + 1);
  // Killed between the points and the cursor, or within either: the second cursor is missing or torn, the points behind
  // the first cursor are there up to any byte.
  const std::size_t behind = points.size() / 2;
  for (std::size_t cut = behind; cut <= points.size(); ++cut) {
    REQUIRE(base::write_file_atomic(points_path, points.substr(0, cut)));
    REQUIRE(base::write_file_atomic(cursor_path, cut % 2 == 0 ? first_cursor : cursors.substr(0, cursors.size() - 3)));
    REQUIRE(run_pattern_tailer(folder.options()));
    INFO(cut);
    CHECK(folder.steps() == counted(12));
    REQUIRE(run_pattern_tailer(folder.options()));
    CHECK(folder.steps() == counted(12));
  }
  // Without any cursor all points are counted from the start.
  for (std::size_t cut = 0; cut <= points.size(); cut += 7) {
    REQUIRE(base::write_file_atomic(points_path, points.substr(0, cut)));
    fs::remove(cursor_path);
    REQUIRE(run_pattern_tailer(folder.options()));
    CHECK(folder.steps() == counted(12));
  }
}

TEST_CASE("the tailer follows a growing log until its pipe is closed", "[tailer]") {
  for (const bool poll_only : {false, true}) {
    const Folder folder;
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const base::UniqueFd reader(ends[0]);
    base::UniqueFd writer(ends[1]);
    auto options = folder.options(reader.get());
    options.poll_only = poll_only;
    options.poll_interval = std::chrono::milliseconds(10);
    bool fine = false;
    std::thread tailer([&] { fine = run_pattern_tailer(options).has_value(); });
    for (int i = 0; i < 20; ++i) folder.append(lines(i * 10, i * 10 + 10));
    folder.append("step 200 loss 1");  // no newline: a line when the log has its end
    writer.reset();
    tailer.join();
    CHECK(fine);
    CHECK(folder.steps() == counted(201));
  }
}

TEST_CASE("the tailer shows a point while the log still grows", "[tailer]") {
  const Folder folder;
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const base::UniqueFd reader(ends[0]);
  base::UniqueFd writer(ends[1]);
  const auto options = folder.options(reader.get());
  std::thread tailer([&] { (void)run_pattern_tailer(options); });
  folder.append(lines(0, 1));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (folder.steps().empty() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  CHECK(folder.steps() == counted(1));
  writer.reset();
  tailer.join();
}

TEST_CASE("a tailer killed again and again loses and doubles nothing", "[tailer]") {
  const Folder folder;
  int written = 0;
  for (int round = 0; round < 15; ++round) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const base::UniqueFd reader(ends[0]);
    const base::UniqueFd writer(ends[1]);
    const auto options = folder.options(reader.get());
    const pid_t child = ::fork();
    if (child == 0) {
      (void)run_pattern_tailer(options);
      ::_exit(0);
    }
    for (int i = 0; i < 40 + round * 13; ++i, ++written) folder.append(lines(written, written + 1));
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
  }
  REQUIRE(run_pattern_tailer(folder.options()));
  CHECK(folder.steps() == counted(written));
}

TEST_CASE("a log that its script cuts is read from its start", "[tailer]") {
  const Folder folder;
  folder.append(lines(0, 50));
  REQUIRE(run_pattern_tailer(folder.options()));
  fs::resize_file(folder.log, 0);
  folder.append(lines(50, 52));
  REQUIRE(run_pattern_tailer(folder.options()));
  CHECK(folder.steps() == counted(52));
}

TEST_CASE("what cannot be written is said, is an error at the end, and is made up for later", "[tailer]") {
  const Folder folder;
  folder.append(lines(0, 5));
  auto options = folder.options();
  std::vector<std::string> warnings;
  options.warn = [&](std::string_view text) { warnings.emplace_back(text); };
  REQUIRE(base::write_file_atomic(folder.metrics, "in the way"));
  const auto outcome = run_pattern_tailer(options);
  CHECK_FALSE(outcome);
  CHECK(warnings.size() == 1);
  fs::remove(folder.metrics);
  REQUIRE(run_pattern_tailer(folder.options()));
  CHECK(folder.steps() == counted(5));
}
