// SPDX-License-Identifier: Apache-2.0
#include "host/waiter/waiter.hpp"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "base/ulid.hpp"
#include "format/event.hpp"
#include "host/container/client.hpp"
#include "host/waiter/exec_rank.hpp"
#include "host/waiter/output.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::uint64_t kReservedForExit = 4096;

struct Pipe {
  base::UniqueFd read;
  base::UniqueFd write;
};

std::optional<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

void report(const RankLaunch& launch, WaiterStep step) {
  const char letter = static_cast<char>(step);
  // Only a wake-up: a supervisor that is gone (EPIPE) is fine.
  if (launch.report_fd >= 0) (void)!::write(launch.report_fd, &letter, 1);
}

/// "<code> <message>" through the pipe that closes at a successful exec.
void send_error(int fd, const ExecError& error) {
  (void)base::write_all(fd, std::to_string(error.code) + " " + error.message);
}

std::optional<RankExit> receive_error(int fd) {
  std::string text;
  std::array<char, 512> buffer{};
  for (;;) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
  if (text.empty()) return std::nullopt;
  const auto space = text.find(' ');
  return RankExit{.code = std::atoi(text.c_str()), .cause = "start", .message = text.substr(space + 1)};
}

/// The waiter died between fence and start. Nobody will start this rank any more, so the rank says so itself: its
/// waiter, the file's writer, is gone for certain (its end of the pipe is closed).
void record_never_started(const RankLaunch& launch) {
  const auto record = read_rank(launch.rank_file);
  if (!record || record->process.pid != ::getpid() || record->exit) return;
  auto writer = format::EventWriter::open(launch.rank_file, launch.node);
  if (!writer) return;
  (void)append_exit(*writer,
                    {.code = 125,
                     .cause = "start",
                     .message = "the runner was killed before it started the program",
                     .retryable = true},
                    "rank");
}

void join_cgroups(const RankLaunch& launch) {
  for (const std::string& file : launch.cgroup_files) {
    const base::UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
    if (fd) (void)!::write(fd.get(), "0", 1);
  }
}

/// The forked rank: waits for `go`, then becomes the script.
[[noreturn]] void run_rank(const RankLaunch& launch, int go, int errors, int output, int outcome) {
  ::setsid();
  ::umask(launch.mask);
  if (!launch.container) join_cgroups(launch);  // the engine makes a group of its own
  attach_output(launch.via, output);
  ExecError problem{126, {}};
  if (::chdir(launch.directory.c_str()) != 0) {
    problem.message = "cannot enter the working directory " + launch.directory.string() + ": " + errno_text(errno);
  }
  char letter = 0;
  ssize_t count = 0;
  do {
    count = ::read(go, &letter, 1);
  } while (count < 0 && errno == EINTR);
  if (count != 1) {
    record_never_started(launch);
    ::_exit(125);
  }
  if (launch.container && problem.message.empty()) {
    ContainerLaunch container = *launch.container;
    container.order.mask = launch.mask;
    run_container_client(container, errors, outcome);
  }
  reset_signals();
  if (problem.message.empty()) problem = exec_program(launch.argv, launch.environment, launch.search_path);
  send_error(errors, problem);
  ::_exit(problem.code);
}

/// The fence: the file appears whole, with its `start`, or not at all. It is durable before the rank may begin; linked
/// before it is flushed, as the file and its name then reach the disk in one commit of the journal instead of two.
Result<format::EventWriter> claim_start(const RankLaunch& launch, pid_t rank) {
  const auto folder = launch.rank_file.parent_path();
  const auto draft = folder / (".rank-" + std::to_string(launch.rank) + "-" + base::new_ulid());
  TRY_ASSIGN(auto writer, format::EventWriter::create(draft, launch.node));
  TRY(writer.append("start", {{"rank", launch.rank},
                              {"machine", base::machine_id()},
                              {"pidns", base::pid_namespace()},
                              {"pid", rank},
                              {"starttime", base::process_start_time(rank).value_or(0)},
                              {"waiter", ::getpid()},
                              {"waiter_starttime", base::process_start_time(::getpid()).value_or(0)}}));
  writer.reserve(kReservedForExit);
  const bool linked = ::link(draft.c_str(), launch.rank_file.c_str()) == 0;
  const int problem = errno;
  ::unlink(draft.c_str());
  if (!linked && problem == EEXIST) ::_exit(kWaiterFenced);
  if (!linked) return fail_errno("create " + launch.rank_file.string(), problem);
  TRY(writer.sync());
  TRY(base::sync_directory(folder));
  return writer;
}

