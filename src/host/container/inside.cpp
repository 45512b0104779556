// SPDX-License-Identifier: Apache-2.0
#include "host/container/inside.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "base/text.hpp"
#include "host/container/inside_endpoint.hpp"
#include "host/linux/process.hpp"
#include "host/waiter/exec_rank.hpp"
#include "host/waiter/output.hpp"
#include "host/waiter/rank_record.hpp"
#include "trainctl/error.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr int kStartFailed = 125;
constexpr int kLeftoverPatienceMs = 100;
constexpr int kLeftoverGraceMs = 5000;
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

void say(const Json& line) {
  (void)base::write_all(STDOUT_FILENO, base::dump_json(line) + "\n");
}

int failed(int code, const std::string& message) {
  say({{"failed", message}, {"code", code}});
  return code;
}

std::string read_stdin() {
  std::string text;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t count = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

std::string value_of(const std::vector<std::string>& environment, std::string_view name) {
  for (const std::string& entry : environment) {
    if (entry.starts_with(name) && entry.size() > name.size() && entry[name.size()] == '=')
      return entry.substr(name.size() + 1);
  }
  return {};
}

/// Processes of this container that the kernel killed for memory: cgroup v2, then v1.
std::uint64_t oom_kills() {
  for (const char* file : {"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"}) {
    const auto text = base::read_file_if_exists(file, 65536);
    if (!text || !*text) continue;
    for (const std::string& line : base::split(**text, '\n')) {
      if (line.starts_with("oom_kill ")) return std::strtoull(line.c_str() + 9, nullptr, 10);
    }
  }
  return 0;
}

[[noreturn]] void become_script(const InsideOrder& order, const std::vector<std::string>& environment, int output,
                                int errors) {
  ::setsid();
  ::umask(order.mask);
  attach_output(order.via, output);
  ExecError problem{126, {}};
  if (::chdir(order.directory.c_str()) != 0) {
    problem.message = "cannot enter the working directory " + order.directory + ": " + errno_text(errno);
  } else {
    reset_signals();
    const std::string path = value_of(environment, "PATH");
    problem = exec_program(order.argv, environment, path.empty() ? kDefaultPath : path);
    problem.message += " (in the container)";
  }
  (void)base::write_all(errors, std::to_string(problem.code) + " " + problem.message);
  ::_exit(problem.code);
}

RankExit await_script(pid_t script) {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) != 0) {
      if (errno == EINTR) continue;
      return {.code = kStartFailed};
    }
    if (info.si_pid != script) {
      ::waitpid(info.si_pid, nullptr, 0);
      continue;
    }
    const bool killed = info.si_code != CLD_EXITED;
    return {.code = killed ? 128 + info.si_status : info.si_status, .signal = killed ? info.si_status : 0};
  }
}

/// The parent of the script: a process of its own, so that the first process of the container is free for signals.
/// `told` gets the script's pid when it runs, and is closed when it has ended.
[[noreturn]] void look_after(const InsideOrder& order, const std::vector<std::string>& environment,
                             base::UniqueFd told) {
  become_subreaper();
  auto output = RankOutput::open(order.via, order.log);
  if (!output) ::_exit(failed(kStartFailed, output.error().message));
  const std::uint64_t kills_before = oom_kills();
  std::array<int, 2> errors{};
  if (::pipe2(errors.data(), O_CLOEXEC) != 0) ::_exit(failed(kStartFailed, "cannot make a pipe"));
  const pid_t script = ::fork();
  if (script < 0) ::_exit(failed(kStartFailed, "cannot start a process: " + errno_text(errno)));
  if (script == 0) become_script(order, environment, output->rank_end(), errors[1]);
  ::close(errors[1]);
  output->close_rank_end();
  std::array<char, 4096> problem{};
  const ssize_t size = ::read(errors[0], problem.data(), problem.size() - 1);
  if (size > 0) {
    const std::string_view text(problem.data(), static_cast<std::size_t>(size));
    ::_exit(failed(std::atoi(problem.data()), std::string(text.substr(text.find(' ') + 1))));
  }
  (void)!::write(told.get(), &script, sizeof script);
  say({{"running", true}});
  const RankExit exit = output->pumps() ? output->pump_until_exit(script) : await_script(script);
  say({{"code", exit.code},
       {"signal", exit.signal},
       {"out_of_memory", exit.signal == SIGKILL && oom_kills() > kills_before}});
  ::waitpid(script, nullptr, 0);
  told.reset();
  if (output->pumps()) output->pump_until_childless();
  while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
  }
  ::_exit(exit.code);
}

/// What came since the last look goes to the script's group; 0: to nobody.
void hand_on(int signals, pid_t script) {
  signalfd_siginfo signal{};
  while (::read(signals, &signal, sizeof signal) == sizeof signal) {
    const int number = static_cast<int>(signal.ssi_signo);
    if (number != SIGCHLD && script > 0) ::kill(-script, number);
  }
}

