// SPDX-License-Identifier: Apache-2.0
#include "base/os/linux/spawn.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/process.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

extern "C" char** environ;  // NOLINT: POSIX names it

namespace trainctl::base {

namespace {

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (const std::string& text : strings) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

/// What the program begins with, as posix_spawn is told of it.
class Beginning {
 public:
  Beginning() {
    ::posix_spawnattr_init(&attributes_);
    ::posix_spawn_file_actions_init(&actions_);
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    ::posix_spawnattr_setpgroup(&attributes_, 0);
    ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  }
  ~Beginning() {
    ::posix_spawnattr_destroy(&attributes_);
    ::posix_spawn_file_actions_destroy(&actions_);
  }
  Beginning(const Beginning&) = delete;
  Beginning& operator=(const Beginning&) = delete;

  Result<> use(int descriptor, int as) {
    // First above 2, so that none overwrites another that is still needed (ours may run with 0..2 closed).
    UniqueFd copy(::fcntl(descriptor, F_DUPFD_CLOEXEC, 3));
    if (!copy) return fail_errno("copy a descriptor", errno);
    if (const int problem = ::posix_spawn_file_actions_adddup2(&actions_, copy.get(), as); problem != 0)
      return fail_errno("copy a descriptor", problem);
    copies_.push_back(std::move(copy));
    return {};
  }
  Result<> use_directory(const std::string& directory) {
    const int problem = ::posix_spawn_file_actions_addchdir_np(&actions_, directory.c_str());
    return problem == 0 ? Result<>() : fail_errno("go to " + directory, problem);
  }
  /// errno of what failed, 0 when the program runs.
  int start(const std::string& program, char* const* argv, char* const* environment, pid_t& pid) {
    return ::posix_spawn(&pid, program.c_str(), &actions_, &attributes_, argv, environment);
  }

 private:
  posix_spawnattr_t attributes_{};
  posix_spawn_file_actions_t actions_{};
  std::vector<UniqueFd> copies_;
};

/// The PATH the program will see is also the one it is looked up on.
std::optional<std::string> path_of(const Command& command) {
  if (!command.environment) return std::nullopt;
  for (const std::string& entry : *command.environment) {
    if (entry.starts_with("PATH=")) return entry.substr(5);
  }
  return std::nullopt;
}

Error start_error(const Command& command, const std::string& program, int number) {
  if (command.directory) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(*command.directory, ignored)) {
      return system_error("start " + program + " in " + command.directory->string(), number);
    }
  }
  return system_error("start " + program, number);
}

std::vector<char*> environment_of(const Command& command) {
  if (command.environment) return pointers(*command.environment);
  std::vector<char*> entries;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) entries.push_back(*entry);
  entries.push_back(nullptr);
  return entries;
}

}  // namespace

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe", errno);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

SpawnedChild::SpawnedChild(pid_t pid) : pid_(pid), pidfd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

SpawnedChild::~SpawnedChild() {
  if (pid_ <= 0) return;
  kill_group();
  reap(0);
}

int SpawnedChild::exit_code() const {
  return WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
}

void SpawnedChild::kill() const {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

void SpawnedChild::kill_group() const {
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);  // the group may not exist yet
}

bool SpawnedChild::reap(int flags) {
  if (ended()) return true;
  pid_t got = 0;
  do {
    got = ::waitpid(pid_, &status_, flags);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return false;
  if (got < 0) status_ = 0;  // SIGCHLD is ignored in this process: the kernel has thrown the code away
  pid_ = -1;
  return true;
}

Result<pid_t> spawn(const Command& command, const SpawnStreams& streams) {
  if (command.argv.empty() || command.argv[0].empty()) return fail(Errc::invalid, "a command has no program");
  const auto found = find_program(command.argv[0], path_of(command));
  if (!found) {
    return fail(Errc::not_found, "the program " + command.argv[0] + " was not found or cannot be executed",
                "install it, or put its directory on PATH");
  }
  Beginning beginning;
  TRY(beginning.use(streams.in, 0));
  TRY(beginning.use(streams.out, 1));
  TRY(beginning.use(streams.err, 2));
  if (command.directory) TRY(beginning.use_directory(command.directory->string()));
  const auto argv = pointers(command.argv);
  const auto environment = environment_of(command);
  pid_t pid = -1;
  const int problem = beginning.start(found->string(), argv.data(), environment.data(), pid);
  if (problem != 0) return fail(start_error(command, found->string(), problem));
  return pid;
}

}  // namespace trainctl::base
