// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "archive/store.hpp"
#include "cli/command.hpp"
#include "cli/commands.hpp"
#include "cli/options.hpp"
#include "cli/output.hpp"
#include "engine/visit.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/plan_target.hpp"
#include "target/target.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::cli {
namespace {

constexpr const char* kRankHelp = "On the machine of this rank, with its variables";

constexpr int kSshFailed = 255;
constexpr int kNotStarted = 126;
constexpr int kSignalBase = 128;

struct Way {
  std::string target;
  std::vector<std::string> argv;
};

Result<Way> way_to(const std::string& name, const target::Visit& visit) {
  TRY_ASSIGN(const auto store, archive::Store::open());
  TRY_ASSIGN(const std::string id, store.resolve(name));
  const format::RunPaths run = store.run(id);
  TRY_ASSIGN(const format::Plan plan, format::read_plan(run.plan()));
  Way way{.target = format::target_name(plan), .argv = {}};
  TRY_ASSIGN(way.argv, engine::way_to_program(run, visit));
  return way;
}

/// Until it has ended. One that puts itself aside (~^Z of ssh) puts us aside.
int status_of(pid_t child, bool terminal) {
  for (;;) {
    int status = 0;
    if (::waitpid(child, &status, terminal ? WUNTRACED : 0) < 0) {
      if (errno == EINTR) continue;
      return kNotStarted << 8;
    }
    if (!WIFSTOPPED(status)) return status;
    ::kill(::getpid(), SIGSTOP);
    ::kill(child, SIGCONT);
  }
}

/// Over a shared connection ssh ends without a word when that breaks, so somebody stays to say it. In our process
/// group, and ended with us: terminal and signals are the program's all the same.
int enter_by_ssh(Context& context, const std::string& target, char* const* argv, bool terminal) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return report(context, system_error("start ssh", errno));
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)std::signal(SIGPIPE, SIG_DFL);
    if (::getppid() == parent) ::execvp(argv[0], argv);
    ::_exit(kNotStarted);
  }
  const int status = status_of(child, terminal);
  if (WIFSIGNALED(status)) {
    (void)std::signal(WTERMSIG(status), SIG_DFL);
    (void)std::raise(WTERMSIG(status));
    return kSignalBase + WTERMSIG(status);
  }
  if (WEXITSTATUS(status) == kSshFailed)
    context.note("exit code 255: the connection to " + printable(target) + " was lost, or the command there ended so");
  return WEXITSTATUS(status);
}

/// Else this process becomes the program, so that terminal, signals and exit code are the program's without our doing.
int enter(Context& context, const std::string& name, int rank, std::vector<std::string> argv) {
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  auto way = way_to(name, {.argv = std::move(argv), .terminal = terminal, .rank = rank});
  if (!way) return report(context, way.error());
  context.out.flush();
  context.err.flush();
  std::vector<char*> pointers;
  for (std::string& word : way->argv) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  if (way->argv.front() == "ssh") return enter_by_ssh(context, way->target, pointers.data(), terminal);
  (void)std::signal(SIGPIPE, SIG_DFL);
  ::execvp(pointers[0], pointers.data());
  return report(context, system_error("start " + way->argv.front(), errno));
}

int exec_action(Context& context, const Options& app, int rank) {
  std::vector<std::string> words = app.remaining();
  std::string run = "@";
  if (!words.empty() && words.front() != "--") {
    run = words.front();
    words.erase(words.begin());
  }
  const bool separated = !words.empty() && words.front() == "--";
  if (separated) words.erase(words.begin());
  std::string message = words.empty() ? "no command to start" : "";
  if (run.starts_with('-')) message = "unknown option " + run;
  if (!separated && message.empty() && words.front().starts_with('-'))
    message = words.front() + " is behind the run, where the command stands";
  if (!message.empty()) {
    return report(context, Error{.code = Errc::invalid,
                                 .message = message,
                                 .hint = "trainctl exec [--rank N] RUN -- CMD; trainctl shell RUN"});
  }
  return enter(context, run, rank, std::move(words));
}

Action configure_exec(Options& app) {
  const auto rank = std::make_shared<int>(0);
  app.add_option("--rank", *rank, kRankHelp)->type_name("N")->non_negative();
  app.take_rest("[RUN] -- COMMAND [ARGUMENT…]");
  return [app, rank](Context& context) { return exec_action(context, app, *rank); };
}

Action configure_shell(Options& app) {
  const auto run = std::make_shared<std::string>("@");
  app.add_option("run", *run, "The run; your last one when left out")->type_name("RUN");
  const auto rank = std::make_shared<int>(0);
  app.add_option("--rank", *rank, kRankHelp)->type_name("N")->non_negative();
  return [run, rank](Context& context) { return enter(context, *run, *rank, {}); };
}

}  // namespace

Command exec_command() {
  return {
      "exec",
      "Running",
      "Start a command where a run is: on its machine, in its folder, with its variables",
      false,
      configure_exec,
      Completes::run,
      "  trainctl exec digits-7 -- nvidia-smi\n  trainctl exec --rank 3 @ -- nvidia-smi\n  trainctl exec @ -- python "
      "-c 'import torch; "
      "print(torch.__version__)'\n"
      "The exit code is the command's (128 + n for a signal, 126 and 127 when it could not be started). While the run\n"
      "goes on the variables are those of the rank, and the command is in its Slurm job or its container;\n"
      "afterwards they are what is recorded, without secrets."};
}

Command shell_command() {
  return {"shell",
          "Running",
          "Open a shell where a run is: on its machine, in its folder, with its variables",
          false,
          configure_shell,
          Completes::run,
          "It is the shell of your account there. trainctl exec starts a single command instead."};
}

}  // namespace trainctl::cli
