// SPDX-License-Identifier: Apache-2.0
#include "host/environment/step.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/text.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {

namespace {

constexpr std::size_t kTail = 64U << 10U;
constexpr std::size_t kMaxCapture = 64U << 20U;

struct Pipe {
  base::UniqueFd read, write;
};

Result<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe", errno);
  return Pipe{base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

struct Child {
  std::vector<char*> argv, envp;
  int out = -1, err = -1, report = -1, inherit = -1;
  const char* directory = nullptr;
  pid_t parent = 0;
};

// Between fork and exec: system calls only.
[[noreturn]] void run_child(const Child& child) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const auto give_up = [&](int code) {
    const int number = errno;
    (void)!::write(child.report, &number, sizeof number);
    ::_exit(code);
  };
  if (::getppid() != child.parent) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGCHLD, SIGQUIT}) ::signal(signal, SIG_DFL);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null < 0 || ::dup2(null, 0) < 0 || ::dup2(child.out, 1) < 0 || ::dup2(child.err, 2) < 0) give_up(127);
  if (child.inherit >= 0) ::fcntl(child.inherit, F_SETFD, 0);
  if (child.directory != nullptr && ::chdir(child.directory) != 0) give_up(127);
  ::execve(child.argv[0], child.argv.data(), child.envp.data());
  give_up(127);
  ::_exit(127);
}

std::vector<char*> c_strings(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

void append_tail(std::string& tail, std::string_view data) {
  tail += data;
  if (tail.size() > 2 * kTail) tail.erase(0, tail.size() - kTail);
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Reads both pipes until they end; the reason to stop early, if any.
class Pump {
 public:
  Pump(const Step& step, Pipe out, Pipe err) : step_(step), out_(std::move(out)), err_(std::move(err)) {
    out_.write.reset();
    err_.write.reset();
  }

  Result<> run(StepResult& result) {
    const std::uint64_t end =
        base::mono_ns() + static_cast<std::uint64_t>(std::chrono::nanoseconds(step_.deadline).count());
    while (out_.read || err_.read) {
      std::array<pollfd, 3> fds{pollfd{out_.read.get(), POLLIN, 0}, pollfd{err_.read.get(), POLLIN, 0},
                                pollfd{step_.cancel_fd, POLLIN, 0}};
      const std::uint64_t now = base::mono_ns();
      if (now >= end) return fail(Errc::timeout, step_.argv[0] + " did not end in time");
      const int wait_ms = static_cast<int>(std::min<std::uint64_t>((end - now) / 1'000'000 + 1, 60'000));
      if (::poll(fds.data(), fds.size(), wait_ms) < 0 && errno != EINTR) return fail_errno("wait for output", errno);
      if (fds[2].revents != 0) return fail(Errc::canceled, "the environment build was canceled");
      if (fds[0].revents != 0) read_some(out_.read, step_.capture_output, result);
      if (fds[1].revents != 0) read_some(err_.read, false, result);
      if (result.out.size() > kMaxCapture) return fail(Errc::io, step_.argv[0] + " printed more than 64 MB");
    }
    return {};
  }

 private:
  void read_some(base::UniqueFd& fd, bool capture, StepResult& result) {
    std::array<char, 16384> buffer{};
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) return;
    if (count <= 0) return fd.reset();
    const std::string_view data(buffer.data(), static_cast<std::size_t>(count));
    if (capture) {
      result.out += data;
      return;
    }
    append_tail(result.tail, data);
    // A full disk must not end the build here: the tool itself reports it in clearer words.
    if (step_.log_fd >= 0) (void)base::write_all(step_.log_fd, data);
  }

  const Step& step_;
  Pipe out_, err_;
};

}  // namespace

std::vector<std::string> step_environment(const Step& step) {
  std::vector<std::string> result;
  const auto replaced = [&](std::string_view name) {
    const auto same = [&](const auto& pair) { return pair.first == name; };
    return std::find(step.unset.begin(), step.unset.end(), name) != step.unset.end() ||
           std::any_of(step.variables.begin(), step.variables.end(), same);
  };
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!replaced(text.substr(0, text.find('=')))) result.emplace_back(text);
  }
  for (const auto& [name, value] : step.variables) result.push_back(base::assignment(name, value));
  return result;
}

Result<StepResult> run_step(const Step& step) {
  TRY_ASSIGN(Pipe out, make_pipe());
  TRY_ASSIGN(Pipe err, make_pipe());
  TRY_ASSIGN(Pipe report, make_pipe());
  std::vector<std::string> argv = step.argv;
  std::vector<std::string> environment = step_environment(step);
  const std::string directory = step.directory ? step.directory->string() : "";
  Child child{.argv = c_strings(argv), .envp = c_strings(environment), .out = out.write.get(), .err = err.write.get()};
  child.report = report.write.get();
  child.inherit = step.inherit_fd;
  child.directory = step.directory ? directory.c_str() : nullptr;
  child.parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_errno("start " + step.argv[0], errno);
  if (pid == 0) run_child(child);
  ::setpgid(pid, pid);
  report.write.reset();
  int number = 0;
  ssize_t got = 0;
  do {
    got = ::read(report.read.get(), &number, sizeof number);
  } while (got < 0 && errno == EINTR);
  if (got == static_cast<ssize_t>(sizeof number)) {
    wait_for(pid);
    return fail_errno("start " + step.argv[0], number);
  }
  StepResult result;
  auto pumped = Pump(step, std::move(out), std::move(err)).run(result);
  if (!pumped) ::kill(-pid, SIGKILL);
  result.exit_code = wait_for(pid);
  TRY(std::move(pumped));
  if (result.tail.size() > kTail) result.tail.erase(0, result.tail.size() - kTail);
  return result;
}

}  // namespace trainctl::host
