// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/file.hpp"
#include "base/json.hpp"
#include "format/event.hpp"
#include "format/fold.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/launchers/slurm/batch.hpp"
#include "host/launchers/slurm/claim.hpp"
#include "host/launchers/slurm/commands.hpp"
#include "host/launchers/slurm/ending.hpp"
#include "host/launchers/slurm/options.hpp"
#include "host/launchers/slurm/queue.hpp"
#include "host/launchers/slurm/reasons.hpp"
#include "host/launchers/slurm/record.hpp"
#include "host/supervisor/journal.hpp"
#include "support/catch.hpp"

using namespace trainctl;
using namespace trainctl::host;
using namespace trainctl::host::slurm;
using std::chrono::milliseconds;
namespace stdfs = std::filesystem;

namespace {

constexpr const char* kRun = "01m8k6ar1nabmpqtz2c5rvswyt";

class Store {
 public:
  Store() {
    std::string name = (stdfs::temp_directory_path() / "slurm-XXXXXX").string();
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    root_ = name;
    REQUIRE(base::make_directories(run().root));
  }
  ~Store() { stdfs::remove_all(root_); }
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  [[nodiscard]] format::RunPaths run() const { return format::StorePaths{root_}.run(kRun); }

 private:
  stdfs::path root_;
};

format::Plan plan_with(Json resources, Json limits = Json::object()) {
  const Json json = {{"format", 1},
                     {"id", kRun},
                     {"name", "digits 42"},
                     {"command", {{"kind", "exec"}, {"argv", {"true"}}}},
                     {"source", {{"kind", "none"}}},
                     {"resources", std::move(resources)},
                     {"limits", std::move(limits)},
                     {"stop", {{"grace_ms", 30000}}}};
  auto plan = format::plan_from_json(json);
  REQUIRE(plan);
  return *plan;
}

Options options_of(Json slurm) {
  auto options = read_options({{"name", "c"}, {"type", "slurm"}, {"slurm", std::move(slurm)}});
  REQUIRE(options);
  return *options;
}

bool has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

TEST_CASE("what a run needs becomes options of sbatch", "[slurm]") {
  const format::RunPaths run{"/s%x/runs/" + std::string(kRun)};
  auto plan =
      plan_with({{"nodes", 2}, {"cpus", 5.0}, {"memory", (3U << 20U) + 1}, {"gpus", 2}}, {{"timeout_ms", 90001}});
  plan.processes_per_node = 2;
  const auto words = sbatch_words(plan, run, options_of({{"partition", "gpu"}, {"exclusive", true}}));
  for (const char* word : {"--parsable", "--open-mode=append", "--requeue", "--job-name=digits_42.rvswyt", "--nodes=2",
                           "--ntasks-per-node=2", "--cpus-per-task=3", "--mem=4M", "--gres=gpu:2", "--time=4",
                           "--partition=gpu", "--exclusive"}) {
    INFO(word);
    CHECK(has(words, word));
  }
  CHECK(has(words, "--comment=trainctl:" + std::string(kRun)));
  CHECK(has(words, "--output=/s%%x/runs/" + std::string(kRun) + "/slurm/job-%j.log"));
  CHECK(words.back() == run.root.string() + "/slurm/job.sh");
}

TEST_CASE("what a run leaves open comes from the target", "[slurm]") {
  const format::RunPaths run{"/s/runs/x"};
  const auto words = sbatch_words(plan_with(Json::object()), run,
                                  options_of({{"memory", "2GiB"},
                                              {"cpus", 3},
                                              {"time", "90s"},
                                              {"gres", "gpu:a100:1"},
                                              {"requeue", false},
                                              {"options", {"--mail-type=END"}}}));
  for (const char* word :
       {"--mem=2048M", "--cpus-per-task=3", "--time=2", "--gres=gpu:a100:1", "--no-requeue", "--mail-type=END"})
    CHECK(has(words, word));
  const auto bare = sbatch_words(plan_with(Json::object()), run, {});
  CHECK(std::none_of(bare.begin(), bare.end(), [](const std::string& word) {
    return word.starts_with("--time") || word.starts_with("--mem") || word.starts_with("--cpus");
  }));
}

TEST_CASE("every option of a target is passed on by its name", "[slurm]") {
  const format::RunPaths run{"/s/runs/x"};
  const Json said = {{"partition", "gpu,long"}, {"account", "ml"},         {"qos", "high"},
                     {"constraint", "a100&ib"}, {"gres", "gpu:a100:1"},    {"dependency", "afterok:123"},
                     {"licenses", "matlab:1"},  {"reservation", "course"}, {"nodelist", "n[1-4]"},
                     {"exclude", "n9"}};
  const auto words = sbatch_words(plan_with({{"gpus", 4}}), run, options_of(said));
  for (const auto& [name, value] : said.items()) CHECK(has(words, "--" + name + "=" + value.get<std::string>()));
  CHECK_FALSE(has(words, "--gres=gpu:4"));  // the target knows better which
  CHECK(std::count(words.begin(), words.end(), "--exclusive") == 0);
}

TEST_CASE("options that are ours, or no options, are refused", "[slurm]") {
  for (const char* word :
       {"--array=0-9", "-a", "--wrap=ls", "--output=/x", "--comment=mine", "script.sh", "--mail\n-x"}) {
    INFO(word);
    CHECK_FALSE(read_options({{"slurm", {{"options", {word}}}}}));
  }
  CHECK_FALSE(read_options({{"slurm", {{"partition", ""}}}}));
  CHECK_FALSE(read_options({{"slurm", {{"account", "a\nb"}}}}));
  CHECK_FALSE(read_options({{"slurm", {{"time", "soon"}}}}));
  CHECK(read_options({{"slurm", {{"from_a_later_version", 1}}}}));
}

TEST_CASE("the batch script holds no values and quotes its paths", "[slurm]") {
  const format::RunPaths run{"/it's/runs/x"};
  const std::string text = batch_script(plan_with(Json::object()), run, "/b n/runner");
  CHECK(text.starts_with("#!/bin/sh\n"));
  CHECK(text.find("runner='/b n/runner'") != std::string::npos);
  CHECK(text.find(R"(supervise --foreground '/it'\''s/runs/x')") != std::string::npos);
  CHECK(text.find("#SBATCH") == std::string::npos);
}

TEST_CASE("lines of squeue, with what sites add", "[slurm]") {
  const auto jobs = parse_queue(
      "Welcome to the cluster | have fun\n"
      "12|PENDING|Resources||0|0|trainctl:01m8k6ar1nabmpqtz2c5rvswyt|digits.rvswyt\n"
      "13|RUNNING|None|n[1-2]|1795938380|1795941980|a | b|evil | name\n"
      "14_[3-9%4]|PENDING|Priority||N/A|N/A||array\n"
      "15|COMPLETING|(null)|n1|NONE|Unknown|(null)|x.rvswyt\n"
      "slurm_load_jobs error: Invalid job id specified\n"
      "16|MARTIAN_STATE|New|n1|1|2||later.version\n");
  REQUIRE(jobs.size() == 4);
  CHECK(jobs[0].reason == "Resources");
  CHECK(jobs[0].nodes.empty());
  CHECK(belongs_to(jobs[0], kRun));
  CHECK(jobs[1].nodes == "n[1-2]");
  CHECK(jobs[1].start == 1795938380);
  CHECK_FALSE(belongs_to(jobs[1], kRun));
  CHECK(jobs[2].reason.empty());
  CHECK(belongs_to(jobs[2], kRun));  // by its name, where a site writes its own comments
  CHECK(stage_of(jobs[3].state) == Stage::unknown);
}

TEST_CASE("the number in what sbatch prints", "[slurm]") {
  CHECK(parse_submitted("42\n") == "42");
  CHECK(parse_submitted("7 jobs are yours\n42;cluster2\n") == "42");
  CHECK(parse_submitted("1\nbanner\n43") == "43");
  CHECK_FALSE(parse_submitted("Submitted batch job 42\n"));
  CHECK_FALSE(parse_submitted(""));
}

TEST_CASE("what a job has left", "[slurm]") {
  CHECK(parse_time_left("0:55") == 55);
  CHECK(parse_time_left("1:00:00\n") == 3600);
  CHECK(parse_time_left("364-23:59:58") == (364 * 24 + 23) * 3600 + 59 * 60 + 58);
  for (const char* text : {"UNLIMITED", "INVALID", "NOT_SET", "", "5", "a:b", "1:2:3:4"})
    CHECK_FALSE(parse_time_left(text));
}

TEST_CASE("rows of the accounting", "[slurm]") {
  const auto row = parse_accounting("41|COMPLETED|0:0\n42|CANCELLED by 1000|0:15\n", "42");
  REQUIRE(row);
  CHECK(row->state == "CANCELLED");
  CHECK(row->by == "1000");
  CHECK(row->signal == 15);
  CHECK(parse_accounting("42|CANCELLED+|0:9\n", "42")->state == "CANCELLED");
  CHECK(parse_accounting("42|FAILED|7:0|NonZeroExitCode\n", "42")->exit_code == 7);
  CHECK_FALSE(parse_accounting("Slurm accounting storage is disabled\n", "42"));
}

TEST_CASE("every state of Slurm has a stage, and an end where it is one", "[slurm]") {
  for (const char* state : {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL",
                            "DEADLINE", "OUT_OF_MEMORY", "REVOKED"}) {
    INFO(state);
    CHECK(stage_of(state) == Stage::over);
    CHECK(format::is_terminal(ending_of(state).state));
    CHECK_FALSE(ending_of(state).message.empty());
  }
  for (const char* state : {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT"})
    CHECK(stage_of(state) == Stage::waiting);
  for (const char* state : {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING"})
    CHECK(stage_of(state) == Stage::running);
  CHECK(stage_of("CONFIGURING") == Stage::starting);
  for (const char* state : {"COMPLETING", "STAGE_OUT"}) CHECK(stage_of(state) == Stage::leaving);
  CHECK(ending_of("NODE_FAIL").cause == format::Cause::node);
  CHECK(ending_of("OUT_OF_MEMORY").cause == format::Cause::memory_limit);
  CHECK(ending_of("TIMEOUT").state == format::State::timed_out);
}

TEST_CASE("why a job waits, in words", "[slurm]") {
  CHECK(sentence_of("Priority") == "waits for jobs with higher priority");
  CHECK(sentence_of("(Resources)") == "waits for free resources");
  CHECK(reason_of("PartitionConfig").impossible);
  CHECK(sentence_of("BadConstraints").find("will not start as it is") != std::string::npos);
  CHECK(reason_of("QOSMaxGRESPerJob").impossible);
  CHECK_FALSE(reason_of("QOSMaxJobsPerUserLimit").impossible);
  CHECK_FALSE(reason_of("AssocGrpCpuLimit").impossible);
  CHECK(sentence_of("ReqNodeNotAvail, UnavailableNodes:n1") ==
        "a node it asks for is not available (down, drained or reserved): n1");
  CHECK(reason_of("launch failed requeued held").impossible);
  CHECK(sentence_of("Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions") ==
        "the nodes it needs are down, drained or reserved");
  CHECK(sentence_of("SomethingNew") == "waits (SomethingNew)");
}

TEST_CASE("an unreachable controller is no refusal", "[slurm]") {
  CHECK(is_unreachable(
      "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"));
  CHECK(is_unreachable("slurm_load_jobs error: Socket timed out on send/recv operation"));
  CHECK_FALSE(is_unreachable("sbatch: error: invalid partition specified: nowhere"));
}

TEST_CASE("an attempt is claimed once", "[slurm]") {
  const Store store;
  const auto attempt = store.run().attempt(1);
  const Owner first{.job = "42", .restart = 0, .machine = "n1", .boot = "b"};
  CHECK(*claim(attempt, first));
  CHECK_FALSE(*claim(attempt, {.job = "43"}));
  CHECK(owner_of(attempt)->job == "42");

  const auto run = store.run();
  auto writer = format::EventWriter::open(attempt.events());
  REQUIRE(writer);
  REQUIRE(writer->append("attempt", {{"number", 1}}));
  CHECK(next_attempt(run, first)->attempt == 0);                        // the batch process was started twice
  CHECK(next_attempt(run, {.job = "43"})->attempt == 0);                // another job without a retry
  CHECK(next_attempt(run, {.job = "42", .restart = 1})->attempt == 2);  // Slurm has put it back
  REQUIRE(writer->append("end", {{"state", "failed"}, {"cause", "node"}, {"next", "retry"}}));
  CHECK(next_attempt(run, {.job = "43"})->attempt == 2);
}

TEST_CASE("a folder that was prepared ahead is not yet an attempt of somebody", "[slurm]") {
  const Store store;
  REQUIRE(base::make_directories(store.run().attempt(1).logs()));
  CHECK(next_attempt(store.run(), {.job = "42"})->attempt == 1);
}

TEST_CASE("an end from the submit host, and the job that comes too late", "[slurm]") {
  const Store store;
  const AttemptEnd end{.state = format::State::canceled, .cause = format::Cause::canceled, .message = "canceled"};
  CHECK(*end_from_here(store.run(), end));
  CHECK(*end_from_here(store.run(), end));
  const auto state = format::fold_run(store.run());
  REQUIRE(state);
  CHECK(state->state == format::State::canceled);
  CHECK(next_attempt(store.run(), {.job = "42"})->attempt == 0);
}

TEST_CASE("the record of the jobs of a run", "[slurm]") {
  const Store store;
  CHECK(read_record(store.run())->job().empty());
  auto hold = Hold::try_take(store.run());
  REQUIRE(hold);
  REQUIRE(*hold);
  REQUIRE((*hold)->note_durable("intent"));
  CHECK(read_record(store.run())->intent_open);
  REQUIRE((*hold)->note_durable("job", {{"job", "42"}}));
  CHECK(read_record(store.run())->job() == "42");
  CHECK_FALSE(read_record(store.run())->intent_open);
  REQUIRE((*hold)->note("gone", {{"job", "42"}}));
  CHECK(read_record(store.run())->gone_since);
  REQUIRE((*hold)->note("again"));
  CHECK(read_record(store.run())->job().empty());
}

TEST_CASE("slurm: partitions as sinfo tells them") {
  const auto found = parse_partitions(
      "main*|up|2|infinite\ngpu|down|16|2-00:00:00\n\nPARTITION|AVAIL|NODES|TIMELIMIT\n|up|1|1\nnight|up|x|1");
  REQUIRE(found.size() == 2);
  CHECK((found[0].name == "main" && found[0].is_default && found[0].up && found[0].nodes == 2));
  CHECK(found[0].time_limit == "infinite");
  CHECK((found[1].name == "gpu" && !found[1].is_default && !found[1].up && found[1].nodes == 16));
  CHECK(found[1].time_limit == "2-00:00:00");
  CHECK(parse_partitions("").empty());
}
