// SPDX-License-Identifier: Apache-2.0
#include "host/distribution/mpi_rank.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "format/event.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "host/distribution/layout.hpp"
#include "host/distribution/rank_variables.hpp"
#include "host/linux/process_tree.hpp"
#include "host/waiter/exec_rank.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr int kUsageExit = 125;

struct Arguments {
  format::AttemptPaths attempt;
  int node = 0;
  std::vector<std::string> program;
};

std::optional<int> number_of(std::string_view text) {
  int value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<int> first_number(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const auto text = base::get_env(name);
    if (!text) continue;
    if (const auto value = number_of(*text)) return value;
  }
  return std::nullopt;
}

std::optional<Arguments> parse(const std::vector<std::string>& words) {
  Arguments made;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--") {
      made.program.assign(words.begin() + static_cast<std::ptrdiff_t>(i) + 1, words.end());
      break;
    }
    if (i + 1 >= words.size()) return std::nullopt;
    if (words[i] == "--attempt") {
      made.attempt.root = words[++i];
    } else if (words[i] == "--node") {
      made.node = number_of(words[++i]).value_or(0);
    } else {
      return std::nullopt;
    }
  }
  if (made.attempt.root.empty() || made.program.empty()) return std::nullopt;
  return made;
}

int complain(std::string_view text) {
  (void)base::write_all(STDERR_FILENO, "trainctl: " + std::string(text) + "\n");
  return kUsageExit;
}

std::filesystem::path record_file(const format::AttemptPaths& attempt, int node, int rank) {
  return attempt.node(node) / ("mpi-" + std::to_string(rank) + ".jsonl");
}

/// stdout and stderr share one description, as with a waiter's rank.
Result<> open_log(const std::filesystem::path& log) {
  const mode_t mask = ::umask(077);
  auto opened = base::open_file(log, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW);
  ::umask(mask);
  TRY_ASSIGN(const auto fd, std::move(opened));
  ::dup2(fd.get(), STDOUT_FILENO);
  ::dup2(fd.get(), STDERR_FILENO);
  return {};
}

/// This process's variables with the rank's own.
std::vector<std::string> rank_environment(const RankPlace& place, int world) {
  format::Plan plan;
  plan.distribution = format::PlanDistribution{.type = "mpi"};
  plan.processes_per_node = std::clamp(place.local_size, 1, world);
  plan.resources.nodes = world / plan.processes_per_node;
  const RankVariables own = own_variables(plan, place);
  std::vector<std::string> made;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    bool replaced = false;
    for (const auto& variable : own) replaced = replaced || variable.first == name;
    if (!replaced) made.emplace_back(text);
  }
  for (const auto& [name, value] : own) made.push_back(base::assignment(name, value));
  return made;
}

/// Waits for the child; every signal that comes meanwhile is handed on. User signals only to a program that handles
/// them: mpiexec passes them to everybody, and their default action is the end.
RankExit attend(pid_t child, const sigset_t& all) {
  for (;;) {
    int status = 0;
    const pid_t ended = ::waitpid(child, &status, WNOHANG);
    if (ended == child) return exit_of_status(status);
    if (ended < 0 && errno != EINTR) return {.code = kUsageExit, .cause = "start", .message = "the rank is no child"};
    siginfo_t info{};
    const int number = ::sigwaitinfo(&all, &info);
    if (number <= 0 || number == SIGCHLD) continue;
    if ((number == SIGUSR1 || number == SIGUSR2) && !handles_signal(child, number)) continue;
    if (::kill(-child, number) != 0) ::kill(child, number);
  }
}

[[noreturn]] void become_program(const Arguments& arguments, const std::vector<std::string>& environment, int errors) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // mpiexec kills this parent: the rank must not stay
  reset_signals();
  const auto path = base::get_env("PATH");
  const ExecError problem = exec_program(arguments.program, environment, path.value_or("/usr/bin:/bin"));
  (void)base::write_all(errors, problem.message);
  ::_exit(problem.code);
}

std::string read_message(int fd) {
  std::string text;
  std::array<char, 512> buffer{};
  for (ssize_t count = 0; (count = ::read(fd, buffer.data(), buffer.size())) != 0;) {
    if (count < 0 && errno != EINTR) break;
    if (count > 0) text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return text;
}

}  // namespace

std::optional<RankPlace> mpi_place(int node) {
  const auto rank =
      first_number({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID"});
  if (!rank) return std::nullopt;
  RankPlace place{.rank = *rank, .node = node, .local_rank = *rank, .role_index = *rank};
  place.local_rank =
      first_number({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK"}).value_or(*rank);
  place.local_size = first_number({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE"})
                         .value_or(std::max(1, mpi_world_size()));
  // mpiexec fills one node after the other; `node` is its own.
  if (place.local_size > 0) place.node += *rank / place.local_size;
  return place;
}

int mpi_world_size() {
  return first_number({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "WORLD_SIZE"}).value_or(0);
}

std::vector<std::string> mpi_rank_command(const format::AttemptPaths& attempt, int node) {
  std::error_code problem;
  std::string program = std::filesystem::read_symlink("/proc/self/exe", problem).string();
  // Replaced by an upgrade since this process began: the new one understands the same words.
  constexpr std::string_view kDeleted = " (deleted)";
  if (program.ends_with(kDeleted)) program.resize(program.size() - kDeleted.size());
  return {program, "exec-rank", "--attempt", attempt.root.string(), "--node", std::to_string(node), "--"};
}

int mpi_rank_main(const std::vector<std::string>& arguments) {
  const auto parsed = parse(arguments);
  if (!parsed) return complain("usage: exec-rank --attempt DIR --node K -- PROGRAM ARG…");
  const auto place = mpi_place(parsed->node);
  if (!place) return complain("this mpiexec says no rank: none of the variables of Open MPI or MPICH is set");
  if (const auto opened = open_log(parsed->attempt.log(place->rank)); !opened) return complain(opened.error().message);
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  ::signal(SIGCHLD, SIG_DFL);
  const auto environment = rank_environment(*place, std::max(1, mpi_world_size()));
  std::array<int, 2> errors{};
  if (::pipe2(errors.data(), O_CLOEXEC) != 0) return complain("cannot make a pipe");
  const pid_t child = ::fork();
  if (child < 0) return complain("cannot start a process");
  if (child == 0) become_program(*parsed, environment, errors[1]);
  ::setpgid(child, child);
  ::close(errors[1]);
  auto writer = format::EventWriter::create(record_file(parsed->attempt, parsed->node, place->rank), parsed->node);
  if (writer) {
    (void)writer->append("start", {{"rank", place->rank},
                                   {"machine", base::machine_id()},
                                   {"pidns", base::pid_namespace()},
                                   {"pid", child},
                                   {"starttime", base::process_start_time(child).value_or(0)},
                                   {"waiter", ::getpid()},
                                   {"waiter_starttime", base::process_start_time(::getpid()).value_or(0)}});
  }
  const std::string problem = read_message(errors[0]);
  RankExit exit = attend(child, all);
  if (!problem.empty()) {
    exit.cause = "start";
    exit.message = problem;
  }
  if (writer) (void)append_exit(*writer, exit);
  return exit.code;
}

std::vector<RankRecord> read_mpi_ranks(const format::AttemptPaths& attempt, int node, int count) {
  std::vector<RankRecord> records(static_cast<std::size_t>(std::max(count, 0)));
  for (std::size_t r = 0; r < records.size(); ++r) {
    if (auto record = read_rank(record_file(attempt, node, static_cast<int>(r)))) records[r] = std::move(*record);
  }
  return records;
}

}  // namespace trainctl::host
