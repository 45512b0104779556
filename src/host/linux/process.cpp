// SPDX-License-Identifier: Apache-2.0
#include "host/linux/process.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/fd.hpp"
#include "host/linux/process_tree.hpp"

namespace trainctl::host {
namespace {

struct SignalName {
  int number;
  std::string_view name;
};

constexpr std::array kSignals = {
    SignalName{SIGHUP, "HUP"},       SignalName{SIGINT, "INT"},       SignalName{SIGQUIT, "QUIT"},
    SignalName{SIGILL, "ILL"},       SignalName{SIGTRAP, "TRAP"},     SignalName{SIGABRT, "ABRT"},
    SignalName{SIGBUS, "BUS"},       SignalName{SIGFPE, "FPE"},       SignalName{SIGKILL, "KILL"},
    SignalName{SIGUSR1, "USR1"},     SignalName{SIGSEGV, "SEGV"},     SignalName{SIGUSR2, "USR2"},
    SignalName{SIGPIPE, "PIPE"},     SignalName{SIGALRM, "ALRM"},     SignalName{SIGTERM, "TERM"},
    SignalName{SIGSTKFLT, "STKFLT"}, SignalName{SIGCHLD, "CHLD"},     SignalName{SIGCONT, "CONT"},
    SignalName{SIGSTOP, "STOP"},     SignalName{SIGTSTP, "TSTP"},     SignalName{SIGTTIN, "TTIN"},
    SignalName{SIGTTOU, "TTOU"},     SignalName{SIGURG, "URG"},       SignalName{SIGXCPU, "XCPU"},
    SignalName{SIGXFSZ, "XFSZ"},     SignalName{SIGVTALRM, "VTALRM"}, SignalName{SIGPROF, "PROF"},
    SignalName{SIGWINCH, "WINCH"},   SignalName{SIGIO, "IO"},         SignalName{SIGPWR, "PWR"},
    SignalName{SIGSYS, "SYS"}};

constexpr unsigned kLastDescriptor = ~0U;

bool close_range_of(unsigned first, unsigned last) {
#ifdef SYS_close_range
  return first > last || ::syscall(SYS_close_range, first, last, 0) == 0;
#else
  return first > last;
#endif
}

void close_listed_except(std::span<const int> keep) {
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return;
  std::vector<int> doomed;
  while (const dirent* entry = ::readdir(directory)) {  // NOLINT(concurrency-mt-unsafe): a stream of its own
    const int fd = std::atoi(entry->d_name);
    if (fd < 3 || fd == ::dirfd(directory) || std::find(keep.begin(), keep.end(), fd) != keep.end()) continue;
    doomed.push_back(fd);
  }
  ::closedir(directory);
  for (const int fd : doomed) ::close(fd);
}

}  // namespace

base::UniqueFd open_pidfd(pid_t pid) {
#ifdef SYS_pidfd_open
  return base::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
#else
  (void)pid;
  return {};
#endif
}

void close_descriptors_except(std::span<const int> keep) {
  std::vector<int> sorted;
  std::copy_if(keep.begin(), keep.end(), std::back_inserter(sorted), [](int fd) { return fd >= 3; });
  std::sort(sorted.begin(), sorted.end());
  unsigned first = 3;
  for (const int fd : sorted) {
    const auto kept = static_cast<unsigned>(fd);
    if (kept > first && !close_range_of(first, kept - 1)) return close_listed_except(keep);
    first = std::max(first, kept + 1);
  }
  if (!close_range_of(first, kLastDescriptor)) close_listed_except(keep);
}

void become_subreaper() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

void set_process_name(const char* name) {
  ::prctl(PR_SET_NAME, name, 0, 0, 0);
}

void fill_standard_descriptors() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    // The lowest free number is the one that is missing. Left open for children, as the real one would be.
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != fd) return;
  }
}

void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

void reset_signals() {
  for (int number = 1; number < NSIG; ++number) {
    if (number != SIGKILL && number != SIGSTOP) ::signal(number, SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

std::string signal_name(int number) {
  for (const SignalName& signal : kSignals) {
    if (signal.number == number) return "SIG" + std::string(signal.name);
  }
  if (number >= SIGRTMIN && number <= SIGRTMAX) return "SIGRTMIN+" + std::to_string(number - SIGRTMIN);
  return "signal " + std::to_string(number);
}

std::optional<int> signal_number(std::string_view name) {
  int number = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
  if (parsed.ec == std::errc() && parsed.ptr == name.data() + name.size()) {
    return number > 0 && number < NSIG ? std::optional(number) : std::nullopt;
  }
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (const SignalName& signal : kSignals) {
    if (signal.name == name) return signal.number;
  }
  return std::nullopt;
}

bool is_alive(const ProcessIdentity& process) {
  const auto status = read_process(process.pid);
  return status && status->start_time == process.start_time && status->state != 'Z' && status->state != 'X';
}

}  // namespace trainctl::host
