// SPDX-License-Identifier: Apache-2.0
#include "host/detach.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <functional>
#include <string>

#include "base/fd.hpp"
#include "host/linux/process.hpp"
#include "trainctl/result.hpp"

namespace trainctl::host {
namespace {

constexpr int kNoDirectory = 6;

void attach_null() {
  const int null = ::open("/dev/null", O_RDWR);
  if (null < 0) return;
  for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
  if (null > 2) ::close(null);
}

[[noreturn]] void run_detached(const char* name, int report_fd, const std::function<int(const Detached&)>& body) {
  ::setsid();
  const std::array keep = {report_fd};
  close_descriptors_except(keep);
  attach_null();
  const mode_t user_mask = ::umask(077);
  if (::chdir("/") != 0) ::_exit(kNoDirectory);
  set_process_name(name);
  reset_signals();
  ::_exit(body({.report_fd = report_fd, .user_mask = user_mask}));
}

Result<std::string> read_report(int fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno("read the report of the detached process", errno);
    if (count == 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

}  // namespace

Result<std::string> detach(const char* name, const std::function<int(const Detached&)>& body) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno("make a pipe", errno);
  const base::UniqueFd read_end(ends[0]);
  base::UniqueFd write_end(ends[1]);
  sigset_t before;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &before);
  block_all_signals();  // a Ctrl-C now must not end it before it has its own session
  const pid_t middle = ::fork();
  if (middle == 0) {
    const pid_t detached = ::fork();
    if (detached == 0) run_detached(name, write_end.get(), body);
    ::_exit(detached < 0 ? 1 : 0);
  }
  const int problem = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (middle < 0) return fail_errno("start a process", problem);
  write_end.reset();
  int status = 0;
  while (::waitpid(middle, &status, 0) < 0 && errno == EINTR) {
  }
  return read_report(read_end.get());
}

}  // namespace trainctl::host
