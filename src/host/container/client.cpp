// SPDX-License-Identifier: Apache-2.0
#include "host/container/client.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/process.hpp"
#include "base/text.hpp"
#include "host/container/engine.hpp"
#include "host/container/inside.hpp"
#include "host/linux/process.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr std::size_t kTail = 4096;
constexpr int kEngineFailed = 125;
constexpr int kHelperSeconds = 5;
constexpr std::chrono::seconds kPatience{30};

struct Ends {
  base::UniqueFd read;
  base::UniqueFd write;
};

Ends make_ends() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  return {base::UniqueFd(ends[0]), base::UniqueFd(ends[1])};
}

base::UniqueFd memory_file(const std::string& text) {
  base::UniqueFd fd(::memfd_create("trainctl-order", MFD_CLOEXEC));
  if (fd && base::write_all(fd.get(), text)) ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

class Client {
 public:
  Client(const ContainerLaunch& launch, int errors, int outcome)
      : launch_(launch), errors_(errors), outcome_(outcome) {}

  [[noreturn]] void live() {
    start_engine();
    follow();
    conclude();
  }

 private:
  void start_engine() {
    const base::UniqueFd order = memory_file(base::dump_json(to_json(launch_.order)));
    Ends out = make_ends();
    Ends err = make_ends();
    if (!order || !out.read || !err.read)
      refuse(kEngineFailed, "the engine cannot be started: " + system_error("make a pipe", errno).message);
    const pid_t parent = ::getpid();
    engine_ = ::fork();
    if (engine_ < 0) refuse(kEngineFailed, system_error("start a process", errno).message);
    if (engine_ == 0) {
      ::setpgid(0, 0);  // what is sent to the rank's group is for us: the engine would pass it on a second time
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(kEngineFailed);
      ::dup2(order.get(), STDIN_FILENO);
      ::dup2(out.write.get(), STDOUT_FILENO);
      ::dup2(err.write.get(), STDERR_FILENO);
      reset_signals();
      execute(launch_.argv);
    }
    out_ = std::move(out.read);
    err_ = std::move(err.read);
    for (const int fd : {out_.get(), err_.get()}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  }

  [[noreturn]] static void execute(const std::vector<std::string>& argv) {
    std::vector<char*> words;
    words.reserve(argv.size() + 1);
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    ::execv(words[0], words.data());
    ::_exit(kEngineFailed);
  }

  /// Until the engine's client has ended.
  void follow() {
    sigset_t all;
    sigfillset(&all);
    const base::UniqueFd signals(::signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
    for (;;) {
      std::array<pollfd, 3> sources = {pollfd{signals.get(), POLLIN, 0}, pollfd{out_.get(), POLLIN, 0},
                                       pollfd{err_.get(), POLLIN, 0}};
      if (::poll(sources.data(), sources.size(), -1) < 0 && errno != EINTR) break;
      if (sources[1].revents != 0) read_lines();
      if (sources[2].revents != 0) read_some(err_, said_);
      if (said_.size() > kTail) said_.erase(0, said_.size() - kTail);
      signalfd_siginfo signal{};
      while (::read(signals.get(), &signal, sizeof signal) == sizeof signal)
        on_signal(static_cast<int>(signal.ssi_signo));
      if (reap()) break;
    }
    while (out_ && read_lines()) {
    }
    while (err_ && read_some(err_, said_)) {
    }
  }

  static bool read_some(base::UniqueFd& fd, std::string& text) {
    std::array<char, 4096> buffer;
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count > 0) text.append(buffer.data(), static_cast<std::size_t>(count));
    if (count == 0) fd.reset();
    return count > 0;
  }

  bool read_lines() {
    const bool more = read_some(out_, heard_);
    for (std::size_t end = heard_.find('\n'); end != std::string::npos; end = heard_.find('\n')) {
      if (const auto line = base::parse_json(std::string_view(heard_).substr(0, end)); line && line->is_object())
        on_line(*line);
      heard_.erase(0, end + 1);
    }
    return more;
  }

  /// What the runner inside says.
  void on_line(const Json& line) {
    if (line.contains("running")) {
      running_ = true;
      errors_.reset();
      for (const int signal : pending_) send(signal);
      pending_.clear();
    } else if (line.contains("failed")) {
      failed_ = true;
      (void)base::write_all(errors_.get(),
                            std::to_string(line.value("code", kEngineFailed)) + " " + line.value("failed", ""));
      errors_.reset();
      exit_ = ContainerOutcome{.code = line.value("code", kEngineFailed)};
    } else if (line.contains("code")) {
      exit_ = ContainerOutcome{.code = line.value("code", 0), .signal = line.value("signal", 0)};
      if (!line.value("out_of_memory", false)) return;
      exit_->cause = launch_.memory_limited ? "memory_limit" : "oom_kernel";
    }
  }

  void on_signal(int signal) {
    if (signal == SIGCHLD || signal == SIGCONT || signal == SIGPIPE || exit_) return;
    running_ ? send(signal) : pending_.push_back(signal);
    if (!running_ && signal != SIGINT && signal != SIGTERM && signal != SIGQUIT && signal != SIGHUP) return;
    if (!running_ && pending_.size() > 1) ::kill(engine_, SIGKILL);  // asked twice and not even started
  }

  void send(int signal) {
    const pid_t pid = ::fork();
    if (pid != 0) return;
    const base::UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nothing.get(), fd);
    reset_signals();
    execute(kill_command(launch_.engine, launch_.name, signal));
  }

  /// True when the engine's client is gone. Children that only sent a signal are reaped on the way; what podman leaves
  /// behind for the container belongs to our waiter.
  bool reap() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid == engine_) status_ = status;
    }
    return status_.has_value();
  }

  /// The last line of the engine's that says something.
  [[nodiscard]] std::string last_words() const {
    std::string told;
    for (const std::string& line : base::split(said_, '\n')) {
      if (!base::trim(line).empty()) told = base::trim(line);
    }
    return told;
  }

  /// What podman leaves for the container (conmon, which removes it) was given to us when the engine's client ended.
  void wait_for_helpers() {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    const timespec second{1, 0};
    for (int left = kHelperSeconds; left > 0;) {
      const pid_t pid = ::waitpid(-1, nullptr, WNOHANG);
      if (pid < 0) return;
      if (pid == 0 && ::sigtimedwait(&children, nullptr, &second) < 0) --left;
    }
  }

  [[noreturn]] void conclude() {
    wait_for_helpers();
    const int code = WIFEXITED(*status_) ? WEXITSTATUS(*status_) : 128 + WTERMSIG(*status_);
    const bool clean = exit_ && WIFEXITED(*status_);
    if (!clean) remove();
    if (!exit_ && !running_)
      refuse(kEngineFailed,
             "the container could not be started: " +
                 (last_words().empty() ? "the engine ended with code " + std::to_string(code) : last_words()));
    if (!exit_) {
      exit_ = ContainerOutcome{.code = code, .signal = code > 128 && code < 128 + 65 ? code - 128 : 0};
      exit_->message = "the container was ended from outside";
    }
    leave(*exit_);
  }

  void remove() const {
    (void)base::run_command({.argv = remove_command(launch_.engine, {launch_.name}), .deadline = kPatience});
  }

  [[noreturn]] void refuse(int code, const std::string& message) {
    if (!failed_ && errors_) (void)base::write_all(errors_.get(), std::to_string(code) + " " + message);
    ::_exit(code);
  }

  /// Whoever reaps us sees what happened in the container, even when our waiter is gone.
  [[noreturn]] void leave(const ContainerOutcome& outcome) const {
    const Json record = {
        {"code", outcome.code}, {"signal", outcome.signal}, {"cause", outcome.cause}, {"message", outcome.message}};
    (void)base::write_all(outcome_, base::dump_json(record));
    if (outcome.signal != 0) {
      ::prctl(PR_SET_DUMPABLE, 0);  // the core would be ours, not the script's
      reset_signals();
      ::raise(outcome.signal);
    }
    ::_exit(outcome.code);
  }

  const ContainerLaunch& launch_;
  base::UniqueFd errors_;
  int outcome_;
  pid_t engine_ = 0;
  std::optional<int> status_;
  base::UniqueFd out_;
  base::UniqueFd err_;
  std::string heard_;
  std::string said_;
  bool running_ = false;
  bool failed_ = false;
  std::vector<int> pending_;
  std::optional<ContainerOutcome> exit_;
};

}  // namespace

void run_container_client(const ContainerLaunch& launch, int errors, int outcome) {
  set_process_name("trainctl-contai");
  become_subreaper();
  Client(launch, errors, outcome).live();
}

bool read_outcome(int fd, ContainerOutcome& outcome) {
  struct stat file{};
  if (fd < 0 || ::fstat(fd, &file) != 0 || file.st_size == 0) return false;
  std::string text(static_cast<std::size_t>(file.st_size), '\0');
  if (::pread(fd, text.data(), text.size(), 0) != file.st_size) return false;
  const auto json = base::parse_json(text);
  if (!json || !json->is_object()) return false;
  outcome = {.code = json->value("code", 0),
             .signal = json->value("signal", 0),
             .cause = json->value("cause", ""),
             .message = json->value("message", "")};
  return true;
}

}  // namespace trainctl::host