/// The container's first process: hands signals on, reaps, ends what the script leaves behind, and has the endpoint.
class FirstProcess {
 public:
  FirstProcess(pid_t keeper, int told, InsideEndpoint& endpoint) : keeper_(keeper), told_(told), endpoint_(endpoint) {
    sigset_t all;
    sigfillset(&all);
    signals_.reset(::signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  int live() {
    while (!code_ || endpoint_.busy()) {
      std::array<pollfd, 3> sources = {pollfd{signals_.get(), POLLIN, 0}, pollfd{over_ ? -1 : told_, POLLIN, 0},
                                       pollfd{endpoint_.waiting_fd(), POLLIN, 0}};
      const int ready = ::poll(sources.data(), sources.size(), patience());
      if (ready == 0 && !end_leftovers()) break;  // with us the kernel ends everything else; the exit has been told
      if (sources[1].revents != 0 && ::read(told_, &script_, sizeof script_) != sizeof script_) over_ = true;
      if (sources[2].revents != 0) endpoint_.serve();
      hand_on(signals_.get(), over_ ? 0 : script_);
      reap();
      if (code_) endpoint_.finish();
    }
    return code_.value_or(0);
  }

 private:
  [[nodiscard]] int patience() const {
    if (code_) return kLeftoverGraceMs;
    if (!over_) return -1;
    return asked_ ? kLeftoverGraceMs : kLeftoverPatienceMs;
  }

  /// False when they have been asked before.
  bool end_leftovers() {
    if (code_ || std::exchange(asked_, true)) return false;
    if (::getpid() == 1) ::kill(-1, SIGTERM);  // with --pid=host that would be everything on the machine
    return true;
  }

  void reap() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = ::waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid == keeper_) code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      endpoint_.reaped(pid);
    }
  }

  pid_t keeper_;
  int told_;
  InsideEndpoint& endpoint_;
  base::UniqueFd signals_ = {};
  pid_t script_ = 0;
  bool over_ = false;
  bool asked_ = false;
  std::optional<int> code_ = {};  ///< the keeper's
};

std::vector<std::string> own_environment() {
  std::vector<std::string> image;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) image.emplace_back(*entry);
  return image;
}

}  // namespace

Json to_json(const InsideOrder& order) {
  return {{"argv", order.argv},
          {"environment", order.environment},
          {"directory", order.directory},
          {"log", order.log},
          {"via", order.via},
          {"mask", order.mask},
          {"mlflow", to_json(order.mlflow)}};
}

Result<InsideOrder> inside_order_from_json(const Json& json) {
  try {
    return InsideOrder{.argv = json.at("argv").get<std::vector<std::string>>(),
                       .environment = json.at("environment").get<std::vector<std::string>>(),
                       .directory = json.at("directory").get<std::string>(),
                       .log = json.at("log").get<std::string>(),
                       .via = json.at("via").get<std::string>(),
                       .mask = json.at("mask").get<mode_t>(),
                       .mlflow = inside_mlflow_from_json(json.value("mlflow", Json::object()))};
  } catch (const std::exception& problem) {
    return fail(Errc::internal, std::string("the order is damaged: ") + problem.what());
  }
}

std::vector<std::string> inside_environment(const std::vector<std::string>& image,
                                            const std::vector<std::string>& ours) {
  std::vector<std::string> made;
  for (const std::string& entry : image) {
    const std::string name = entry.substr(0, entry.find('='));
    const bool replaced =
        std::any_of(ours.begin(), ours.end(), [&](const auto& own) { return own.starts_with(name + "="); });
    if (!replaced) made.push_back(entry);
  }
  const std::string modules = value_of(image, "PYTHONPATH");
  for (const std::string& entry : ours) {
    made.push_back(entry);
    if (entry.starts_with("PYTHONPATH=") && !modules.empty()) made.back().append(":").append(modules);
  }
  return made;
}

int inside_main() {
  block_all_signals();
  const auto json = base::parse_json(read_stdin());
  const auto order = json ? inside_order_from_json(*json) : Result<InsideOrder>(tl::make_unexpected(json.error()));
  if (!order) return failed(kStartFailed, order.error().message);
  if (const int null = ::open("/dev/null", O_RDONLY); null > 0) ::dup2(null, STDIN_FILENO);
  std::vector<std::string> environment = inside_environment(own_environment(), order->environment);
  InsideEndpoint endpoint;
  endpoint.open(order->mlflow, environment);
  std::array<int, 2> told{};
  if (::pipe2(told.data(), O_CLOEXEC) != 0) return failed(kStartFailed, "cannot make a pipe");
  const pid_t keeper = ::fork();
  if (keeper < 0) return failed(kStartFailed, "cannot start a process: " + errno_text(errno));
  if (keeper == 0) look_after(*order, environment, base::UniqueFd(told[1]));
  ::close(told[1]);
  return FirstProcess(keeper, told[0], endpoint).live();
}

}  // namespace trainctl::host
