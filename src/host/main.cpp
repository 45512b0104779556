// SPDX-License-Identifier: Apache-2.0
// trainctl-runner: the program beside the script.
#include <sys/stat.h>

#include <charconv>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/file.hpp"
#include "base/hash.hpp"
#include "format/paths.hpp"
#include "host/container/inside.hpp"
#include "host/distribution/mpi_rank.hpp"
#include "host/enter/enter.hpp"
#include "host/launchers/launcher.hpp"
#include "host/launchers/slurm/job.hpp"
#include "host/launchers/slurm/poller.hpp"
#include "host/linux/process.hpp"
#include "host/old_runners.hpp"
#include "host/stdio/carried.hpp"
#include "host/stdio/operations.hpp"
#include "host/stdio/server.hpp"
#include "host/supervise.hpp"
#include "trainctl/result.hpp"
#include "trainctl/version.hpp"

namespace {

constexpr std::string_view kUsage =
    "usage: trainctl-runner supervise [--detach | --foreground] [--node K] RUN\n"
    "       trainctl-runner stdio [--begin NONCE] STORE [CARRIED…]\n"
    "       trainctl-runner sweep FOLDER STORE\n"
    "       trainctl-runner enter WORD\n"
    "       trainctl-runner --version | --sha256\n"
    "RUN is a run folder. supervise starts the run, takes it over, or finds it ended; --node: as machine K of a run on "
    "several; --foreground: as the batch process of a Slurm job.\n"
    "STORE is the folder of the runs; stdio serves the runner protocol (docs/runner-protocol.md) on stdin and "
    "stdout, and begins with what the command carries from the client. sweep removes runners in FOLDER that nothing "
    "uses. enter becomes a program beside a run (trainctl exec). "
    "--sha256 tells the hash of this program.\n";
constexpr int kUsageExit = 2;
constexpr int kStoreExit = 6;

int say(int fd, std::string_view text, int code) {
  (void)trainctl::base::write_all(fd, text);
  return code;
}

struct SuperviseWords {
  bool detach = false;
  bool in_job = false;
  std::string run = {};
  trainctl::host::SuperviseOptions options = {};
};

bool read_node(const std::string& number, int& node) {
  const auto [end, problem] = std::from_chars(number.data(), number.data() + number.size(), node);
  return problem == std::errc() && end == number.data() + number.size() && node >= 0;
}

/// Empty for words that are none of supervise's.
std::optional<SuperviseWords> read_words(const std::vector<std::string>& arguments) {
  SuperviseWords words;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--detach") {
      words.detach = true;
    } else if (argument == "--foreground") {
      words.in_job = true;
    } else if (argument == "--node" && i + 1 < arguments.size()) {
      if (!read_node(arguments[++i], words.options.node)) return std::nullopt;
    } else if (argument.starts_with("-") || !words.run.empty()) {
      return std::nullopt;
    } else {
      words.run = argument;
    }
  }
  if (words.run.empty() || (words.detach && words.in_job)) return std::nullopt;
  return words;
}

int supervise(const std::vector<std::string>& arguments) {
  auto words = read_words(arguments);
  if (!words) return say(2, kUsage, kUsageExit);
  if (!words->detach) {
    words->options.user_mask = ::umask(077);
    const auto folder = std::filesystem::absolute(words->run);
    if (words->in_job) return trainctl::host::slurm::supervise_job(folder, words->options);
    return trainctl::host::supervise_main(folder, words->options);
  }
  const auto outcome = trainctl::host::spawn_supervisor(words->run, words->options);
  if (!outcome) return say(2, "error: " + outcome.error().message + "\n", 3);
  return say(1, *outcome == trainctl::host::SpawnOutcome::already ? "already\n" : "supervised\n", 0);
}

int stdio(std::vector<std::string> arguments) {
  trainctl::host::StdioOpening opening;
  trainctl::host::StdioContext context;
  std::optional<std::string> nonce;
  if (arguments.size() > 2 && arguments[0] == "--begin") {
    nonce = arguments[1];
    arguments.erase(arguments.begin(), arguments.begin() + 2);
  }
  if (arguments.empty() || arguments[0].starts_with("-")) return say(2, kUsage, kUsageExit);
  context.store = std::filesystem::absolute(arguments[0]);
  if (nonce) {
    context.carrying_key = trainctl::host::carrying_key(context.store);
    std::string digits;
    for (std::size_t i = 1; i < arguments.size(); ++i) digits += arguments[i];
    opening.first = trainctl::host::read_carried(context.carrying_key, digits).value_or("");
    // For whoever has to tell our first byte from what a login script prints.
    opening.begin = "\nTRAINCTL-" + *nonce + (opening.first.empty() ? " run\n" : " run first\n");
  }
  context.start = [](const std::filesystem::path& run) { return trainctl::host::launch_run({run}); };
  context.adopt = trainctl::host::adopt_run;
  context.start_node = [](const trainctl::format::RunPaths& run) -> trainctl::Result<> {
    TRY(trainctl::host::spawn_supervisor(run.root, {.node = run.own_node, .prove_lead = true}));
    return {};
  };
  context.requested = trainctl::host::request_written;
  context.poller = std::make_shared<trainctl::host::slurm::Poller>();
  return trainctl::host::stdio_main(0, 1, context, opening);
}

int tell_hash() {
  const auto hash = trainctl::base::sha256_file_hex("/proc/self/exe");
  if (!hash) return say(2, "error: " + hash.error().message + "\n", kUsageExit);
  return say(1, *hash + "\n", 0);
}

int sweep(const std::vector<std::string>& arguments) {
  if (arguments.size() != 2 || arguments[0].starts_with("-")) return say(2, kUsage, kUsageExit);
  const auto swept = trainctl::host::remove_old_runners(arguments[0], {arguments[1]});
  return swept ? 0 : say(2, "error: " + swept.error().message + "\n", kStoreExit);
}

}  // namespace

int main(int argc, char** argv) {
  trainctl::host::fill_standard_descriptors();
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.empty()) return say(2, kUsage, kUsageExit);
  if (arguments[0] == "--version") return say(1, "trainctl-runner " + std::string(trainctl::version()) + "\n", 0);
  if (arguments[0] == "--sha256") return tell_hash();
  if (arguments[0] == "sweep") return sweep({arguments.begin() + 1, arguments.end()});
  if (arguments[0] == "enter" && arguments.size() == 2) return trainctl::host::enter_main(arguments[1]);
  if (arguments[0] == "supervise") return supervise({arguments.begin() + 1, arguments.end()});
  if (arguments[0] == "exec-rank") return trainctl::host::mpi_rank_main({arguments.begin() + 1, arguments.end()});
  if (arguments[0] == "inside") return trainctl::host::inside_main();
  if (arguments[0] == "stdio") return stdio({arguments.begin() + 1, arguments.end()});
  return say(2, kUsage, kUsageExit);
}