/// Waits for the rank with WNOWAIT: until its exit is on disk it stays a zombie, so that a supervisor could still
/// read its status if this waiter were killed here.
RankExit await_rank(pid_t rank) {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) != 0) {
      if (errno == EINTR) continue;
      return {.code = 125, .cause = "start", .message = "the rank is no child of its waiter"};
    }
    int status = 0;
    if (info.si_pid != rank) {
      ::waitpid(info.si_pid, &status, 0);
      continue;
    }
    const bool killed = info.si_code != CLD_EXITED;
    return {.code = killed ? 128 + info.si_status : info.si_status, .signal = killed ? info.si_status : 0};
  }
}

/// How the script in the container ended, when its client could tell; the client's own end otherwise.
void read_container_outcome(int fd, RankExit& exit) {
  ContainerOutcome outcome;
  if (!read_outcome(fd, outcome)) return;
  exit.code = outcome.code;
  exit.signal = outcome.signal;
  exit.cause = outcome.cause;
  exit.message = outcome.message;
}

void reap_until_childless() {
  int status = 0;
  while (::waitpid(-1, &status, 0) > 0 || errno == EINTR) {
  }
}

}  // namespace

void run_waiter(const RankLaunch& launch) {
  // Only SIGKILL ends a waiter; above all not SIGPIPE when its supervisor is gone.
  block_all_signals();
  std::vector<int> keep = launch.kept_fds;
  keep.push_back(launch.report_fd);
  close_descriptors_except(keep);
  if (launch.ends_with_supervisor) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  become_subreaper();
  set_process_name("trainctl-waiter");
  auto output = RankOutput::open(launch.via, launch.log);
  auto go = make_pipe();
  auto errors = make_pipe();
  if (!output || !go || !errors) ::_exit(kWaiterFailed);
  const base::UniqueFd outcome(launch.container ? ::memfd_create("trainctl-outcome", MFD_CLOEXEC) : -1);
  const pid_t rank = ::fork();
  if (rank < 0) ::_exit(kWaiterFailed);
  if (rank == 0) {
    go->write.reset();
    if (launch.ends_with_supervisor) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    run_rank(launch, go->read.get(), errors->write.get(), output->rank_end(), outcome.get());
  }
  go->read.reset();
  errors->write.reset();
  output->close_rank_end();
  auto writer = claim_start(launch, rank);
  if (!writer) ::_exit(kWaiterFailed);
  report(launch, WaiterStep::started);
  (void)!::write(go->write.get(), "g", 1);
  go->write.reset();
  const auto problem = receive_error(errors->read.get());
  if (!problem) report(launch, WaiterStep::running);
  RankExit exit = output->pumps() ? output->pump_until_exit(rank) : await_rank(rank);
  read_container_outcome(outcome.get(), exit);
  if (problem) exit = *problem;
  // A failing disk leaves no way to tell; the supervisor still reads the zombie's status through the tree.
  if (!append_exit(*writer, exit)) ::_exit(kWaiterFailed);
  int status = 0;
  ::waitpid(rank, &status, 0);
  report(launch, WaiterStep::exited);
  if (output->pumps()) output->pump_until_childless();
  reap_until_childless();
  ::_exit(kWaiterDone);
}

}  // namespace trainctl::host
