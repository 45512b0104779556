// SPDX-License-Identifier: Apache-2.0
#include "host/launchers/slurm/ahead.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <tl/expected.hpp>
#include <utility>

#include "base/fd.hpp"
#include "base/file.hpp"
#include "base/json.hpp"
#include "format/paths.hpp"
#include "format/plan.hpp"
#include "format/state.hpp"
#include "host/linux/process.hpp"
#include "host/supervisor/preparation.hpp"

namespace trainctl::host::slurm {
namespace {

constexpr int kAskMs = 500;

[[noreturn]] void build(const format::Plan& plan, const format::RunPaths& run, int report) {
  const std::array keep = {report};
  close_descriptors_except(keep);
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // the next submission builds again
  reset_signals();
  set_process_name("trainctl-prepar");
  const auto built = prepare_ahead(plan, run, 1);
  Json json = Json::object();
  if (!built) json = {{"cause", to_string(built.error().cause)}, {"message", built.error().message}};
  ::_exit(base::write_all(report, base::dump_json(json)) ? 0 : 1);
}

std::string read_to_end(int fd, const std::function<bool()>& is_canceled, pid_t builder) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (;;) {
    pollfd wait{fd, POLLIN, 0};
    const int ready = ::poll(&wait, 1, kAskMs);
    if (ready <= 0) {
      if (is_canceled()) ::kill(-builder, SIGKILL);
      continue;
    }
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(count));
  }
}

}  // namespace

tl::expected<void, PreparationError> build_ahead(const format::Plan& plan, const format::RunPaths& run,
                                                 const std::function<bool()>& is_canceled) {
  const auto failed = [](format::Cause cause, std::string message) {
    return tl::make_unexpected(PreparationError{cause, std::move(message)});
  };
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return failed(format::Cause::start, "cannot make a pipe");
  const base::UniqueFd read_end(ends[0]);
  base::UniqueFd write_end(ends[1]);
  const pid_t builder = ::fork();
  if (builder < 0) return failed(format::Cause::start, "cannot start a process");
  if (builder == 0) build(plan, run, write_end.get());
  ::setpgid(builder, builder);
  write_end.reset();
  const std::string text = read_to_end(read_end.get(), is_canceled, builder);
  while (::waitpid(builder, nullptr, 0) < 0 && errno == EINTR) {
  }
  const auto json = base::parse_json(text);
  if (!json || !json->is_object()) return failed(format::Cause::start, "the process that prepares the run was killed");
  if (json->empty()) return {};
  const auto cause = format::parse_cause(json->value("cause", ""));
  return failed(cause.value_or(format::Cause::start), json->value("message", ""));
}

}  // namespace trainctl::host::slurm
