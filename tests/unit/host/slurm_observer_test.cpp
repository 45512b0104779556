// SPDX-License-Identifier: Apache-2.0
// What the submit host concludes from what squeue says: an attempt is ended only on the evidence of its own job.
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/state.hpp"
#include "host/launchers/slurm/batch.hpp"
#include "host/launchers/slurm/claim.hpp"
#include "host/launchers/slurm/ending.hpp"
#include "host/launchers/slurm/observer.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "host/launchers/slurm/record.hpp"
#include "host/supervisor/journal.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
using namespace trainctl::host::slurm;
namespace stdfs = std::filesystem;

namespace {

constexpr const char* kRun = "01m8k6ar1nabmpqtz2c5rvswyt";

/// A run on a cluster whose scancel only notes what it is asked, and whose scontrol says what it is told.
class Watched {
 public:
  explicit Watched(std::int64_t queue_timeout_ms = 0) {
    std::string name = (stdfs::temp_directory_path() / "slurm-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    root_ = name;
    const Json plan = {{"format", 1},
                       {"id", kRun},
                       {"name", "digits-42"},
                       {"command", {{"kind", "exec"}, {"argv", {"true"}}}},
                       {"source", {{"kind", "none"}}},
                       {"target", {{"name", "c"}, {"type", "slurm"}}},
                       {"limits", queue_timeout_ms > 0 ? Json{{"queue_timeout_ms", queue_timeout_ms}} : Json::object()},
                       {"stop", {{"grace_ms", 30000}}}};
    REQUIRE(base::make_directories(run().root));
    REQUIRE(base::write_file_durable(run().plan(), plan.dump()));
    const auto scancel = root_ / "scancel";
    REQUIRE(base::write_file_durable(scancel, "#!/bin/sh\necho \"$1\" >> \"${0%/*}/canceled\"\n", 0700));
    REQUIRE(base::write_file_durable(root_ / "scontrol", "#!/bin/sh\ncat \"${0%/*}/told\"\n", 0700));
    const char* path = ::getenv("PATH");
    path_ = path == nullptr ? "" : path;
    ::setenv("PATH", (root_.string() + ":" + path_).c_str(), 1);
    auto observer = RunObserver::open(run());
    REQUIRE(observer);
    observer_.emplace(std::move(*observer));
  }
  ~Watched() {
    ::setenv("PATH", path_.c_str(), 1);
    stdfs::remove_all(root_);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  [[nodiscard]] format::RunPaths run() const { return format::StorePaths{root_}.run(kRun); }
  [[nodiscard]] std::string canceled() const { return base::read_file(root_ / "canceled").value_or(""); }
  [[nodiscard]] format::RunState state() const { return *format::fold_run(run()); }
  [[nodiscard]] Record record() const { return *read_record(run()); }

  void tell(const std::string& of_the_job) const {
    REQUIRE(base::write_file_durable(root_ / "told", "JobState=PENDING " + of_the_job + "\n"));
  }

  /// A line of the record as it was written so long ago.
  void note(std::string_view type, const std::string& job, std::chrono::hours ago = std::chrono::hours(0)) const {
    const JobPaths paths(run());
    REQUIRE(base::make_directories(paths.root));
    const Json line = {{"type", type}, {"job", job}, {"t", base::format_utc(base::wall_now() - ago)}};
    const std::string before = base::read_file(paths.record()).value_or("");
    REQUIRE(base::write_file_durable(paths.record(), before + line.dump() + "\n"));
  }

  /// A job begins an attempt; and ends it so that the run goes on.
  void begin(int attempt, const std::string& job) const {
    REQUIRE(*claim(run().attempt(attempt), {.job = job, .machine = "n1", .boot = "b"}));
    auto writer = format::EventWriter::open(run().attempt(attempt).events());
    REQUIRE(writer);
    REQUIRE(writer->append("attempt", {{"number", attempt}}));
  }
  void leave(int attempt) const {
    auto writer = format::EventWriter::open(run().attempt(attempt).events());
    REQUIRE(writer);
    REQUIRE(writer->append("end", {{"state", "failed"}, {"cause", "preempted"}, {"next", "retry"}}));
  }

  std::optional<Json> look(std::vector<Job> jobs) { return observer_->look({std::move(jobs), base::mono_ns()}); }

 private:
  stdfs::path root_;
  std::string path_;
  std::optional<RunObserver> observer_;
};

/// Without nodes there is nothing to be waited for.
Job job(const std::string& id, const std::string& state) {
  Job made;
  made.id = id;
  made.state = state;
  return made;
}

}  // namespace

TEST_CASE("the end of a second job is no end of the attempt of the first", "[slurm]") {
  Watched watched;
  watched.note("job", "8");  // 7 was never heard of: it came late
  watched.begin(1, "7");
  watched.look({job("7", "RUNNING"), job("8", "COMPLETED")});
  CHECK(watched.state().end.is_null());
  CHECK(watched.record().job() == "7");
  CHECK(watched.canceled() == "8\n");
  watched.look({job("7", "FAILED"), job("8", "COMPLETED")});
  CHECK(watched.state().state == format::State::lost);
}

TEST_CASE("a job of which nobody was told is watched once it works", "[slurm]") {
  Watched watched;
  watched.note("intent", "");
  watched.begin(1, "7");
  watched.look({job("7", "RUNNING")});
  CHECK(watched.record().job() == "7");
  CHECK_FALSE(watched.record().intent_open);
  watched.look({job("7", "COMPLETED")});
  CHECK(watched.state().state == format::State::lost);
}

TEST_CASE("only the job of an attempt gives evidence of its end", "[slurm]") {
  const Watched watched;
  watched.begin(1, "7");
  const AttemptEnd end{.state = format::State::lost, .cause = format::Cause::lost, .message = "lost"};
  CHECK_FALSE(*end_from_here(watched.run(), end));
  CHECK_FALSE(*end_from_here(watched.run(), end, {1, "8"}));
  CHECK_FALSE(*end_from_here(watched.run(), end, {2, "7"}));
  CHECK(watched.state().end.is_null());
  CHECK(*end_from_here(watched.run(), end, {1, "7"}));
  CHECK(watched.state().state == format::State::lost);
}

TEST_CASE("a job that was seen again has not been gone since", "[slurm]") {
  Watched watched;
  watched.note("job", "7", std::chrono::hours(4));
  watched.begin(1, "7");
  watched.note("gone", "7", std::chrono::hours(3));
  watched.look({job("7", "RUNNING")});
  watched.look({});
  CHECK(watched.state().end.is_null());
  CHECK(watched.record().gone_since);
  watched.look({});
  CHECK(watched.state().end.is_null());
}

TEST_CASE("the number of a job may be another run's by now", "[slurm]") {
  Watched watched;
  watched.note("job", "7", std::chrono::hours(4));
  watched.note("gone", "7", std::chrono::hours(3));
  watched.begin(1, "7");
  Job other = job("7", "COMPLETED");
  other.text = "trainctl:01m8k6ar1nabmpqtz2c5rvsaaa|digits-43.rvsaaa";
  watched.look({other});
  watched.look({other});
  CHECK(watched.state().message.find("has forgotten job 7") != std::string::npos);
}

TEST_CASE("a node is lost when Slurm has counted that it put the job back", "[slurm]") {
  Watched watched;
  watched.note("job", "7");
  watched.begin(1, "7");
  const auto waited = base::mono_ns() + UINT64_C(3'200'000'000);
  watched.tell("Restarts=0");  // the controller has crashed, and does not know that it gave the job nodes
  while (base::mono_ns() < waited) {
    watched.look({job("7", "PENDING")});
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  CHECK(watched.state().state != format::State::retrying);
  watched.tell("Restarts=1");
  watched.look({job("7", "PENDING")});
  CHECK(watched.state().state == format::State::retrying);
}

TEST_CASE("a job that has been gone for long is lost", "[slurm]") {
  Watched watched;
  watched.note("job", "7", std::chrono::hours(4));
  watched.begin(1, "7");
  watched.note("gone", "7", std::chrono::hours(3));
  watched.look({});  // may be an answer from before its time
  watched.look({});
  CHECK(watched.state().state == format::State::lost);
}

TEST_CASE("the limit on waiting counts each time in the queue for itself", "[slurm]") {
  constexpr std::int64_t kHour = 3'600'000;
  Watched watched(kHour);
  watched.note("job", "7", std::chrono::hours(4));
  watched.begin(1, "7");
  watched.look({job("7", "PENDING")});  // its supervisor has yet to say why
  CHECK(watched.state().end.is_null());
  watched.leave(1);
  const auto told = watched.look({job("7", "PENDING")});
  REQUIRE(told);
  CHECK(told->value("state", "") == "queued");
  CHECK(watched.state().end.is_null());

  Watched waiting(kHour);
  waiting.note("job", "7", std::chrono::hours(4));
  waiting.look({job("7", "PENDING")});
  CHECK(waiting.state().state == format::State::timed_out);
  CHECK(waiting.state().cause == format::Cause::queue_timeout);
  CHECK(waiting.canceled() == "7\n");
}
